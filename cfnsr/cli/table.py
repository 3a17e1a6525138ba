"""`cfnsr table`: a table of clips from file names."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cfnsr.errors import InputError
from cfnsr.text import printable

_SHOWN = 10  # names of files that do not match


def table(
    folder: Annotated[Path, typer.Argument(help="Folder of audio or video files, searched with subfolders.")],
    pattern: Annotated[
        str,
        typer.Option(help="Paths below the folder, for example '{speaker}/{label}_*.wav'; ? stands for one character."),
    ] = "",
    names: Annotated[
        str, typer.Option(help="Published names, in place of a pattern: ravdess, crema-d, savee, emo-db or enterface.")
    ] = "",
    out: Annotated[Path | None, typer.Option(help="CSV file to write; default: table.csv in the folder.")] = None,
) -> None:
    """Write the table of a corpus, which `dataset.source: table` reads, from its file names."""
    import os
    from collections import Counter

    from cfnsr.corpus.names import NAMED, table_of_folder
    from cfnsr.corpus.table import write_rows
    from cfnsr.files import atomic_path

    if bool(pattern) == bool(names):
        raise InputError("give either --pattern or --names.")
    if names and names not in NAMED:
        raise InputError(f"the names of {names!r} are not known; there are {', '.join(NAMED)}, or give a --pattern.")
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder.")
    rows, others = table_of_folder(folder, names, pattern)
    target = out or folder / "table.csv"
    base = os.path.relpath(folder, target.parent)  # paths in a table are relative to it
    with atomic_path(target) as temporary:
        write_rows([row._replace(path=os.path.normpath(Path(base, row.path))) for row in rows], temporary)
    for path in others[:_SHOWN]:
        typer.echo(printable(f"another name: {path}"), err=True)
    if others:
        typer.echo(f"{len(others)} files with other names are not in the table", err=True)
    labels = ", ".join(f"{count} {label}" for label, count in Counter(row.label for row in rows).most_common())
    speakers = len({row.speaker for row in rows})
    typer.echo(f"{target}: {len(rows)} clips of {speakers} speakers: {labels}")
