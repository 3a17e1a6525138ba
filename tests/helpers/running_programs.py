"""Programs that a test runs up to a state it can see, and kills there."""

from __future__ import annotations

import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import requests

DEADLINE = 240  # s; far more than any of these programs takes on a busy machine


@contextmanager
def interruptible() -> Iterator[None]:
    """Programs started inside obey Ctrl-C; shells start background jobs with it ignored, which children inherit."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def running(command: Sequence[str | Path], **options: Any) -> Iterator[subprocess.Popen[str]]:
    """Start a program; at the end of the block it and its workers are gone, whatever happened."""
    with interruptible():
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


def wait_for_page(program: subprocess.Popen[Any], url: str, said: Callable[[], str]) -> None:
    """Wait until a server answers at `url`; fail with what it has said when it ends before, or at the deadline."""
    deadline = time.monotonic() + DEADLINE
    while True:
        assert program.poll() is None, said()
        assert time.monotonic() < deadline, f"nothing answers at {url}"
        try:
            if requests.get(url, timeout=5).ok:
                return
        except requests.RequestException:
            time.sleep(0.1)


def free_ports(count: int) -> list[int]:
    """Ports of the loopback that nobody uses now."""
    with ExitStack() as stack:
        listeners = [stack.enter_context(socket.socket()) for _ in range(count)]
        for listener in listeners:
            listener.bind(("127.0.0.1", 0))
        return [listener.getsockname()[1] for listener in listeners]


def kill(program: subprocess.Popen[str]) -> None:
    """SIGKILL the program alone, and wait until its workers are gone too.

    They have inherited its standard output, which ends only when the last of them does.
    """
    program.kill()
    program.communicate(timeout=DEADLINE)
