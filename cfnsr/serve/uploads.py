"""What visitors of the page have sent: the folder that holds it, who has which clip, and when one is deleted."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

_GRACE = 60.0  # s
_NAME = "cfnsr-serve-"
_UNLOCKED = "cfnsr-starting-"
_LOCK = ".lock"


class Clips:
    """Deletes a clip, with all that is in its folder, when nobody has it any more.

    Gradio puts every content into a folder of its own, whoever sent it and whatever they call it, and the page says
    that it is there only afterwards. So a folder is kept until nobody has anything of it and nothing was put there for
    a while.

    Everything here is for the server's event loop, which puts clips in their place too: none arrives while its folder
    goes.

    Args:
        grace: how long a clip is kept after it was sent, at least; in s.
    """

    def __init__(self, grace: float = _GRACE) -> None:
        self._grace = grace
        self._folders: dict[object, Path] = {}  # of whoever has something of it

    def open(self, visitor: object, clip: Path) -> None:
        """A visitor has this clip now, and no other."""
        before, self._folders[visitor] = self._folders.get(visitor), clip.parent
        if before is not None:
            self._release(before)

    def close(self, visitor: object) -> None:
        """A visitor has no clip any more."""
        if visitor in self._folders:
            self._release(self._folders.pop(visitor))

    @contextmanager
    def kept(self, clip: Path) -> Iterator[None]:
        """Keep a clip as long as it is worked on, though its visitor leaves meanwhile."""
        work = object()
        self.open(work, clip)
        try:
            yield
        finally:
            self.close(work)

    def _release(self, folder: Path) -> None:
        if folder in self._folders.values() or not folder.exists():
            return
        # Not the time of modification: a file that is moved here keeps that.
        put = max((path.stat().st_ctime for path in folder.iterdir()), default=0.0)
        wait = min(put + self._grace - time.time(), self._grace)  # the clock may have been set back
        if wait > 0:
            asyncio.get_running_loop().call_later(wait, self._release, folder)
        else:
            shutil.rmtree(folder, ignore_errors=True)


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
