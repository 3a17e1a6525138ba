"""Programs that a test runs up to a state it can see, and kills there."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

DEADLINE = 120  # s; far more than any of these programs takes on a busy machine


@contextmanager
def running(command: Sequence[str | Path], **options: Any) -> Iterator[subprocess.Popen[str]]:
    """Start a program; at the end of the block it and its workers are gone, whatever happened."""
    program = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options)
    try:
        yield program
    finally:
        if not program.stdout.closed:
            kill(program)


def wait_for(program: subprocess.Popen[str], reached: Callable[[], bool]) -> None:
    """Wait until `reached` holds; fail when the program ends before, or at the deadline."""
    deadline = time.monotonic() + DEADLINE
    while not reached():
        if program.poll() is not None and not reached():
            raise AssertionError(f"it ended before it was seen in the awaited state: {program.communicate()[0]}")
        assert time.monotonic() < deadline, "it did not come to the awaited state"
        time.sleep(0.005)


def kill(program: subprocess.Popen[str]) -> None:
    """SIGKILL the program alone, and wait until its workers are gone too.

    They have inherited its standard output, which ends only when the last of them does.
    """
    program.kill()
    program.communicate(timeout=DEADLINE)
