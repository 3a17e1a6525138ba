"""Packed feature files: Parquet with one row group a clip, so that reading a clip is one seek.

A file carries the *key* of what it was made from (settings and source files). A stage that was killed, or whose
settings changed, compares keys and redoes only what is missing or stale.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Protocol, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from cfnsr.corpus.ravdess import actor_folder
from cfnsr.errors import ClipError, InputError
from cfnsr.files import PARTIAL, atomic_path
from cfnsr.parallel import map_clips

KEY = b"cfnsr.key"

logger = logging.getLogger(__name__)


class ClipTask(Protocol):
    """What a feature extractor gets: which clip, whose, and the digest of its source file."""

    @property
    def clip_id(self) -> str:
        """See `Take.clip_id`."""

    @property
    def actor(self) -> int:
        """1 to 24."""

    @property
    def digest(self) -> str:
        """Digest of the source file's content."""


Task = TypeVar("Task", bound=ClipTask)
Row = Mapping[str, Any]


def write_packed(path: Path, rows: Iterable[Row], schema: pa.Schema, key: str) -> None:
    """Write rows to a Parquet file, one row group each, atomically."""
    schema = schema.with_metadata({KEY: key.encode()})
    with atomic_path(path) as temporary, pq.ParquetWriter(temporary, schema, compression="zstd") as writer:
        for row in rows:
            writer.write_table(pa.Table.from_pylist([dict(row)], schema=schema))


def read_key(path: Path) -> str | None:
    """The key a packed file was made from; None if there is no such file or it is not a packed file."""
    try:
        metadata = pq.read_schema(path).metadata or {}
    except (FileNotFoundError, pa.ArrowInvalid):
        return None
    return metadata[KEY].decode() if KEY in metadata else None


def features_key(settings: Mapping[str, Any], clips: Sequence[ClipTask]) -> str:
    """What features depend on, as a digest: the settings (JSON-able), the clips and their sources' digests."""
    content = [settings, [(clip.clip_id, clip.digest) for clip in clips]]
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()


def files_by_actor(
    tasks: Iterable[Task], folder: Path, settings: Mapping[str, Any]
) -> dict[Path, tuple[str, list[Task]]]:
    """Each actor's packed file in `folder`, the key that it has when it is finished, and its clips, all in order."""
    by_actor: dict[Path, list[Task]] = {}
    for task in sorted(tasks, key=lambda task: (task.actor, task.clip_id)):
        by_actor.setdefault(folder / f"{actor_folder(task.actor)}.parquet", []).append(task)
    return {path: (features_key(settings, clips), clips) for path, clips in by_actor.items()}


def extract_by_actor(
    function: Callable[[Task], Row],
    tasks: Sequence[Task],
    *,
    folder: Path,
    schema: pa.Schema,
    settings: Mapping[str, Any],
    workers: int,
    description: str,
) -> list[Path]:
    """Run a feature extractor over clips and leave one packed file an actor in `folder`.

    Finished actors of an earlier run with the same settings and sources are not redone; files of actors that are no
    longer wanted are removed. A clip whose extractor raises ClipError becomes a row with its reason and nulls.

    Args:
        function: importable; returns a row of `schema` without `clip_id` and `reason`.
        tasks: one a clip.
        folder: where `Actor_NN.parquet` files go.
        schema: has the columns `clip_id` and `reason` (empty: usable).
        settings: whatever the features depend on besides the source files; JSON-able.
        workers: number of processes.
        description: what the progress bar says.

    Returns:
        The files, in the order of actors.
    """
    files = files_by_actor(tasks, folder, settings)
    for stray in set(folder.glob(f"Actor_*.parquet{PARTIAL}")) | (set(folder.glob("*.parquet")) - set(files)):
        stray.unlink()

    stale = {path: clips for path, (key, clips) in files.items() if read_key(path) != key}
    path_of = {task.clip_id: path for path, clips in stale.items() for task in clips}
    todo = [task for clips in stale.values() for task in clips]
    finished: dict[Path, dict[str, Row]] = {path: {} for path in stale}
    outcomes = map_clips(function, todo, workers=workers, description=description, done=len(tasks) - len(todo))
    with closing(outcomes):  # on a full disk the workers and the bar end before the error is told
        for task, outcome in outcomes:
            path = path_of[task.clip_id]
            rows = finished[path]
            if isinstance(outcome, ClipError):
                rows[task.clip_id] = {"clip_id": task.clip_id, "reason": str(outcome)}
            else:
                rows[task.clip_id] = {"clip_id": task.clip_id, "reason": "", **outcome}
            if len(rows) == len(stale[path]):
                write_packed(path, (rows[clip.clip_id] for clip in stale[path]), schema, files[path][0])
                del finished[path]
    return list(files)


def merge_packed(parts: Sequence[Path], path: Path, schema: pa.Schema, key: str) -> None:
    """Join packed files into one, still one row group a clip, and remove the folder of the parts."""
    write_packed(path, (row for part in parts for row in pq.read_table(part).to_pylist()), schema, key)
    if parts:
        shutil.rmtree(parts[0].parent)


def excluded(paths: Iterable[Path]) -> dict[str, str]:
    """Why clips are excluded from packed files: reason by clip id."""
    reasons: dict[str, str] = {}
    for path in paths:
        for row in pq.read_table(path, columns=["clip_id", "reason"]).to_pylist():
            if row["reason"]:
                reasons[row["clip_id"]] = row["reason"]
    return reasons


def check_bad_share(stage: str, reasons: Mapping[str, str], total: int, limit: float) -> None:
    """Log every clip left out; fail the stage when their share is above the limit.

    Raises:
        InputError: more than `limit` of `total` clips were left out.
    """
    for clip, reason in sorted(reasons.items()):
        logger.warning("%s: %s left out: %s", stage, clip, reason)
    print(f"{stage}: {total - len(reasons)} of {total} clips usable, {len(reasons)} left out")
    if total and len(reasons) / total > limit:
        clip, reason = sorted(reasons.items())[0]
        raise InputError(
            f"{stage}: {len(reasons)} of {total} clips had to be left out ({clip}: {reason}), more than the "
            f"{limit:.0%} that max_bad_share allows; mend them or raise the limit in params.yaml."
        )
