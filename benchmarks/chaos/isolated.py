"""Functions called in a process of its own, which may crash, hang or grow; the call knows which of them happened.

The process imports and loads once and then answers many calls; it is replaced after a call that it did not survive.
"""

from __future__ import annotations

import multiprocessing
import resource
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

START = 300  # seconds for imports and loading, also on a busy machine


@dataclass(frozen=True)
class Outcome:
    """What came of a call."""

    value: Any = None
    """What the function returned."""
    error: str = ""
    """The exception that it raised, with its type."""
    ending: str = ""
    """`crash` or `hang` of the process; empty if it is alive."""
    growth: int = 0
    """Bytes by which the memory of the process grew in between; 0 if it is not alive."""


class Isolated:
    """A process that calls functions of one argument.

    Args:
        load: makes the functions by name; called in the process.
        seconds: limit of a call.
        growth: bytes of address space beyond those at the start that the process may have; more raises MemoryError.
    """

    def __init__(self, load: Callable[[], dict[str, Callable[[Any], Any]]], seconds: float, growth: int) -> None:
        self._make = partial(_serve, load, growth)
        self._seconds = seconds
        self._process: multiprocessing.process.BaseProcess | None = None
        self._pipe: Connection | None = None

    def call(self, name: str, argument: Any) -> Outcome:
        """Call a function. An end of the process is an outcome, too."""
        if self._process is None:
            self._start()
        assert self._process is not None and self._pipe is not None  # noqa: PT018
        try:
            self._pipe.send((name, argument))
            if self._pipe.poll(self._seconds):
                return Outcome(*self._pipe.recv())
            ending = "hang"
        except (EOFError, OSError):
            ending = "crash"
        self.close()
        return Outcome(ending=ending)

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._process = None

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, other = context.Pipe()
        self._process = context.Process(target=self._make, args=(other,), daemon=True)
        self._process.start()
        other.close()
        if not self._pipe.poll(START) or self._pipe.recv() != "ready":
            raise RuntimeError("the process did not start")


def _serve(load: Callable[[], dict[str, Callable[[Any], Any]]], growth: int, pipe: Connection) -> None:
    functions = load()
    limit = _memory("VmSize") + growth
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    pipe.send("ready")
    while True:
        name, argument = pipe.recv()
        Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
        before = _memory("VmRSS")
        value, error = None, ""
        try:
            value = functions[name](argument)
        except Exception as raised:
            error = f"{type(raised).__name__}: {raised}"
        pipe.send((value, error, "", _memory("VmHWM") - before))


def _memory(name: str) -> int:
    """Bytes; `VmRSS`, its peak `VmHWM`, or `VmSize`, the address space."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return 1024 * int(line.split()[1])
    raise KeyError(name)
