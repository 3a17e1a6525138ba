"""Errors that a user can act on, shown as one line without a traceback."""

from __future__ import annotations

import errno
import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

from cfnsr.text import printable


class InputError(ValueError):
    """Invalid input. The message says in one sentence what is wrong and what to do.

    Args:
        message: may quote file names, URLs and other foreign text: see `printable`.
    """

    def __init__(self, message: object) -> None:
        super().__init__(printable(message))


class ClipError(InputError):
    """One clip is unusable. The message is its reason in the manifest; the other clips are processed."""


class LimitError(ClipError):
    """A clip holds more than may be decoded. No part of it is used."""


@contextmanager
def exit_with_message() -> Iterator[None]:
    """Turn errors that a user can act on into one line on stderr and exit code 2.

    Bugs keep their traceback, made printable.
    """
    try:
        yield
    except KeyboardInterrupt:
        print("\nstopped: run the same command again to continue.", file=sys.stderr)
        sys.exit(130)
    except Exception as error:
        message = user_message(error)
        if message is None:
            sys.excepthook = _print_traceback
            raise
        print(f"error: {message}", file=sys.stderr)
        sys.exit(2)


def _print_traceback(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    lines = "".join(traceback.format_exception(kind, error, trace)).splitlines()
    print(*map(printable, lines), sep="\n", file=sys.stderr)


def user_message(error: Exception) -> str | None:
    """Message for a user who can act on the error; None for a bug."""
    if isinstance(error, InputError):
        return str(error)
    if disk_is_full(error):
        # The error of a copy names two files, of which the second is the target.
        filename = getattr(error, "filename2", None) or getattr(error, "filename", None)
        where = f" while writing {printable(filename)}" if filename else ""
        return f"the disk is full{where}: free some space and run the same command again to continue."
    if isinstance(error, OSError) and error.filename and error.strerror:
        name = printable(error.filename)
        return f"{name} can't be used ({error.strerror}): check that it exists, and its permissions."
    return None


def disk_is_full(error: Exception) -> bool:
    """Whether an error reports a full disk or an exceeded quota."""
    # Some libraries (safetensors, SQLite) wrap the system's error in their own, hence the search in the text.
    texts = (os.strerror(errno.ENOSPC), "database or disk is full")
    return getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or any(text in str(error) for text in texts)
