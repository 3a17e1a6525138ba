"""A table of clips: any corpus as a CSV or Parquet file.

Columns: `path` (audio or video or both, relative to the table), `label` and `speaker`; optionally `split`, `sex`,
`group` (anything that figures should be split by), `language`, and `start` and `end` in seconds, where several clips
are in one file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from cfnsr.errors import InputError
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

    @property
    def fault(self) -> str:
        """Why the row can't be used, whatever its file holds; empty for nothing."""
        for name, value in self._asdict().items():
            if name in REQUIRED and not value:
                return f"the row has no {name}"
            if spreadsheet_cell(value) != value:
                return f"its {name} has control characters, or starts like a formula of a spreadsheet; rename it"
        return ""


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
    full, below = (folder / path).resolve(), folder.resolve()
    if full.is_relative_to(below):
        return full.relative_to(below).as_posix()
    # By the path as it is written, so that it is the same on every machine.
    return f"{ELSEWHERE}/{hashlib.md5(Path(path).parent.as_posix().encode()).hexdigest()[:8]}/{full.name}"


def write_rows(rows: Iterable[Row], path: Path) -> None:
    """Write a table of clips with the columns that have a value."""
    table = pd.DataFrame(list(rows), columns=list(Row._fields))
    used = [name for name in Row._fields if name in REQUIRED or (table[name] != "").any()]
    table[used].to_csv(path, index=False, lineterminator="\n")
