"""Bring the features of a profile up to date: download → manifest → faces, mfcc, through DVC."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
from pathlib import Path

from filelock import FileLock

from cfnsr.config.load import Settings, load_settings
from cfnsr.errors import InputError
from cfnsr.text import without_passwords

Logger = logging.Logger | logging.LoggerAdapter[logging.Logger]

GOALS = ("faces", "mfcc")  # stages of dvc.yaml; DVC also runs those that they depend on
STEPS = ("download", "manifest", "faces", "mfcc")  # in order, without DVC
PROGRESS_EVERY = "10"  # seconds between two states of a progress bar in the log
LAST_LINES = 6  # of the output, shown when no line is marked as an error
GRACE = 20.0  # seconds that DVC has to end its stages


def update_data(settings: Settings, logger: Logger) -> None:
    """Make the features that `settings` are trained on, as far as they are missing or out of date.

    DVC runs the stages of the profile that params.yaml names. Those of another profile are run one after the other
    without DVC; they too do only what is missing, and a later `dvc repro` of that profile uses their outputs.

    Args:
        settings: whose dataset, manifest, faces and mfcc sections are those of params.yaml.
        logger: receives every line of the stages' output.

    Raises:
        InputError: a stage failed, with the stage's own message.
    """
    root = settings.layout.root
    named = load_settings(settings.params_file).profile
    runs = root / "runs"
    runs.mkdir(exist_ok=True)
    with FileLock(runs / f".data-{settings.profile}.lock"):  # flows that need the same files take turns
        if named == settings.profile:
            _run(["dvc", "--wait-for-lock", "repro", *GOALS], root, logger)
            return
        logger.info("params.yaml names the profile %s, so the stages of %s run without DVC", named, settings.profile)
        for step in STEPS:
            options = ["--params", str(settings.params_file), "--profile", settings.profile]
            _run([f"components.{step}", *options], root, logger)


def _run(module: list[str], root: Path, logger: Logger) -> None:
    """Run a Python module and log its output; it ends when this process is interrupted."""
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"  # `python` in dvc.yaml
    environment = {**os.environ, "PATH": programs, "PYTHONUNBUFFERED": "1", "TQDM_MININTERVAL": PROGRESS_EVERY}
    lines = []
    process = subprocess.Popen(
        [sys.executable, "-m", *module],
        cwd=root,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,  # a process group that can be ended as a whole
        text=True,  # progress bars end their lines with \r, which counts as a line's end
        errors="replace",
    )
    assert process.stdout is not None
    try:
        for line in filter(None, map(str.strip, process.stdout)):
            line = without_passwords(line)  # of a DVC remote
            logger.info("%s", line)
            lines.append(line)
        code = process.wait()
    finally:
        _end(process)
    if code:
        errors = [line.split(": ", 1)[1] for line in lines if line.lower().startswith("error: ")]
        raise InputError(f"the data stages failed: {errors[0] if errors else ' '.join(lines[-LAST_LINES:])}")


def _end(process: subprocess.Popen[str]) -> None:
    for number in (signal.SIGINT, signal.SIGKILL):
        if process.poll() is None:
            os.killpg(process.pid, number)
            try:
                process.wait(GRACE)
            except subprocess.TimeoutExpired:
                continue
