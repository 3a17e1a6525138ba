"""The manifest: one row a take, and one for every file that can't be used, so that none is silently dropped.

Columns of `clips.csv`:

- `clip_id` (`Take.clip_id`; empty where the file name can't be read), `actor`, `sex`, `vocal` (1 speech, 2 song),
  `emotion` (word), `label` (0 to 7), `intensity` (1 normal, 2 strong), `statement`, `repetition`;
- `has_video`, `has_audio`: what a stage may use; `video_path`, `audio_path`, `landmarks_path`: where it is, below the
  raw folder; `video_digest`, `audio_digest`, `landmarks_digest`: md5 of those files; `duration` in seconds;
- `video_reason`, `audio_reason`: why a take has no video or no audio although there is a file for it;
- `reason`: why the whole row is left out; empty means that the take is usable.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
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
    """A file with a RAVDESS name and what was found in it; `problem` is empty for a sound file."""

    path: str  # below the raw folder, POSIX
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
        """Its part in the take; two files of the same slot are duplicates."""
        return "landmarks" if file_kind(self.path) == "landmarks" else self.modality.name


def build_manifest(raw: Path, workers: int) -> pd.DataFrame:
    """Look at every media file below `raw` and join the files of a take.

    Video comes from the take's 01 file, else its 02 file; audio from the 01 file's sound track, else from the 03 file
    (a 02 file's sound track is silence by definition). Landmark tables of OpenFace join by name. Other kinds of files,
    hidden ones and unfinished downloads are not looked at.

    Args:
        raw: folder of RAVDESS files, searched with its subfolders.
        workers: number of processes.

    Returns:
        The columns of this module's docstring: takes in the order of their clip ids, then files without one.

    Raises:
        InputError: `raw` is missing or has no media file in it.
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
            rows.append(_file_row(_printable(path), None, str(error)))
            continue
        (speech if file.take.is_speech else takes.setdefault(file.take, [])).append(file)
    examine = partial(_examine, raw)
    for file, outcome in map_clips(examine, speech, workers=workers, description="manifest", unit="file"):
        if isinstance(outcome, ClipError):
            outcome = _File(file.path, file.modality, file.take, problem=str(outcome))
        takes.setdefault(file.take, []).append(outcome)
    for take, files in takes.items():
        rows.extend(_speech_rows(take, files) if take.is_speech else _song_rows(take, files))
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
    """Digest (sha256) of the usable clips and their files' content; the order and place of files don't matter."""
    usable = manifest[manifest["reason"] == ""]
    columns = ["clip_id", "video_digest", "audio_digest", "landmarks_digest"]
    lines = sorted(" ".join(row) for row in usable[columns].itertuples(index=False))
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def row_name(row: Any) -> str:
    """How messages call a row (of `DataFrame.itertuples`): its file if it stands for one, else its clip id."""
    return (row.reason and (row.video_path or row.audio_path or row.landmarks_path)) or row.clip_id


def without_songs(manifest: pd.DataFrame) -> pd.DataFrame:
    """All rows but songs: those are sound files of another kind, no fault."""
    return manifest[manifest["vocal"].fillna(0) != 2]


def faults(manifest: pd.DataFrame) -> dict[str, str]:
    """What is wrong with each take or file, by its `row_name`, in the order of the names; songs are no fault.

    A usable take is among them when a file of it can't be used (`video_reason`, `audio_reason`).
    """
    found = {}
    for row in without_songs(manifest).itertuples():
        if fault := row.reason or "; ".join(filter(None, [row.video_reason, row.audio_reason])):
            found[row_name(row)] = str(fault)
    return dict(sorted(found.items()))


def _read_name(path: str) -> tuple[FileModality, Take]:
    """Like `parse_name`, and the suffix must fit the modality."""
    if _printable(path) != path:
        raise ValueError("its path is not valid UTF-8; rename the file or the folder")
    modality, take = parse_name(path)
    suffix = PurePosixPath(path).suffix.lower()
    expected = AUDIO_SUFFIXES if modality is FileModality.AUDIO else VIDEO_SUFFIXES
    if suffix not in LANDMARK_SUFFIXES | expected:
        allowed = " or ".join(sorted(expected))
        raise ValueError(f"{PurePosixPath(path).name!r}: a file of modality {modality:02d} must be {allowed}")
    return modality, take


def _examine(raw: Path, file: _File) -> _File:
    """Digest a file and look whether it is whole. The digest comes first, so the packets are read from memory."""
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
    return _File(file.path, file.modality, file.take, digest, content)


def _check_landmarks(path: Path) -> None:
    with path.open("rb") as file:
        header = file.readline(100_000).decode("utf-8", "replace")
    if not {"x_0", "y_67"} <= {column.strip() for column in header.split(",")}:
        raise ClipError(f"{path.name} is not a landmark table of OpenFace (no columns x_0 to y_67)")


def _speech_rows(take: Take, files: Sequence[_File]) -> Iterator[dict[str, Any]]:
    """The take's row, then one for each duplicate and each broken file that another one of the take stands in for."""
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


def _song_rows(take: Take, files: Sequence[_File]) -> Iterator[dict[str, Any]]:
    for file in files:
        yield _file_row(file.path, take, "song; only speech is used")


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
    return path.encode("utf-8", "backslashreplace").decode()


def _path(row: dict[str, Any]) -> str:
    return str(row["video_path"] or row["audio_path"] or row["landmarks_path"])
