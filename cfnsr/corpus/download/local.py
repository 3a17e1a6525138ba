"""A local folder of RAVDESS files as the source, whatever its subfolders."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path

from tqdm import tqdm

from cfnsr.corpus.download.copy import check_apart, copy_files, same_content
from cfnsr.corpus.download.workspace import Workspace
from cfnsr.corpus.ravdess import actor_folder, file_kind, parse_name
from cfnsr.errors import InputError
from cfnsr.files import visible_files

UNPLACED = "unplaced"  # media files whose actor is unknown
DUPLICATES = "duplicates"  # different files of the same name

_ACTOR_FOLDER = re.compile(r"Actor_(\d\d)")


def copy_folder(folder: Path, actors: Collection[int], workspace: Workspace) -> None:
    """Fill the raw folder with the RAVDESS files of these actors from `folder` and its subfolders, and nothing else.

    Media files with invalid names are copied to the actor in whose folder they are, else to `unplaced`; a second,
    different file of the same name is copied to `duplicates`. The manifest records both. A file that is already there
    with the same content is not copied again.

    Raises:
        InputError: the folder is missing, unreadable, overlaps the raw folder or holds no RAVDESS file of these actors,
            or the disk is too small.
    """
    source = folder.resolve()
    if not source.is_dir():
        raise InputError(f"{folder} is not a folder: set dataset.path to the folder that holds the RAVDESS files.")
    check_apart(folder, workspace.raw)
    plan = _plan(source, actors)
    copy_files(plan, workspace)
    workspace.keep_only(plan)
    tqdm.write(f"download: {len(plan)} files from {source}")


def _plan(source: Path, actors: Collection[int]) -> dict[str, Path]:
    """Path below the raw folder -> source file, in the order of the names."""
    plan: dict[str, Path] = {}
    named = other_actors = copies = 0
    for path in sorted(visible_files(source)):
        kind = file_kind(path)
        if not kind or not path.is_file():
            continue
        try:
            actor = parse_name(path)[1].actor
        except ValueError:
            if kind == "landmarks":
                continue  # a table of another kind; only media files count as clips with a broken name
            folder_actor = _actor_of_folder(path)
            if folder_actor is not None and folder_actor not in actors:
                continue
            relative = f"{UNPLACED if folder_actor is None else actor_folder(folder_actor)}/{path.name}"
        else:
            if actor not in actors:
                other_actors += 1
                continue
            named += 1
            relative = f"{actor_folder(actor)}/{path.name}"
        if relative in plan:
            if same_content(path, plan[relative]):
                copies += 1
                continue
            relative = f"{DUPLICATES}/{path.relative_to(source).as_posix()}"
        plan[relative] = path
    if not named:
        others = f", only {other_actors} of other actors" if other_actors else ""
        raise InputError(
            f"{source} holds no RAVDESS file of the configured actors{others}: set dataset.path to a folder that "
            "contains, itself or in subfolders, unpacked files such as 01-01-05-02-01-01-12.mp4."
        )
    if copies:
        tqdm.write(f"download: {copies} files in {source} are exact copies of others; each is copied once")
    return plan


def _actor_of_folder(path: Path) -> int | None:
    """Actor of the innermost `Actor_NN` folder that a file is in."""
    matches = (_ACTOR_FOLDER.fullmatch(parent.name) for parent in path.parents)
    return next((int(match[1]) for match in matches if match), None)
