"""The manifest: one row per clip and one per unusable file, so that no file is silently dropped.

Columns of `clips.csv`:

- `clip_id` (empty if a file's name is invalid), `speaker`, `sex`, `group` (anything that figures should be split by;
  the intensity in RAVDESS), `language`, `split` (of a table: where its folds come from), `label` (word);
- `start`, `end`: part of the files that is the clip, in seconds; empty for the whole;
- `has_video`, `has_audio`: what the clip offers; `video_path`, `audio_path`, `landmarks_path`: its files, relative to
  the raw folder; `video_digest`, `audio_digest`, `landmarks_digest`: their md5; `duration` in seconds;
- `video_reason`, `audio_reason`: why a clip has no video or no audio although there is a file for it;
- `reason`: why the row is excluded; empty for a usable clip.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from cfnsr.errors import ClipError, InputError
from cfnsr.files import atomic_path, file_digest
from cfnsr.media.probe import MediaInfo, probe_media

_TIMES = ("start", "end", "duration")
_FLAGS = ("has_video", "has_audio")
COLUMNS = (
    *("clip_id", "speaker", "sex", "group", "language", "split", "label", "start", "end"),
    *("has_video", "has_audio", "duration", "video_path", "audio_path", "landmarks_path"),
    *("video_digest", "audio_digest", "landmarks_digest", "video_reason", "audio_reason", "reason"),
)
_DTYPES = {name: "float64" if name in _TIMES else "bool" if name in _FLAGS else "str" for name in COLUMNS}

NOT_SELECTED = "not selected: "
"""Start of the reason of a clip that is intact but not part of the profile, such as a song; it is not a fault."""


def manifest_of(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """The table of rows: clips by their id, then files without one."""
    rows = sorted(rows, key=lambda row: (not row["clip_id"], row["clip_id"], bool(row["reason"]), file_of(row)))
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype(_DTYPES)


def manifest_row(**values: Any) -> dict[str, Any]:
    """A row of the manifest; columns that are not given are empty."""
    return dict.fromkeys(COLUMNS, "") | dict.fromkeys(_TIMES) | dict.fromkeys(_FLAGS, False) | values


def file_of(row: dict[str, Any]) -> str:
    """The file of a row, relative to the raw folder."""
    return str(row["video_path"] or row["audio_path"] or row["landmarks_path"])


def part_of(row: Mapping[str, Any]) -> dict[str, float]:
    """The `start` and `end` of a clip in its files in s, where a row of the manifest has them."""
    return {name: row[name] for name in ("start", "end") if not math.isnan(row[name])}


def examine(path: Path) -> tuple[str, MediaInfo]:
    """The digest of a media file and what it holds. The file is read twice, the second time from the page cache.

    Raises:
        ClipError: it can't be read, is cut off, or is not a media file.
    """
    try:
        return file_digest(path), probe_media(path)
    except OSError as error:
        raise ClipError(f"{path.name} can't be read ({error.strerror or error})") from None


def write_manifest(manifest: pd.DataFrame, path: Path) -> None:
    """Write a manifest as CSV, atomically."""
    with atomic_path(path) as temporary:
        manifest.to_csv(temporary, index=False, lineterminator="\n")


def read_manifest(path: Path) -> pd.DataFrame:
    """Read a manifest with the types it was built with.

    Raises:
        InputError: the file is missing or not a manifest.
    """
    try:
        manifest = pd.read_csv(
            path, dtype=_DTYPES, keep_default_na=False, na_values={name: [""] for name in _TIMES}, encoding="utf-8"
        )
    except FileNotFoundError:
        raise InputError(f"{path} is missing: run `dvc repro manifest` first.") from None
    except ValueError as error:
        raise InputError(f"{path} is not a manifest ({error}): run `dvc repro manifest --force`.") from None
    if list(manifest.columns) != list(COLUMNS):
        raise InputError(f"{path} has other columns than a manifest: run `dvc repro manifest --force`.")
    return manifest


def dataset_digest(manifest: pd.DataFrame) -> str:
    """Digest (sha256) of the usable clips: speakers, labels and content of files, independent of order and paths."""
    usable = manifest[manifest["reason"] == ""]
    columns = [
        name for name in COLUMNS if name not in ("duration", "reason") and not name.endswith(("_path", "_reason"))
    ]
    lines = sorted(" ".join(map(str, row)) for row in usable[columns].itertuples(index=False))
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def row_name(row: Any) -> str:
    """Name of a row (of `DataFrame.itertuples`) in messages: the file of an excluded row, else the clip id."""
    return (row.reason and (row.video_path or row.audio_path or row.landmarks_path)) or row.clip_id


def selected(manifest: pd.DataFrame) -> pd.DataFrame:
    """All rows except those of intact clips that are not part of the profile."""
    return manifest[~manifest["reason"].str.startswith(NOT_SELECTED)]


def faults(manifest: pd.DataFrame) -> dict[str, str]:
    """Reason per faulty clip or file, by `row_name` and sorted by it.

    A usable clip is included if one of its files is unusable (`video_reason`, `audio_reason`).
    """
    found = {}
    for row in selected(manifest).itertuples():
        if fault := row.reason or "; ".join(filter(None, [row.video_reason, row.audio_reason])):
            found[row_name(row)] = str(fault)
    return dict(sorted(found.items()))
