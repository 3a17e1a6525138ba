"""Opening media files with PyAV, with a sentence for each way a file can be broken."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import av

from cfnsr.errors import ClipError

if TYPE_CHECKING:
    from av.container import InputContainer


@contextmanager
def open_media(path: Path) -> Iterator[InputContainer]:
    """Open a media file for reading.

    Raises:
        ClipError: the file is missing, empty, unreadable, or FFmpeg can't read it; also for decoding errors raised
            inside the block.
    """
    if not path.exists():
        raise ClipError(f"{path.name} is missing")
    if path.stat().st_size == 0:
        raise ClipError(f"{path.name} is empty (zero bytes)")
    try:
        # As a URL, because a name with a colon would be taken for one.
        with av.open(f"file:{path}", mode="r", metadata_errors="replace") as container:
            yield container
    except PermissionError:
        raise ClipError(f"{path.name} may not be read; change its permissions") from None
    except av.FFmpegError as error:
        raise ClipError(f"{path.name} is damaged or not a media file ({error.strerror})") from None
