"""What all steps share: the command line `python -m components.<step>`, a lock per output, a digest of their code."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import FrameType

import yaml

from cfnsr.config.load import Settings, load_settings
from cfnsr.errors import exit_with_message
from cfnsr.files import code_digest, ensure_utf8, locked
from cfnsr.registry import server_needed

PROJECT = Path(__file__).parents[1]


def run_step(step: Callable[[Settings], object], description: str | None) -> None:
    """Load the settings and run a step; bad input ends with one sentence and exit code 2.

    SIGTERM unwinds the stack as Ctrl-C does, so that the step can close what it has opened.

    Args:
        step: the step's function.
        description: the step module's docstring, shown by `--help`.
    """
    ensure_utf8()
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--params", type=Path, default=Path("params.yaml"), help="settings file (default: params.yaml)")
    parser.add_argument("--profile", help="profile in the settings file (default: the one it names)")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, _exit)
    with exit_with_message():
        settings = load_settings(arguments.params, arguments.profile)
        started = time.monotonic()
        try:
            with server_needed(settings.layout.root):
                step(settings)
        except SystemExit:  # SIGTERM, or Ctrl-C, which Lightning turns into one
            print("\nstopped: run the same command again to continue.", file=sys.stderr)
            raise
        print(f"{Path(sys.argv[0]).stem}: done in {time.monotonic() - started:.1f} s")


def _exit(number: int, _: FrameType | None) -> None:
    signal.signal(number, signal.SIG_IGN)  # a second one must not interrupt the clean-up
    sys.exit(128 + number)


@contextmanager
def output_lock(settings: Settings, output: Path) -> Iterator[None]:
    """Keep other processes from writing the same output: a killed `dvc` may leave its stage running.

    Raises:
        InputError: another process is writing it.
    """
    busy = (
        f"another process is writing {output}; wait until it ends, or end it (`pgrep -af components` lists such "
        "processes)."
    )
    data = settings.layout.data
    with locked(data.with_name(f".{data.name}-{output.name}.lock"), busy):
        yield


@cache
def code_of(stage: str) -> str:
    """Digest of the library code that a stage depends on, which is what dvc.yaml lists under its `deps`."""
    stages = yaml.safe_load((PROJECT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    return code_digest(dependency for dependency in stages[stage]["deps"] if dependency.startswith("cfnsr/"))
