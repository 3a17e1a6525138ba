"""The manifest of a folder of RAVDESS files: its files, grouped by take."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import pandas as pd

from cfnsr.config.corpus import DatasetSettings
from cfnsr.corpus.manifest import NOT_SELECTED, examine, manifest_of, manifest_row
from cfnsr.corpus.ravdess import (
    AUDIO_SUFFIXES,
    LANDMARK_SUFFIXES,
    VIDEO_SUFFIXES,
    FileModality,
    Take,
    file_kind,
    parse_name,
)
from cfnsr.errors import ClipError, InputError
from cfnsr.files import file_digest, visible_files
from cfnsr.media.probe import MediaInfo
from cfnsr.parallel import map_clips
from cfnsr.text import printable, spreadsheet_cell

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


def ravdess_manifest(raw: Path, dataset: DatasetSettings, workers: int) -> pd.DataFrame:
    """Examine every media file below `raw` and group the files by take.

    Video comes from the take's 01 file, else its 02 file; audio from the 01 file, else from the 03 file (a 02 file is
    silent by definition). OpenFace landmark tables are matched by name. Other kinds of files, hidden files and
    unfinished downloads are ignored.

    Args:
        raw: folder of RAVDESS files, searched recursively.
        dataset: says which vocal channels and labels are selected.
        workers: number of processes.

    Returns:
        The manifest, see `cfnsr.corpus.manifest`.

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
    wanted: list[_File] = []
    for path in paths:
        try:
            file = _File(path, *_read_name(path))
        except ValueError as error:
            rows.append(_file_row(spreadsheet_cell(_printable(path)), None, spreadsheet_cell(error)))
            continue
        if why := _not_selected(file.take, dataset):
            rows.append(_file_row(path, file.take, f"{NOT_SELECTED}{why}"))
        else:
            wanted.append(file)
    for file, outcome in map_clips(
        partial(_examine, raw), wanted, workers=workers, description="manifest", unit="file"
    ):
        if isinstance(outcome, ClipError):
            outcome = replace(file, problem=str(outcome))
        takes.setdefault(file.take, []).append(outcome)
    for take, files in takes.items():
        rows.extend(_take_rows(take, files, dataset))
    return manifest_of(rows)


def _not_selected(take: Take, dataset: DatasetSettings) -> str:
    if dataset.vocal not in (take.channel, "both"):
        return take.channel
    return "" if dataset.label_of(take.label) else f"label {take.label}"


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
    path = raw / file.path
    if file.slot != "landmarks":
        digest, content = examine(path)
        return replace(file, digest=digest, content=content)
    try:
        _check_landmarks(path)
        return replace(file, digest=file_digest(path))
    except OSError as error:
        raise ClipError(f"{path.name} can't be read ({error.strerror or error})") from None


def _check_landmarks(path: Path) -> None:
    with path.open("rb") as file:
        header = file.readline(100_000).decode("utf-8", "replace")
    if not {"x_0", "y_67"} <= {column.strip() for column in header.split(",")}:
        raise ClipError(f"{path.name} is not a landmark table of OpenFace (columns x_0 to y_67 are missing)")


def _take_rows(take: Take, files: Sequence[_File], dataset: DatasetSettings) -> Iterator[dict[str, Any]]:
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
    row = manifest_row(
        **_facts(take) | {"label": dataset.label_of(take.label)},
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
    return manifest_row(**_facts(take) if take else {}, reason=reason, **{f"{file_kind(path)}_path": path})


def _facts(take: Take) -> dict[str, str]:
    names = ("clip_id", "speaker", "sex", "label")
    return {name: getattr(take, name) for name in names} | {"group": take.strength, "language": "English"}


def _printable(path: str) -> str:
    return printable(path.encode("utf-8", "backslashreplace").decode())
