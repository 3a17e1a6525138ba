"""RAVDESS: its file-name grammar, labels and actors.

Livingstone and Russo, PLoS ONE 13(5), 2018, e0196391. A file is named
`modality-vocal-emotion-intensity-statement-repetition-actor`, each field two digits. The 01 (audio and video),
02 (video only) and 03 (audio only) files of the same remaining fields are one *take*.
"""

from __future__ import annotations

import mimetypes
import re
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Literal

from cfnsr.config.corpus import ACTORS

EMOTIONS = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")
"""The eight labels; the index is the file name's third field minus one."""

TAKES_PER_ACTOR = 60
"""Speech takes an actor: 4 neutral (no strong intensity), 8 of every other emotion."""

VIDEO_SUFFIXES = frozenset({".mp4"})
AUDIO_SUFFIXES = frozenset({".wav", ".flac"})
LANDMARK_SUFFIXES = frozenset({".csv"})
"""Tables of OpenFace, one a clip, named as it."""

_NAME = re.compile(r"(\d\d)-(\d\d)-(\d\d)-(\d\d)-(\d\d)-(\d\d)-(\d\d)", re.ASCII)


class Modality(IntEnum):
    """First field of a file name."""

    AUDIO_VIDEO = 1
    VIDEO = 2
    AUDIO = 3


@dataclass(frozen=True, order=True)
class Take:
    """One take: an actor says a statement with an emotion, once."""

    actor: int
    vocal: int
    emotion: int
    intensity: int
    statement: int
    repetition: int

    @property
    def clip_id(self) -> str:
        """The file name's fields without the modality, for example `01-05-02-01-01-12`."""
        fields = (self.vocal, self.emotion, self.intensity, self.statement, self.repetition, self.actor)
        return "-".join(f"{field:02d}" for field in fields)

    @property
    def label(self) -> int:
        """Class index, 0 (neutral) to 7 (surprised)."""
        return self.emotion - 1

    @property
    def sex(self) -> str:
        """Odd actors are male, even ones female."""
        return "male" if self.actor % 2 else "female"

    @property
    def is_speech(self) -> bool:
        """Vocal channel 01; 02 is song."""
        return self.vocal == 1

    def file_name(self, modality: Modality, suffix: str) -> str:
        """Name of this take's file of that modality, for example `01-01-05-02-01-01-12.mp4`."""
        return f"{modality:02d}-{self.clip_id}{suffix}"


def parse_name(name: str | Path) -> tuple[Modality, Take]:
    """Read a RAVDESS file name, strictly.

    Returns:
        The modality and the take.

    Raises:
        ValueError: the name breaks the grammar; the message says which field.
    """
    stem = Path(name).stem
    match = _NAME.fullmatch(stem)
    if not match:
        raise ValueError(f"{stem!r} is not a RAVDESS name (seven two-digit fields such as 01-01-05-02-01-01-12)")
    modality, vocal, emotion, intensity, statement, repetition, actor = (int(field) for field in match.groups())
    fields = {
        "modality": (modality, 3),
        "vocal channel": (vocal, 2),
        "emotion": (emotion, len(EMOTIONS)),
        "intensity": (intensity, 2),
        "statement": (statement, 2),
        "repetition": (repetition, 2),
        "actor": (actor, len(ACTORS)),
    }
    for field, (value, highest) in fields.items():
        if not 1 <= value <= highest:
            raise ValueError(f"{stem!r} has {field} {value:02d}, which must be 01 to {highest:02d}")
    if emotion == 1 and intensity == 2:
        raise ValueError(f"{stem!r} is a strong neutral, which RAVDESS does not have")
    return Modality(modality), Take(actor, vocal, emotion, intensity, statement, repetition)


def file_kind(name: str | Path) -> Literal["video", "audio", "landmarks", ""]:
    """What kind of file it is, by its suffix; empty if it is none that counts.

    Video and sound of any format count, not only the published ones: such a file is likely a clip gone astray.
    """
    suffix = Path(name).suffix.lower()
    guess = (mimetypes.guess_type(f"file{suffix}")[0] or "").partition("/")[0]
    if suffix in LANDMARK_SUFFIXES:
        return "landmarks"
    if suffix in VIDEO_SUFFIXES or guess == "video":
        return "video"
    return "audio" if suffix in AUDIO_SUFFIXES or guess == "audio" else ""


def actor_folder(actor: int) -> str:
    """Folder of an actor as published, for example `Actor_07`."""
    return f"Actor_{actor:02d}"
