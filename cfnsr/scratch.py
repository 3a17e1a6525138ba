"""Temporary folders that do not outlive their program for long, even if it is killed."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from multiprocessing.util import Finalize
from pathlib import Path

from filelock import FileLock, Timeout

_PREFIX = "cfnsr-scratch-"
_UNLOCKED_PREFIX = "cfnsr-starting-"
_LOCK = ".lock"


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """Yield a new folder in TMPDIR and remove it after the block; first remove those of killed programs.

    A program locks its folder for as long as it needs it; the system releases the lock of a killed one.
    """
    unlocked = Path(tempfile.mkdtemp(prefix=_UNLOCKED_PREFIX))
    with FileLock(unlocked / _LOCK):
        # Renamed only now, so that other programs never see the folder without its lock.
        folder = unlocked.rename(unlocked.with_name(unlocked.name.replace(_UNLOCKED_PREFIX, _PREFIX)))
        try:
            _remove_abandoned(folder)
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


@cache
def process_folder() -> Path:
    """Return the scratch folder of this process, which is removed when it ends."""
    stack = ExitStack()
    Finalize(None, stack.close, exitpriority=0)  # `atexit` does nothing in worker processes
    return stack.enter_context(scratch_folder())


def _remove_abandoned(own: Path) -> None:
    """Remove the folders of this user's programs that no longer run."""
    user = own.lstat().st_uid
    for folder in own.parent.glob(f"{_PREFIX}*"):
        try:
            if folder.is_symlink() or not folder.is_dir() or folder.lstat().st_uid != user:
                continue
            with FileLock(folder / _LOCK, timeout=0):
                shutil.rmtree(folder, ignore_errors=True)
        except (Timeout, OSError):  # its program is running, or is removing it
            continue
