"""RAVDESS: file names, labels and actors.

Livingstone and Russo, PLoS ONE 13(5), 2018, e0196391. A file is named
`modality-vocal-emotion-intensity-statement-repetition-actor`, each field two digits. The 01 (audio and video),
02 (video only) and 03 (audio only) files of the same remaining fields are one *take*.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Literal

from cfnsr.config.corpus import ACTORS, EMOTIONS
from cfnsr.media.formats import clip_kind

TAKES_PER_ACTOR = 60
"""Speech takes per actor: 4 neutral (never strong) and 8 of each other emotion."""

VIDEO_SUFFIXES = frozenset({".mp4"})
AUDIO_SUFFIXES = frozenset({".wav", ".flac"})
LANDMARK_SUFFIXES = frozenset({".csv"})
"""OpenFace tables, one per clip and with its name."""

_NAME = re.compile(r"(\d\d)-(\d\d)-(\d\d)-(\d\d)-(\d\d)-(\d\d)-(\d\d)", re.ASCII)


class FileModality(IntEnum):
    """First field of a file name."""

    AUDIO_VIDEO = 1
    VIDEO = 2
    AUDIO = 3


@dataclass(frozen=True, order=True)
class Take:
    """One take: an actor speaks a statement with an emotion, once."""

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
    def label(self) -> str:
        """The emotion as a word."""
        return EMOTIONS[self.emotion - 1]

    @property
    def speaker(self) -> str:
        """The actor as in file names, for example `07`."""
        return f"{self.actor:02d}"

    @property
    def sex(self) -> str:
        """Odd actors are male, even ones female."""
        return "male" if self.actor % 2 else "female"

    @property
    def channel(self) -> Literal["speech", "song"]:
        """The vocal channel as a word."""
        return "speech" if self.vocal == 1 else "song"

    @property
    def strength(self) -> Literal["normal", "strong"]:
        """The intensity as a word."""
        return "normal" if self.intensity == 1 else "strong"

    def file_name(self, modality: FileModality, suffix: str) -> str:
        """Name of this take's file of that modality, for example `01-01-05-02-01-01-12.mp4`."""
        return f"{modality:02d}-{self.clip_id}{suffix}"


def parse_name(name: str | Path) -> tuple[FileModality, Take]:
    """Parse a RAVDESS file name strictly.

    Returns:
        The modality and the take.

    Raises:
        ValueError: the name is invalid; the message names the field.
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
    return FileModality(modality), Take(actor, vocal, emotion, intensity, statement, repetition)


def file_kind(name: str | Path) -> Literal["video", "audio", "landmarks", ""]:
    """Kind of a file by its suffix; empty if it is none of these.

    Video and audio of any format are recognized, not only the published ones, because such files are likely clips.
    """
    return "landmarks" if Path(name).suffix.lower() in LANDMARK_SUFFIXES else clip_kind(name)


def actor_folder(actor: int) -> str:
    """Folder of an actor as published, for example `Actor_07`."""
    return f"Actor_{actor:02d}"
