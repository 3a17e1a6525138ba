"""The manifest: one row per take and one per unusable file, so that no file is silently dropped.

Columns of `clips.csv`:

- `clip_id` (`Take.clip_id`; empty if the file name is invalid), `actor`, `sex`, `vocal` (1 speech, 2 song),
  `emotion` (word), `label` (0 to 7), `intensity` (1 normal, 2 strong), `statement`, `repetition`;
- `has_video`, `has_audio`: what the take offers; `video_path`, `audio_path`, `landmarks_path`: its files, relative to
  the raw folder; `video_digest`, `audio_digest`, `landmarks_digest`: their md5; `duration` in seconds;
- `video_reason`, `audio_reason`: why a take has no video or no audio although there is a file for it;
- `reason`: why the row is excluded; empty for a usable take.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import pandas as pd

from cfnsr.corpus.ravdess import (
    AUDIO_SUFFIXES,
    EMOTIONS,
    LANDMARK_SUFFIXES,
    VIDEO_SUFFIXES,
    FileModality,
    Take,
    file_kind,
    parse_name,
)
from cfnsr.errors import ClipError, InputError
from cfnsr.files import atomic_path, file_digest, visible_files
from cfnsr.media.probe import MediaInfo, probe_media
from cfnsr.parallel import map_clips
from cfnsr.text import printable, spreadsheet_cell

_NUMBERS = ("actor", "vocal", "label", "intensity", "statement", "repetition")
_FLAGS = ("has_video", "has_audio")
COLUMNS = (
    *("clip_id", "actor", "sex", "vocal", "emotion", "label", "intensity", "statement", "repetition"),
    *("has_video", "has_audio", "duration", "video_path", "audio_path", "landmarks_path"),
    *("video_digest", "audio_digest", "landmarks_digest", "video_reason", "audio_reason", "reason"),
)
_DTYPES = {name: "Int64" if name in _NUMBERS else "bool" if name in _FLAGS else "str" for name in COLUMNS} | {
    "duration": "float64"
}

_NOTHING = MediaInfo(video=0, audio=0)


@dataclass(frozen=True)
class _File:
    """A file with a valid RAVDESS name, and its content; `problem` is empty if it is usable."""

    path: str  # relative to the raw folder, POSIX
    modality: FileModality
    take: Take
    digest: str = ""
    content: MediaInfo = _NOTHING
    problem: str = ""

    @property
    def name(self) -> str:
        return PurePosixPath(self.path).name

    @property
    def slot(self) -> str:
        """Role of the file in its take; two files in the same slot are duplicates."""
        return "landmarks" if file_kind(self.path) == "landmarks" else self.modality.name


def build_manifest(raw: Path, workers: int) -> pd.DataFrame:
    """Examine every media file below `raw` and group the files by take.

    Video comes from the take's 01 file, else its 02 file; audio from the 01 file, else from the 03 file (a 02 file is
    silent by definition). OpenFace landmark tables are matched by name. Other kinds of files, hidden files and
    unfinished downloads are ignored.

    Args:
        raw: folder of RAVDESS files, searched recursively.
        workers: number of processes.

    Returns:
        Table with the columns listed at the top of this module: takes by clip id, then files without one.

    Raises:
        InputError: `raw` is missing or contains no media file.
    """
    if not raw.is_dir():
        raise InputError(
            f"{raw} is not a folder: run `dvc repro` to fetch the clips, or set dataset.source and dataset.path."
        )
    paths = sorted(path.relative_to(raw).as_posix() for path in visible_files(raw) if file_kind(path))
    if not paths:
        raise InputError(
            f"{raw} holds no .mp4, .wav or .flac file: run `dvc repro download`, or set dataset.path to the folder "
            "that holds the RAVDESS files."
        )
    rows: list[dict[str, Any]] = []
    takes: dict[Take, list[_File]] = {}
    speech: list[_File] = []
    for path in paths:
        try:
            file = _File(path, *_read_name(path))
        except ValueError as error:
            rows.append(_file_row(spreadsheet_cell(_printable(path)), None, spreadsheet_cell(error)))
            continue
        if file.take.is_speech:
            speech.append(file)
        else:
            rows.append(_file_row(path, file.take, "song; only speech is used"))
    examine = partial(_examine, raw)
    for file, outcome in map_clips(examine, speech, workers=workers, description="manifest", unit="file"):
        if isinstance(outcome, ClipError):
            outcome = replace(file, problem=str(outcome))
        takes.setdefault(file.take, []).append(outcome)
    for take, files in takes.items():
        rows.extend(_take_rows(take, files))
    rows.sort(key=lambda row: (not row["clip_id"], row["clip_id"], bool(row["reason"]), _path(row)))
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype(_DTYPES)


def write_manifest(manifest: pd.DataFrame, path: Path) -> None:
    """Write a manifest as CSV, atomically."""
    with atomic_path(path) as temporary:
        manifest.to_csv(temporary, index=False, lineterminator="\n")


def read_manifest(path: Path) -> pd.DataFrame:
    """Read a manifest with the types it was built with.

    Raises:
        InputError: the file is missing or not a manifest.
    """
    blank = {name: [""] for name in (*_NUMBERS, "duration")}
    try:
        manifest = pd.read_csv(path, dtype=_DTYPES, keep_default_na=False, na_values=blank)
    except FileNotFoundError:
        raise InputError(f"{path} is missing: run `dvc repro manifest` first.") from None
    except ValueError as error:
        raise InputError(f"{path} is not a manifest ({error}): run `dvc repro manifest --force`.") from None
    if list(manifest.columns) != list(COLUMNS):
        raise InputError(f"{path} has other columns than a manifest: run `dvc repro manifest --force`.")
    return manifest


def dataset_digest(manifest: pd.DataFrame) -> str:
    """Digest (sha256) of the usable clips and the content of their files, independent of order and paths."""
    usable = manifest[manifest["reason"] == ""]
    columns = ["clip_id", "video_digest", "audio_digest", "landmarks_digest"]
    lines = sorted(" ".join(row) for row in usable[columns].itertuples(index=False))
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def row_name(row: Any) -> str:
    """Name of a row (of `DataFrame.itertuples`) in messages: the file of an excluded row, else the clip id."""
    return (row.reason and (row.video_path or row.audio_path or row.landmarks_path)) or row.clip_id


def without_songs(manifest: pd.DataFrame) -> pd.DataFrame:
    """All rows except songs, which are intact files and not a fault."""
    return manifest[manifest["vocal"].fillna(0) != 2]


def faults(manifest: pd.DataFrame) -> dict[str, str]:
    """Reason per faulty take or file, by `row_name` and sorted by it; songs are not faults.

    A usable take is included if one of its files is unusable (`video_reason`, `audio_reason`).
    """
    found = {}
    for row in without_songs(manifest).itertuples():
        if fault := row.reason or "; ".join(filter(None, [row.video_reason, row.audio_reason])):
            found[row_name(row)] = str(fault)
    return dict(sorted(found.items()))


def _read_name(path: str) -> tuple[FileModality, Take]:
    """Like `parse_name`, but the suffix must match the modality as well."""
    if _printable(path) != path:
        raise ValueError("its path has control characters or is not valid UTF-8; rename the file or the folder")
    modality, take = parse_name(path)
    suffix = PurePosixPath(path).suffix.lower()
    expected = AUDIO_SUFFIXES if modality is FileModality.AUDIO else VIDEO_SUFFIXES
    if suffix not in LANDMARK_SUFFIXES | expected:
        allowed = " or ".join(sorted(expected))
        raise ValueError(f"{PurePosixPath(path).name!r}: a file of modality {modality:02d} must be {allowed}")
    return modality, take


def _examine(raw: Path, file: _File) -> _File:
    """Compute the digest of a file and check its content, which is then in the page cache."""
    path = raw / file.path
    try:
        digest = file_digest(path)
        content = _NOTHING
        if file.slot == "landmarks":
            _check_landmarks(path)
        else:
            content = probe_media(path)
    except OSError as error:
        raise ClipError(f"{path.name} can't be read ({error.strerror or error})") from None
    return replace(file, digest=digest, content=content)


def _check_landmarks(path: Path) -> None:
    with path.open("rb") as file:
        header = file.readline(100_000).decode("utf-8", "replace")
    if not {"x_0", "y_67"} <= {column.strip() for column in header.split(",")}:
        raise ClipError(f"{path.name} is not a landmark table of OpenFace (columns x_0 to y_67 are missing)")


def _take_rows(take: Take, files: Sequence[_File]) -> Iterator[dict[str, Any]]:
    """The row of a take, and one for each of its duplicates and broken files that another file replaces."""
    slots: dict[str, _File] = {}
    for file in sorted(files, key=lambda file: (bool(file.problem), file.path)):
        first = slots.setdefault(file.slot, file)
        if first is not file:
            yield _file_row(file.path, take, file.problem or f"duplicate of {first.path}")

    pictures = _present(slots, FileModality.AUDIO_VIDEO, FileModality.VIDEO)
    sounds = _present(slots, FileModality.AUDIO_VIDEO, FileModality.AUDIO)
    video = next((file for file in pictures if file.content.video), None)
    audio = next((file for file in sounds if file.content.audio), None)
    video_reason = "" if video else _join(file.problem or f"{file.name} has no video track" for file in pictures)
    audio_reason = "" if audio else _join(file.problem or f"{file.name} has no audio track" for file in sounds)
    reason = ""
    if not video and not audio:
        reason = _join([video_reason, audio_reason]) or "there are landmarks but neither video nor audio"
    row = _row(
        take,
        has_video=video is not None,
        has_audio=audio is not None,
        duration=round(video.content.video, 3) if video else round(audio.content.audio, 3) if audio else None,
        video_reason=video_reason,
        audio_reason=audio_reason,
        reason=reason,
    )
    for name, used in (("video", video), ("audio", audio), ("landmarks", slots.get("landmarks"))):
        if used and not used.problem:
            row |= {f"{name}_path": used.path, f"{name}_digest": used.digest}
    yield row
    for file in slots.values():
        if file.problem and file.problem not in f"{video_reason} {audio_reason}":
            yield _file_row(file.path, take, file.problem)


def _present(slots: dict[str, _File], *modalities: FileModality) -> list[_File]:
    return [slots[modality.name] for modality in modalities if modality.name in slots]


def _join(reasons: Iterable[str]) -> str:
    return "; ".join(dict.fromkeys(filter(None, reasons)))


def _file_row(path: str, take: Take | None, reason: str) -> dict[str, Any]:
    return _row(take, reason=reason, **{f"{file_kind(path)}_path": path})


def _row(take: Take | None, **values: Any) -> dict[str, Any]:
    row: dict[str, Any] = dict.fromkeys(COLUMNS, "") | dict.fromkeys(_NUMBERS) | dict.fromkeys(_FLAGS, False)
    row["duration"] = None
    if take:
        row |= {name: getattr(take, name) for name in ("clip_id", "sex", *_NUMBERS)}
        row["emotion"] = EMOTIONS[take.label]
    return row | values


def _printable(path: str) -> str:
    return printable(path.encode("utf-8", "backslashreplace").decode())


def _path(row: dict[str, Any]) -> str:
    return str(row["video_path"] or row["audio_path"] or row["landmarks_path"])
