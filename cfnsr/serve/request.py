"""A clip as a client names it - a path, a URL, or the file itself - as a file that can be read here."""

from __future__ import annotations

import base64
import binascii
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cfnsr.errors import ClipError
from cfnsr.serve.fetch_url import download
from cfnsr.serve.limits import Limits

COLUMNS = ("path", "url", "content")
"""Of a request's row; one of them has the clip."""

_BASE64 = 3 / 4  # bytes a character


@contextmanager
def local_clip(row: Mapping[Any, Any], limits: Limits) -> Iterator[Path]:
    """The clip of a request's row, checked against the limits; what was fetched is removed at the end of the block.

    Args:
        row: has text in one of `COLUMNS`; `content` is base64.
        limits: of the server.

    Raises:
        ClipError: it has not, or the clip is not allowed, not there, too large or too long.
    """
    given = {name: row[name] for name in COLUMNS if isinstance(row.get(name), str) and row[name]}
    if len(given) != 1:
        raise ClipError(
            "a row needs one of `path` (a file of the server), `url` and `content` (the file, base64), "
            f"and this one has {' and '.join(f'`{name}`' for name in given) or 'none'}"
        )
    with tempfile.TemporaryDirectory(prefix="cfnsr-") as folder:
        # Names without a suffix: FFmpeg shall look at the content.
        if "path" in given:
            clip = _allowed(Path(given["path"]), limits)
        elif "url" in given:
            clip = Path(folder, "download")
            download(given["url"], clip, limits)
        else:
            clip = Path(folder, "content")
            clip.write_bytes(_decoded(given["content"], limits))
        limits.check(clip)
        yield clip


def _allowed(path: Path, limits: Limits) -> Path:
    try:
        real = path.resolve()
        there = real.is_file()
    except (OSError, ValueError, RuntimeError):  # too long, a null character, a loop of links
        raise ClipError("`path` is not a path of this server") from None
    if not real.is_relative_to(limits.paths_below.resolve()):
        raise ClipError(f"{path} is outside the folder whose files this server reads (CFNSR_PATHS_BELOW)")
    if not there:
        raise ClipError(f"{path} is missing, or is not a file")
    return real


def _decoded(content: str, limits: Limits) -> bytes:
    limits.check_size(len(content) * _BASE64 - 2)  # up to two characters are padding
    try:
        return base64.b64decode(content, validate=True)
    except (binascii.Error, ValueError):
        raise ClipError("`content` is not base64") from None
