"""Bring the features of a profile up to date: download → manifest → faces, mfcc, through DVC."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from filelock import FileLock

from cfnsr.config.load import Settings, load_settings
from cfnsr.errors import InputError
from components.dvc_lock import release_dead

Logger = logging.Logger | logging.LoggerAdapter[logging.Logger]

GOALS = ("faces", "mfcc")  # stages of dvc.yaml; DVC runs what they depend on
STEPS = ("download", "manifest", "faces", "mfcc")  # in their order, without DVC
PROGRESS_EVERY = 10.0  # s; a progress bar's updates between two lines of the log
LAST_LINES = 6  # shown of a failure that no line calls an error
BUSY_WAIT = 5.0  # s between two looks at data that another `dvc` is making
PATIENCE = 20.0  # s that an interrupted DVC has to put its stages down


class _StageBusyError(Exception):
    """Another `dvc` writes what this one needs."""


def update_data(settings: Settings, logger: Logger) -> None:
    """Make the features that `settings` are trained on, as far as they are missing or out of date.

    DVC's stages are those of the profile that params.yaml names. Another profile's are run one after the other without
    it; they too do only what is not done yet, and a later `dvc repro` of that profile takes over what they made.

    Args:
        settings: whose dataset, manifest, faces and mfcc sections are those of params.yaml.
        logger: takes every line of the stages' output while they run.

    Raises:
        InputError: a stage failed; the sentence is the stage's own.
    """
    root = settings.layout.root
    named = load_settings(settings.params_file).profile
    if named == settings.profile:
        # Waits for a `dvc` that somebody else is running in this project: DVC does so itself between its stages, but
        # fails where it meets a stage that the other one is in the middle of.
        while True:
            try:
                return _run(["dvc", "--wait-for-lock", "repro", *GOALS], root, logger)
            except _StageBusyError:
                if dead := release_dead(root):
                    numbers = ", ".join(map(str, dead))
                    logger.warning("a `dvc` that was killed (process %s) no longer holds the data", numbers)
                    continue
                logger.info("another `dvc` is making this data; waiting for it")
                time.sleep(BUSY_WAIT)
    logger.info("params.yaml names the profile %s, so the stages of %s run without DVC", named, settings.profile)
    runs = root / "runs"
    runs.mkdir(exist_ok=True)
    with FileLock(runs / f".data-{settings.profile}.lock"):  # other flows wait; they would write the same files
        for step in STEPS:
            options = ["--params", str(settings.params_file), "--profile", settings.profile]
            _run([f"components.{step}", *options], root, logger)


def _run(module: list[str], root: Path, logger: Logger) -> None:
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"  # `python` in dvc.yaml
    environment = {**os.environ, "PATH": programs, "PYTHONUNBUFFERED": "1"}
    said = []
    with _program([sys.executable, "-m", *module], root, environment) as (process, output):
        for line in _lines(output):
            logger.info("%s", line)
            said.append(line)
        code = process.wait()
    if code:
        if any("is busy, it is being blocked by" in line for line in said):
            raise _StageBusyError
        errors = [line.split(": ", 1)[1] for line in said if line.lower().startswith("error: ")]
        raise InputError(f"the data stages failed: {errors[0] if errors else ' '.join(said[-LAST_LINES:])}")


def _lines(output: IO[str]) -> Iterator[str]:
    """Lines as they come; of a progress bar, which overwrites itself, one now and then and its last state."""
    shown, pending = time.monotonic(), ""
    for piece in output:
        text = piece.strip()
        if not piece.endswith("\r"):
            if text or pending:
                yield text or pending
            pending = ""
        elif text:
            pending = text
            if time.monotonic() - shown > PROGRESS_EVERY:
                yield text
                shown, pending = time.monotonic(), ""


@contextmanager
def _program(
    command: list[str], folder: Path, environment: dict[str, str]
) -> Iterator[tuple[subprocess.Popen[str], IO[str]]]:
    """A program in a process group of its own, which ends with the block whatever happens there."""
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        encoding="utf-8",
        errors="replace",
    )
    assert process.stdout is not None
    process.stdout.reconfigure(newline="")  # type: ignore[attr-defined]  # keep \r: see _lines
    try:
        yield process, process.stdout
    finally:
        for number in (signal.SIGINT, signal.SIGKILL):
            if process.poll() is None:
                os.killpg(process.pid, number)
                try:
                    process.wait(PATIENCE)
                except subprocess.TimeoutExpired:
                    continue
