"""The folder where a server keeps what visitors send it. It goes with its server, or with the next one that starts."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

_NAME = "cfnsr-serve-"
_UNLOCKED = "cfnsr-starting-"
_LOCK = ".lock"


@contextmanager
def visitors_folder() -> Iterator[Path]:
    """A folder in TMPDIR, removed at the end of the block; those that killed servers of this user left go first.

    A server holds the lock in its folder as long as it lives, and the system lets go of it however it ends.
    """
    unlocked = Path(tempfile.mkdtemp(prefix=_UNLOCKED))
    with FileLock(unlocked / _LOCK):
        # Only now it gets the name that others look for: none of them ever sees it without its lock.
        folder = unlocked.rename(unlocked.with_name(unlocked.name.replace(_UNLOCKED, _NAME)))
        try:
            _remove_abandoned(folder)
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _remove_abandoned(own: Path) -> None:
    """Remove the folders beside this one that are of the same user and of no server."""
    user = own.lstat().st_uid
    for folder in own.parent.glob(f"{_NAME}*"):
        try:
            if folder.is_symlink() or not folder.is_dir() or folder.lstat().st_uid != user:
                continue
            with FileLock(folder / _LOCK, timeout=0):
                shutil.rmtree(folder, ignore_errors=True)
        except (Timeout, OSError):  # its server lives, or is removing it now
            continue
