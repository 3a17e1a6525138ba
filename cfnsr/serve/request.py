"""Turns the clip of a request - a path, a URL, or the file itself - into a local file."""

from __future__ import annotations

import base64
import binascii
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cfnsr.errors import ClipError
from cfnsr.scratch import process_folder
from cfnsr.serve.fetch_url import download
from cfnsr.serve.limits import ServerLimits

COLUMNS = ("path", "url", "content")
"""Columns of a request; each row has its clip in one of them."""

_BASE64 = 3 / 4  # bytes per character


@contextmanager
def local_clip(row: Mapping[Any, Any], limits: ServerLimits) -> Iterator[Path]:
    """Yield the clip of a request's row as a file within the limits; a temporary file is removed after the block.

    Args:
        row: has a string in one of `COLUMNS`; `content` is base64.
        limits: the server's.

    Raises:
        ClipError: the row has no clip, or the clip is not allowed, missing, too large or too long.
    """
    given = {name: row[name] for name in COLUMNS if isinstance(row.get(name), str) and row[name]}
    if len(given) != 1:
        raise ClipError(
            "a row needs one of `path` (a file on the server), `url` and `content` (the file, base64), "
            f"and this one has {' and '.join(f'`{name}`' for name in given) or 'none'}"
        )
    with tempfile.TemporaryDirectory(dir=process_folder()) as folder:
        # Names without a suffix, so that FFmpeg looks at the content.
        if "path" in given:
            clip = _allowed_path(Path(given["path"]), limits)
        elif "url" in given:
            clip = Path(folder, "download")
            download(given["url"], clip, limits)
        else:
            clip = Path(folder, "content")
            clip.write_bytes(_decoded(given["content"], limits))
        limits.check(clip)
        yield clip


def _allowed_path(path: Path, limits: ServerLimits) -> Path:
    try:
        real = path.resolve()
        is_file = real.is_file()
    except (OSError, ValueError, RuntimeError):  # too long, a null character, a loop of links
        raise ClipError("`path` is not a path") from None
    if not real.is_relative_to(limits.paths_below.resolve()):
        raise ClipError(f"{path} is outside the folder that this server reads (CFNSR_PATHS_BELOW)")
    if not is_file:
        raise ClipError(f"{path} is missing, or is not a file")
    return real


def _decoded(content: str, limits: ServerLimits) -> bytes:
    limits.check_size(len(content) * _BASE64 - 2)  # up to two characters are padding
    try:
        return base64.b64decode(content, validate=True)
    except (binascii.Error, ValueError):
        raise ClipError("`content` is not base64") from None
