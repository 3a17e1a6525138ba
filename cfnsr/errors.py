"""Errors a user can act on: one sentence, no traceback."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager


class InputError(ValueError):
    """Bad input. The message is one sentence that says what is wrong and what to do."""


class ClipError(InputError):
    """One clip can't be used. The message is the reason that goes into the manifest; the others go on."""


@contextmanager
def exit_with_sentence() -> Iterator[None]:
    """Turn errors that a user can act on into a line on stderr and exit code 2; let bugs keep their traceback."""
    try:
        yield
    except KeyboardInterrupt:
        print("\nstopped: run the same command again, it goes on from there.", file=sys.stderr)
        sys.exit(130)
    except Exception as error:
        said = sentence(error)
        if said is None:
            raise
        print(f"error: {said}", file=sys.stderr)
        sys.exit(2)


def sentence(error: Exception) -> str | None:
    """What to tell a user who can act on it; None for a bug."""
    if isinstance(error, InputError):
        return str(error)
    if disk_is_full(error):
        # A copy names two files; what was to be written is the second one.
        filename = getattr(error, "filename2", None) or getattr(error, "filename", None)
        where = f" while writing {filename}" if filename else ""
        return f"the disk is full{where}: free some space and run the same command again, it goes on from there."
    if isinstance(error, OSError) and error.filename and error.strerror:
        return f"{error.filename} can't be used ({error.strerror}): check that it is there and its permissions."
    return None


def disk_is_full(error: Exception) -> bool:
    """Whether it says so, of whichever disk."""
    # Some libraries wrap the system's error in one of their own (safetensors, SQLite), hence the search by text.
    texts = (os.strerror(errno.ENOSPC), "database or disk is full")
    return getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or any(text in str(error) for text in texts)
