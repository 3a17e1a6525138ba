"""The packed faces: one file per speaker, one row group per clip.

Columns: `clip_id`; `reason` (why the clip was excluded, and the other columns are null; empty for a usable clip);
`frames` (T JPEG files); `boxes` (T times x, y, width, height in pixels of the source); `flags` (T times `detected`,
`interpolated` or `not found`, see `cfnsr.features.faces.track.BoxSource`); `times` (T presentation times, s);
`width` and `height` of the source, pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from cfnsr.errors import ClipError, InputError
from cfnsr.features.faces.crop import decode_jpeg
from cfnsr.features.faces.track import BoxSource
from cfnsr.features.packed import speaker_file

SCHEMA = pa.schema(
    [
        ("clip_id", pa.string()),
        ("reason", pa.string()),
        ("frames", pa.list_(pa.binary())),
        ("boxes", pa.list_(pa.list_(pa.float32()))),
        ("flags", pa.list_(pa.string())),
        ("times", pa.list_(pa.float32())),
        ("width", pa.int32()),
        ("height", pa.int32()),
    ]
)


@dataclass(frozen=True, eq=False)
class FaceClip:
    """The faces of one clip."""

    frames: NDArray[np.uint8]
    """(T, H, W, 3), RGB."""
    boxes: NDArray[np.float32]
    """(T, 4): x, y, width, height in pixels of the source."""
    flags: tuple[BoxSource, ...]
    """T: where each box comes from."""
    times: NDArray[np.float32]
    """(T,) presentation times, s."""
    width: int
    """Of the source, pixels."""
    height: int
    """Of the source, pixels."""


def read_faces(folder: Path, speaker: str, clip_id: str) -> FaceClip:
    """Read one clip, and only that part of the file.

    Args:
        folder: of the packed files.
        speaker: of the clip.
        clip_id: of the manifest.

    Raises:
        ClipError: the clip was excluded when the faces were cut; the message is the reason.
        InputError: there is no such file, or no such clip in it.
    """
    path = speaker_file(folder, speaker)
    try:
        stat = path.stat()
    except FileNotFoundError:
        raise InputError(f"{path} is missing; run `python -m components.faces` first.") from None
    file, row_groups = _open(path, stat.st_mtime_ns, stat.st_ino)
    if clip_id not in row_groups:
        raise InputError(f"{path} has no clip {clip_id!r}; run `python -m components.faces` to bring it up to date.")
    row = file.read_row_group(row_groups[clip_id], use_threads=False).to_pylist()[0]
    if row["reason"]:
        raise ClipError(row["reason"])
    return FaceClip(
        frames=np.stack([decode_jpeg(content) for content in row["frames"]]),
        boxes=np.array(row["boxes"], np.float32),
        flags=tuple(BoxSource(flag) for flag in row["flags"]),
        times=np.array(row["times"], np.float32),
        width=row["width"],
        height=row["height"],
    )


@lru_cache(maxsize=64)
def _open(path: Path, changed: int, inode: int) -> tuple[pq.ParquetFile, dict[str, int]]:
    """The file and the row group of each clip; `changed` and `inode` make a rewritten file a new cache entry."""
    file = pq.ParquetFile(path)
    clips = file.read(columns=["clip_id"], use_threads=False)["clip_id"].to_pylist()
    return file, {clip: row_group for row_group, clip in enumerate(clips)}
