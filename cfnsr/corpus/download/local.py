"""A folder of RAVDESS files as the source, in whatever folders they lie."""

from __future__ import annotations

import re
import shutil
from collections.abc import Collection
from pathlib import Path
from threading import Event

from tqdm import tqdm

from cfnsr.corpus.download.threads import for_each
from cfnsr.corpus.download.workspace import Workspace
from cfnsr.corpus.ravdess import actor_folder, file_kind, parse_name
from cfnsr.errors import InputError
from cfnsr.files import atomic_path, file_digest, visible_files
from cfnsr.parallel import default_workers

UNPLACED = "unplaced"  # media whose name says no actor
DUPLICATES = "duplicates"  # files whose place another one has taken

_ACTOR_FOLDER = re.compile(r"Actor_(\d\d)")


def copy_folder(folder: Path, actors: Collection[int], workspace: Workspace) -> None:
    """Make the raw folder hold the RAVDESS files of these actors from `folder` and its subfolders, and nothing else.

    Media files with broken names come along (to the actor whose folder they lie in, else to `unplaced`), and so does a
    second, different file of the same name (to `duplicates`): the manifest records them. A file that is there already
    with the same content is not copied again.

    Raises:
        InputError: the folder is missing, holds no RAVDESS file of these actors, can't be read or lies around the raw
            folder, or the disk is too small.
    """
    source, raw = folder.resolve(), workspace.raw.resolve()
    if not source.is_dir():
        raise InputError(f"{folder} is not a folder: set dataset.path to the folder that holds the RAVDESS files.")
    if raw.is_relative_to(source) or source.is_relative_to(raw):
        raise InputError(f"dataset.path is {folder}, which overlaps the stage's own output {raw}: choose another one.")
    plan = _plan(source, actors)
    targets = {relative: raw / relative for relative in plan}
    missing = [path for relative, path in plan.items() if not _same_size(path, targets[relative])]
    workspace.require_space(sum(path.stat().st_size for path in missing))
    with tqdm(total=len(plan), desc="copy", unit="file") as bar:

        def work(relative: str, _stop: Event) -> None:
            _copy(plan[relative], targets[relative])
            bar.update()

        for_each(work, list(plan), default_workers())
    workspace.keep_only(plan)
    tqdm.write(f"download: {len(plan)} files of {source}")


def _plan(source: Path, actors: Collection[int]) -> dict[str, Path]:
    """Where each file goes: path below the raw folder -> file. In the order of the names, whatever the disk's is."""
    plan: dict[str, Path] = {}
    named = foreign = equal = 0
    for path in sorted(visible_files(source)):
        kind = file_kind(path)
        if not kind or not path.is_file():
            continue
        try:
            actor = parse_name(path)[1].actor
        except ValueError:
            if kind == "landmarks":
                continue  # any table may lie about; only media are suspected to be clips
            place = _folder_of_unnamed(path)
            if place is not None and place not in actors:
                continue
            relative = f"{UNPLACED if place is None else actor_folder(place)}/{path.name}"
        else:
            if actor not in actors:
                foreign += 1
                continue
            named += 1
            relative = f"{actor_folder(actor)}/{path.name}"
        if relative in plan:
            if _same_content(path, plan[relative]):
                equal += 1
                continue
            relative = f"{DUPLICATES}/{path.relative_to(source).as_posix()}"
        plan[relative] = path
    if not named:
        others = f", only {foreign} of actors that dataset.actors leaves out" if foreign else ""
        raise InputError(
            f"{source} holds no RAVDESS file of the configured actors{others}: set dataset.path to a folder with files "
            "such as 01-01-05-02-01-01-12.mp4 in it or its subfolders, unpacked."
        )
    if equal:
        tqdm.write(f"download: {equal} files are exact copies of others in {source}; each is taken once")
    return plan


def _folder_of_unnamed(path: Path) -> int | None:
    """Actor whose folder a file lies in, the nearest one."""
    matches = (_ACTOR_FOLDER.fullmatch(parent.name) for parent in path.parents)
    return next((int(match[1]) for match in matches if match), None)


def _copy(source: Path, target: Path) -> None:
    if _same_content(source, target):
        return
    try:
        with atomic_path(target) as temporary:
            shutil.copyfile(source, temporary)
    except PermissionError as error:
        raise InputError(f"{error.filename} may not be read or written: change its permissions.") from None


def _same_content(one: Path, other: Path) -> bool:
    return _same_size(one, other) and file_digest(one) == file_digest(other)


def _same_size(one: Path, other: Path) -> bool:
    return other.is_file() and one.stat().st_size == other.stat().st_size
