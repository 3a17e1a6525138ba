"""The clips that visitors of the page upload: where they are kept, and when they are deleted."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from cfnsr.errors import ClipError

GRACE = 60.0
"""Minimum time in s that an upload is kept: the page reports it only some time after it was stored."""
_LONGEST = 86_400.0  # s that a clip is kept for a visitor who never leaves
_VISITOR_PREFIX = "visitor-"


@dataclass(frozen=True, eq=False)
class Clip:
    """A clip that a visitor has open."""

    upload: Path  # where Gradio has stored it
    folder: Path  # made for this visitor and this clip
    opened: float  # s, of the monotonic clock

    @property
    def path(self) -> Path:
        """The visitor's own link to the upload."""
        return self.folder / self.upload.name


class Uploads:
    """Keeps each clip while a visitor has it open.

    Gradio stores each upload in a folder of its content below `folder`, identical contents once. Each visitor gets a
    folder with a link to the upload. What clients say only chooses among the files that lie there; what is deleted
    was found by listing `folder`, or made here.

    All methods belong to the server's event loop, which also stores the uploads, so that none arrives while its folder
    is deleted.

    Args:
        folder: where Gradio stores the uploads.
        grace: minimum time in s that an upload is kept.
    """

    def __init__(self, folder: Path, grace: float = GRACE) -> None:
        self.folder = folder
        self._grace = grace
        self._open: dict[object, Clip] = {}

    def open(self, visitor: object, upload: str | None) -> Clip:
        """Keep an upload for a visitor, in place of the visitor's previous one.

        Args:
            visitor: any key.
            upload: the path that Gradio has given to the upload, as the client repeats it.

        Raises:
            ClipError: no such file was uploaded, or it has been deleted.
        """
        path = Path(upload or "")
        present = self._open.get(visitor)
        if present is not None and present.upload == path:
            return present
        if path not in self._stored():
            raise ClipError("this clip was not uploaded, or has been deleted; upload it again")
        clip = Clip(path, Path(tempfile.mkdtemp(prefix=_VISITOR_PREFIX, dir=self.folder)), time.monotonic())
        os.link(path, clip.path)
        self._open[visitor] = clip
        self._release(present)
        return clip

    def close(self, visitor: object) -> None:
        """Stop keeping the visitor's clip, if there is one."""
        self._release(self._open.pop(visitor, None))

    @contextmanager
    def keep(self, clip: Clip) -> Iterator[None]:
        """Keep a clip during the block, even if its visitor leaves."""
        holder = object()
        self._open[holder] = clip
        try:
            yield
        finally:
            self.close(holder)

    def sweep(self) -> None:
        """Delete the uploads that are older than `grace` and not open, and what is left of broken uploads."""
        opened = {clip.upload.parent for clip in self._open.values()}
        with os.scandir(self.folder) as entries:
            for entry in entries:
                if Path(entry.path) not in opened and not entry.name.startswith((_VISITOR_PREFIX, ".")):
                    self._delete_old(entry)

    @asynccontextmanager
    async def swept(self, _: object = None) -> AsyncIterator[None]:
        """Sweep time and again during the block."""
        task = asyncio.create_task(self._sweep_regularly())
        try:
            yield
        finally:
            task.cancel()

    def _release(self, clip: Clip | None) -> None:
        if clip is not None and clip not in self._open.values():
            shutil.rmtree(clip.folder, ignore_errors=True)
            self.sweep()

    def _delete_old(self, entry: os.DirEntry[str]) -> None:
        with suppress(FileNotFoundError):
            # A folder is modified when an upload is moved into it, and not when one is linked.
            if time.time() - entry.stat(follow_symlinks=False).st_mtime <= self._grace:
                return
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path, ignore_errors=True)
            else:
                Path(entry.path).unlink()

    async def _sweep_regularly(self) -> None:
        while True:
            await asyncio.sleep(self._grace)
            late = time.monotonic() - _LONGEST
            for visitor in [visitor for visitor, clip in self._open.items() if clip.opened < late]:
                self.close(visitor)
            self.sweep()

    def _stored(self) -> set[Path]:
        """The regular files in the folders of contents."""
        with os.scandir(self.folder) as entries:
            folders = [
                entry.path
                for entry in entries
                if entry.is_dir(follow_symlinks=False) and not entry.name.startswith(_VISITOR_PREFIX)
            ]
        stored: set[Path] = set()
        for folder in folders:
            with os.scandir(folder) as entries:
                stored.update(Path(entry.path) for entry in entries if entry.is_file(follow_symlinks=False))
        return stored
