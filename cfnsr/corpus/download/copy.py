"""Copying the files of a local source into the raw folder."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from threading import Event

from tqdm import tqdm

from cfnsr.corpus.download.threads import for_each
from cfnsr.corpus.download.workspace import Workspace
from cfnsr.errors import InputError
from cfnsr.files import atomic_path, file_digest
from cfnsr.parallel import default_workers


def copy_files(plan: Mapping[str, Path], workspace: Workspace) -> None:
    """Copy files into the raw folder; one that is already there with the same content is not copied again.

    Args:
        plan: source file by its path below the raw folder.
        workspace: whose raw folder is filled.

    Raises:
        InputError: the disk is too small.
    """
    targets = {relative: workspace.raw / relative for relative in plan}
    missing = [path for relative, path in plan.items() if not _same_size(path, targets[relative])]
    workspace.require_space(sum(path.stat().st_size for path in missing))
    with tqdm(total=len(plan), desc="copy", unit="file") as bar:

        def work(relative: str, _stop: Event) -> None:
            _copy(plan[relative], targets[relative])
            bar.update()

        for_each(work, list(plan), default_workers())


def check_apart(folder: Path, raw: Path) -> None:
    """Check that a source folder does not overlap the stage's own output.

    Raises:
        InputError: it does.
    """
    source, output = folder.resolve(), raw.resolve()
    if output.is_relative_to(source) or source.is_relative_to(output):
        raise InputError(
            f"dataset.path is {folder}, which overlaps the stage's own output {output}: choose another folder."
        )


def same_content(one: Path, other: Path) -> bool:
    """Whether two files are equal."""
    return _same_size(one, other) and file_digest(one) == file_digest(other)


def _same_size(one: Path, other: Path) -> bool:
    return other.is_file() and one.stat().st_size == other.stat().st_size


def _copy(source: Path, target: Path) -> None:
    if same_content(source, target):
        return
    with atomic_path(target) as temporary:
        shutil.copyfile(source, temporary)
