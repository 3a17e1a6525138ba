"""The clips that visitors of the page upload: where they are kept, and when they are deleted."""

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
_PREFIX = "cfnsr-serve-"
_UNLOCKED_PREFIX = "cfnsr-starting-"
_LOCK = ".lock"


class Uploads:
    """Keeps each clip while a visitor has it open.

    Gradio stores identical contents once, in a folder of their own below `folder`, and reports an upload only after it
    was stored. A content's folder is therefore deleted once no visitor has a clip in it and nothing was stored there
    for `grace` seconds. All methods belong to the server's event loop, which also stores the uploads, so that none
    arrives while its folder is deleted.

    Args:
        folder: where Gradio stores the uploads.
        grace: minimum time in s that a clip is kept after its upload.
    """

    def __init__(self, folder: Path, grace: float = _GRACE) -> None:
        self.folder = folder
        self._grace = grace
        self._open: dict[object, Path] = {}  # each visitor's content folder

    @classmethod
    @contextmanager
    def in_temporary_folder(cls) -> Iterator[Uploads]:
        """Store uploads in a folder in TMPDIR until the end of the block; first remove those of killed servers.

        A server locks its folder for as long as it runs; the system releases the lock of a killed one.
        """
        unlocked = Path(tempfile.mkdtemp(prefix=_UNLOCKED_PREFIX))
        with FileLock(unlocked / _LOCK):
            # Renamed only now, so that other servers never see the folder without its lock.
            folder = unlocked.rename(unlocked.with_name(unlocked.name.replace(_UNLOCKED_PREFIX, _PREFIX)))
            try:
                _remove_abandoned(folder)
                yield cls(folder)
            finally:
                shutil.rmtree(folder, ignore_errors=True)

    def open(self, visitor: object, clip: Path) -> None:
        """Keep a clip for a visitor, in place of the visitor's previous one."""
        previous, self._open[visitor] = self._open.get(visitor), clip.parent
        if previous is not None:
            self._delete_unused(previous)

    def close(self, visitor: object) -> None:
        """Stop keeping the visitor's clip, if there is one."""
        if visitor in self._open:
            self._delete_unused(self._open.pop(visitor))

    @contextmanager
    def keep(self, clip: Path) -> Iterator[None]:
        """Keep a clip during the block, even if its visitor leaves."""
        holder = object()
        self.open(holder, clip)
        try:
            yield
        finally:
            self.close(holder)

    def _delete_unused(self, folder: Path) -> None:
        if folder in self._open.values() or not folder.exists():
            return
        # The time of change, because moving a file does not update its time of modification.
        stored = max((path.stat().st_ctime for path in folder.iterdir()), default=0.0)
        wait = min(stored + self._grace - time.time(), self._grace)  # the clock may have been set back
        if wait > 0:
            asyncio.get_running_loop().call_later(wait, self._delete_unused, folder)
        else:
            shutil.rmtree(folder, ignore_errors=True)


def _remove_abandoned(own: Path) -> None:
    """Remove the folders of this user's servers that no longer run."""
    user = own.lstat().st_uid
    for folder in own.parent.glob(f"{_PREFIX}*"):
        try:
            if folder.is_symlink() or not folder.is_dir() or folder.lstat().st_uid != user:
                continue
            with FileLock(folder / _LOCK, timeout=0):
                shutil.rmtree(folder, ignore_errors=True)
        except (Timeout, OSError):  # its server is running, or is removing it
            continue
