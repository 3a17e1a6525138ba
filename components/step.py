"""What the command lines of all steps share: `python -m components.<step> [--params FILE] [--profile NAME]`."""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from cfnsr.config.load import Settings, load_settings
from cfnsr.errors import exit_with_sentence
from cfnsr.registry import server_needed


def run_step(step: Callable[[Settings], None], description: str | None, sections: Sequence[str] = ()) -> None:
    """Load the settings and run a step; bad input ends with one sentence and exit code 2.

    Args:
        step: the step's function.
        description: the step module's docstring, shown by `--help`.
        sections: of the profile, that dvc.yaml names as the stage's parameters.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--params", type=Path, default=Path("params.yaml"), help="settings file (default: params.yaml)")
    parser.add_argument("--profile", help="profile in the settings file (default: the one it names)")
    arguments = parser.parse_args()
    with exit_with_sentence():
        settings = load_settings(arguments.params, arguments.profile)
        started = time.monotonic()
        with server_needed(settings.layout.root):
            step(settings)
        if "DVC_STAGE" in os.environ:  # DVC reads the settings again now, and would write down those for what was made
            settings.check_file(sections)
        print(f"{step.__name__}: done in {time.monotonic() - started:.1f} s")
