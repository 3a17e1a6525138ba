"""A table of clips as the source: its files are copied into the raw folder, beside a copy of the table."""

from __future__ import annotations

from pathlib import Path

from tqdm import tqdm

from cfnsr.corpus.download.copy import copy_files
from cfnsr.corpus.download.workspace import Workspace
from cfnsr.corpus.table import TABLE, raw_name, read_rows, write_rows
from cfnsr.errors import InputError
from cfnsr.files import atomic_path


def copy_table(table: Path, workspace: Workspace) -> None:
    """Fill the raw folder with the files of a table and with nothing else.

    Rows whose file is missing stay in the table; the manifest gives the reason.

    Raises:
        InputError: the table can't be used, none of its files exists, one lies in the raw folder, or the disk is too
            small.
    """
    rows, raw = read_rows(table), workspace.raw.resolve()
    sources = {row.path: (table.parent / row.path).resolve() for row in rows if row.path}
    if inside := [path for path, source in sources.items() if source.is_relative_to(raw)]:
        raise InputError(
            f"{table} names {inside[0]}, which is in the stage's own output {raw}; move the clips elsewhere."
        )
    names = {path: raw_name(path, table.parent) for path in sources}
    present = {names[path]: source for path, source in sources.items() if source.is_file()}
    if not present:
        raise InputError(f"{table}: none of its {len(sources)} files exists; paths are relative to the table's folder.")
    copy_files(present, workspace)
    with atomic_path(workspace.raw / TABLE) as temporary:
        write_rows([row._replace(path=names.get(row.path, "")) for row in rows], temporary)
    workspace.keep_only({*present, TABLE})
    tqdm.write(f"download: {len(present)} of {len(sources)} files of {table}")
