"""Packed feature files: Parquet with one row group per clip, so that reading a clip takes one seek.

The *key* of a file is a digest of the settings and source files that it was made from. A stage that was killed, or
whose settings changed, compares keys and redoes only what is missing or stale.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import pyarrow as pa
import pyarrow.parquet as pq

from cfnsr.errors import ClipError, InputError
from cfnsr.files import PARTIAL, atomic_path
from cfnsr.parallel import map_clips

KEY = b"cfnsr.key"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ClipTask:
    """Input of a feature extractor: a clip, which may be a part of its source files, and their digest."""

    clip_id: str
    speaker: str
    digest: str
    start: float = field(default=0.0, kw_only=True)
    """Of the clip in its file, s."""
    end: float = field(default=math.inf, kw_only=True)


Task = TypeVar("Task", bound=ClipTask)
Row = Mapping[str, Any]


def write_packed(path: Path, rows: Iterable[Row], schema: pa.Schema, key: str) -> None:
    """Write rows to a Parquet file, one row group each, atomically."""
    schema = schema.with_metadata({KEY: key.encode()})
    with atomic_path(path) as temporary, pq.ParquetWriter(temporary, schema, compression="zstd") as writer:
        for row in rows:
            writer.write_table(pa.Table.from_pylist([dict(row)], schema=schema))


def read_key(path: Path) -> str | None:
    """The key of a packed file; None if there is no such file or it is not a packed file."""
    try:
        metadata = pq.read_schema(path).metadata or {}
    except (FileNotFoundError, pa.ArrowInvalid):
        return None
    return metadata[KEY].decode() if KEY in metadata else None


def features_key(settings: Mapping[str, Any], clips: Sequence[ClipTask]) -> str:
    """Digest of what features depend on: JSON-serialisable settings, the clips and the digests of their sources."""
    content = [settings, [(clip.clip_id, clip.digest, clip.start, clip.end) for clip in clips]]
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()


def speaker_file(folder: Path, speaker: str) -> Path:
    """The packed file of a speaker; characters that file systems may refuse are percent-encoded."""
    return folder / f"{quote(speaker, safe=' ')}.parquet"


def files_by_speaker(
    tasks: Iterable[Task], folder: Path, settings: Mapping[str, Any]
) -> dict[Path, tuple[str, list[Task]]]:
    """Packed file of each speaker in `folder`, with the key it should have and its clips, all in order."""
    by_speaker: dict[Path, list[Task]] = {}
    for task in sorted(tasks, key=lambda task: (task.speaker, task.clip_id)):
        by_speaker.setdefault(speaker_file(folder, task.speaker), []).append(task)
    return {path: (features_key(settings, clips), clips) for path, clips in by_speaker.items()}


def extract_by_speaker(
    function: Callable[[Task], Row],
    tasks: Sequence[Task],
    *,
    folder: Path,
    schema: pa.Schema,
    settings: Mapping[str, Any],
    workers: int,
    description: str,
) -> list[Path]:
    """Run a feature extractor over clips and write one packed file per speaker to `folder`.

    Files of an earlier run with the same settings and sources are kept; files of other speakers are removed. A clip
    whose extractor raises `ClipError` becomes a row with the reason and nulls.

    Args:
        function: importable; returns a row of `schema` without `clip_id` and `reason`.
        tasks: one per clip.
        folder: for the files, see `speaker_file`.
        schema: has the columns `clip_id` and `reason` (empty: usable).
        settings: what the features depend on besides the source files; JSON-serialisable.
        workers: number of processes.
        description: text of the progress bar.

    Returns:
        The files, in the order of speakers.
    """
    files = files_by_speaker(tasks, folder, settings)
    for stray in set(folder.glob(f"*.parquet{PARTIAL}")) | (set(folder.glob("*.parquet")) - set(files)):
        stray.unlink()

    stale = {path: clips for path, (key, clips) in files.items() if read_key(path) != key}
    path_of = {task.clip_id: path for path, clips in stale.items() for task in clips}
    todo = [task for clips in stale.values() for task in clips]
    finished: dict[Path, dict[str, Row]] = {path: {} for path in stale}
    outcomes = map_clips(function, todo, workers=workers, description=description, done=len(tasks) - len(todo))
    with closing(outcomes):  # on a full disk the workers and the bar end before the error is shown
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
    """Join packed files into one, with one row group per clip, and remove the folder of the parts."""
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
    """Log every excluded clip; fail the stage when their share is above the limit.

    Raises:
        InputError: more than the share `limit` of `total` clips was excluded.
    """
    for clip, reason in sorted(reasons.items()):
        logger.warning("%s: %s excluded: %s", stage, clip, reason)
    print(f"{stage}: {total - len(reasons)} of {total} clips usable, {len(reasons)} excluded")
    if total and len(reasons) / total > limit:
        clip, reason = sorted(reasons.items())[0]
        raise InputError(
            f"{stage}: {len(reasons)} of {total} clips had to be excluded ({clip}: {reason}), more than the "
            f"{limit:.0%} that max_bad_share allows; repair them or raise the limit in params.yaml."
        )
