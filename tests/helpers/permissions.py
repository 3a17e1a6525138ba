"""Permissions that count for root too."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager

_VERSION_3 = 0x20080522  # of the kernel's interface, linux/capability.h
_OVERRIDE = 1 << 1 | 1 << 2  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
_Words = ctypes.c_uint32 * 6  # effective, permitted, inheritable; low, then high halves


@contextmanager
def permissions_count() -> Iterator[None]:
    """Inside, this thread and those it starts may read only what permissions allow, even as root (on Linux)."""
    if os.geteuid() != 0:
        yield
        return
    libc = ctypes.CDLL(None, use_errno=True)
    header, words = (ctypes.c_uint32 * 2)(_VERSION_3, 0), _Words()
    assert libc.capget(header, words) == 0, os.strerror(ctypes.get_errno())
    before = words[0]
    words[0] &= ~_OVERRIDE
    assert libc.capset(header, words) == 0, os.strerror(ctypes.get_errno())
    try:
        yield
    finally:
        words[0] = before
        assert libc.capset(header, words) == 0, os.strerror(ctypes.get_errno())
