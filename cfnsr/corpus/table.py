"""A table of clips: any corpus as a CSV or Parquet file.

Columns: `path` (audio or video or both, relative to the table), `label` and `speaker`; optionally `split`, `sex`,
`group` (anything that figures should be split by), `language`, and `start` and `end` in seconds, where several clips
are in one file.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from cfnsr.config.corpus import DatasetSettings
from cfnsr.corpus.manifest import NOT_SELECTED, examine, manifest_of, manifest_row
from cfnsr.errors import ClipError, InputError
from cfnsr.media.probe import MediaInfo
from cfnsr.media.progress import TOLERANCE
from cfnsr.parallel import map_clips
from cfnsr.text import spreadsheet_cell

TABLE = "table.csv"
"""Name of the table in the raw folder; its paths are relative to that folder."""
REQUIRED = ("path", "label", "speaker")
OPTIONAL = ("split", "sex", "group", "language", "start", "end")
ELSEWHERE = "elsewhere"
"""Folder, below the raw folder, of files that are not below the table's own folder."""


class Row(NamedTuple):
    """A row of a table of clips; all values are text, and empty where the table has none."""

    path: str
    label: str
    speaker: str
    split: str = ""
    sex: str = ""
    group: str = ""
    language: str = ""
    start: str = ""
    end: str = ""


def read_rows(path: Path) -> list[Row]:
    """Read a table of clips.

    Raises:
        InputError: the file is missing, is not a table, has no rows, or lacks or misspells a column.
    """
    try:
        table = (
            pd.read_parquet(path)
            if path.suffix == ".parquet"
            else pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig")
        )
    except FileNotFoundError:
        raise InputError(f"{path} is missing; set dataset.path to the table of your clips.") from None
    except (ValueError, OSError) as error:
        raise InputError(f"{path} is not a CSV or Parquet table ({error}).") from None
    if missing := [name for name in REQUIRED if name not in table.columns]:
        raise InputError(f"{path} has no column {missing[0]!r}; a table of clips needs {', '.join(REQUIRED)}.")
    if unknown := [str(name) for name in table.columns if name not in Row._fields]:
        raise InputError(
            f"{path} has the column {unknown[0]!r}, which has no meaning here; remove it, or rename it to one of "
            f"{', '.join(OPTIONAL)}."
        )
    if table.empty:
        raise InputError(f"{path} has no rows.")
    table = table.astype(object).where(table.notna(), "")
    return [Row(**{name: str(value).strip() for name, value in row.items()}) for row in table.to_dict("records")]


def raw_name(path: str, folder: Path) -> str:
    """Where a file of a table lies below the raw folder.

    Args:
        path: as in the table.
        folder: of the table.
    """
    full = (folder / path).resolve()
    if full.is_relative_to(folder.resolve()):
        return full.relative_to(folder.resolve()).as_posix()
    return f"{ELSEWHERE}/{hashlib.md5(str(full.parent).encode()).hexdigest()[:8]}/{full.name}"


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
    for name in REQUIRED:
        if not getattr(row, name):
            raise ClipError(f"the row has no {name}")
    for name, value in row._asdict().items():
        if spreadsheet_cell(value) != value:
            raise ClipError(f"its {name} has control characters, or starts like a formula of a spreadsheet; rename it")
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


def write_rows(rows: Iterator[Row] | list[Row], path: Path) -> None:
    """Write a table of clips with the columns that have a value."""
    table = pd.DataFrame(list(rows), columns=list(Row._fields))
    used = [name for name in Row._fields if name in REQUIRED or (table[name] != "").any()]
    table[used].to_csv(path, index=False, lineterminator="\n")
