"""The manifest of a table of clips: each row's file, examined."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from cfnsr.config.corpus import DatasetSettings
from cfnsr.corpus.manifest import NOT_SELECTED, examine, manifest_of, manifest_row
from cfnsr.corpus.table import TABLE, Row, read_rows
from cfnsr.errors import ClipError
from cfnsr.media.probe import MediaInfo
from cfnsr.media.progress import TOLERANCE
from cfnsr.parallel import map_clips
from cfnsr.text import spreadsheet_cell


def table_manifest(raw: Path, dataset: DatasetSettings, workers: int) -> pd.DataFrame:
    """Examine every file of the table in the raw folder.

    Args:
        raw: folder with `TABLE` and the files.
        dataset: says which labels are selected.
        workers: number of processes.

    Returns:
        The manifest, see `cfnsr.corpus.manifest`; a row that can't be used has its reason.

    Raises:
        InputError: there is no table.
    """
    rows = read_rows(raw / TABLE)
    paths = sorted({row.path for row in rows if row.path})
    examined = dict(map_clips(partial(_examine, raw), paths, workers=workers, description="manifest", unit="file"))
    seen: set[str] = set()
    return manifest_of([_manifest_row(row, examined, dataset, seen) for row in rows])


def _examine(raw: Path, path: str) -> tuple[str, MediaInfo]:
    return examine(raw / path)


def _manifest_row(
    row: Row, examined: dict[str, tuple[str, MediaInfo] | ClipError], dataset: DatasetSettings, seen: set[str]
) -> dict[str, Any]:
    facts = {name: getattr(row, name) for name in ("speaker", "sex", "group", "language", "split", "label")}
    facts |= {"clip_id": row.path + (f"@{row.start or 0}-{row.end}" if row.start or row.end else "")}
    try:
        start, end, digest, content = _checked(row, examined)
        if facts["clip_id"] in seen:
            raise ClipError("the clip is in the table more than once; this row is not used")
    except ClipError as error:
        shown = {name: spreadsheet_cell(value) for name, value in facts.items()}
        return manifest_row(**shown | {"clip_id": ""}, video_path=spreadsheet_cell(row.path), reason=str(error))
    seen.add(str(facts["clip_id"]))
    label = dataset.label_of(row.label)
    files: dict[str, Any] = {}
    for kind, seconds in (("video", content.video), ("audio", content.audio)):
        if seconds:
            files |= {f"has_{kind}": True, f"{kind}_path": row.path, f"{kind}_digest": digest}
    return manifest_row(
        **facts | {"label": label or row.label},
        start=start,
        end=end,
        duration=round((end or max(content.video, content.audio)) - (start or 0), 3),
        reason="" if label else f"{NOT_SELECTED}label {row.label}",
        **files,
    )


def _checked(
    row: Row, examined: dict[str, tuple[str, MediaInfo] | ClipError]
) -> tuple[float | None, float | None, str, MediaInfo]:
    """Start and end of a clip, and the digest and content of its file.

    Raises:
        ClipError: a value is missing or impossible, or the file can't be used.
    """
    if row.fault:
        raise ClipError(row.fault)
    found = examined[row.path]
    if isinstance(found, ClipError):
        raise found
    start, end = _seconds(row.start, "start"), _seconds(row.end, "end")
    longest = max(found[1].video, found[1].audio)
    if (start or 0) >= (longest if end is None else end) or (end or 0) > longest + TOLERANCE:
        raise ClipError(
            f"{row.start or 0} to {row.end or 'the end'} s is not a part of the file, which has {longest:.2f} s"
        )
    return start, end, *found


def _seconds(text: str, column: str) -> float | None:
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise ClipError(f"{column} is {text!r}, not a time in seconds")
    return value
