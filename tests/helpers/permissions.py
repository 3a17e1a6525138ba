"""Rights of root that a block of a test does without (on Linux)."""

from __future__ import annotations

import ctypes
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager

_VERSION_3 = 0x20080522  # of the kernel's interface; these numbers are from linux/capability.h
_DAC_OVERRIDE, _DAC_READ_SEARCH, _SYS_NICE = 1, 2, 23
_Words = ctypes.c_uint32 * 6  # effective, permitted, inheritable; low, then high halves


@contextmanager
def permissions_count() -> Iterator[None]:
    """Inside the block, file permissions apply to root too."""
    with _without(_DAC_OVERRIDE, _DAC_READ_SEARCH):
        yield


@contextmanager
def no_realtime() -> Iterator[None]:
    """Inside the block, no new thread can take real-time priority.

    SVT-AV1 gives its encoder threads the highest real-time priority where it may; they then starve the machine.
    """
    before = resource.getrlimit(resource.RLIMIT_RTPRIO)
    resource.setrlimit(resource.RLIMIT_RTPRIO, (0, before[1]))
    try:
        with _without(_SYS_NICE):
            yield
    finally:
        resource.setrlimit(resource.RLIMIT_RTPRIO, before)


@contextmanager
def _without(*capabilities: int) -> Iterator[None]:
    """Take capabilities from this thread and the threads it starts."""
    if os.geteuid() != 0:
        yield
        return
    libc = ctypes.CDLL(None, use_errno=True)
    header, words = (ctypes.c_uint32 * 2)(_VERSION_3, 0), _Words()
    assert libc.capget(header, words) == 0, os.strerror(ctypes.get_errno())
    before = words[0]
    words[0] &= ~sum(1 << capability for capability in capabilities)
    assert libc.capset(header, words) == 0, os.strerror(ctypes.get_errno())
    try:
        yield
    finally:
        words[0] = before
        assert libc.capset(header, words) == 0, os.strerror(ctypes.get_errno())
