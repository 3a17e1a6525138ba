"""Errors a user can act on: one sentence, no traceback."""

from __future__ import annotations

import errno
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
    except InputError as error:
        sys.exit(_complain(str(error)))
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        where = f" while writing {error.filename}" if error.filename else ""
        sys.exit(
            _complain(
                f"The disk is full{where}: free some space and run the same command again, it goes on from there."
            )
        )


def _complain(sentence: str) -> int:
    print(f"error: {sentence}", file=sys.stderr)
    return 2
