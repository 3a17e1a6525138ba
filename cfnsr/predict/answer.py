"""The results of prediction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import numpy as np

from cfnsr.config.sections import Modality


class Flag(StrEnum):
    """What limits an answer."""

    NO_VIDEO = "no video"
    """The file has no video track, the track has ended, or no new picture came for more than five seconds."""
    NO_FACE = "no face"
    """No face was found for at least half of the time."""
    SEVERAL_FACES = "several faces"
    NO_AUDIO = "no audio"
    """The file has no audio track, the track has ended, or it holds less than half a second."""
    SILENT = "silent"
    CUT_OFF = "cut off"
    """The file ends earlier than its header says, or is damaged; what could be decoded was used."""
    OTHER_TRACKS = "other tracks"
    """The file has more tracks with pictures or sound, such as a second language; the default ones were used."""


@dataclass(frozen=True)
class Answer:
    """Probabilities of the emotions."""

    emotion: str
    """The most probable one."""
    confidence: float
    """Its probability, calibrated with a temperature that was fitted on whole clips of the validation speakers."""
    probabilities: dict[str, float]
    """By emotion; they sum to 1."""
    inputs: Modality
    """The modalities that the network used: "both", or "audio" or "video" alone."""

    @classmethod
    def of(cls, probabilities: dict[str, float], inputs: Modality) -> Answer:
        """The answer with these probabilities."""
        emotion = max(probabilities, key=probabilities.__getitem__)
        return cls(emotion, probabilities[emotion], probabilities, inputs)


@dataclass(frozen=True)
class Moment:
    """One window of a clip, with one face or none."""

    start: float
    """Seconds from the start of the clip."""
    end: float
    answer: Answer | None
    """None where the inputs that the network needs are missing; `flags` say which."""
    flags: tuple[Flag, ...] = ()
    track: int | None = None
    """Track number of the face, constant through the clip; None without a face."""
    box: tuple[float, float, float, float] | None = None
    """The face in the middle of the window: x, y, width, height in pixels of the picture as it is shown."""
    followed: bool = True
    """False for the other faces beside the one that is followed."""
    portraits: tuple[bytes, ...] = ()
    """Small JPEG files of the face through the window."""


@dataclass(frozen=True)
class Prediction:
    """The answer for one clip."""

    clip: Path
    duration: float
    """Seconds of the clip that were used."""
    answer: Answer
    """For the whole clip: the mean over the windows of the face that is followed."""
    flags: tuple[Flag, ...]
    """Of all windows, in the order of `Flag`."""
    moments: tuple[Moment, ...]
    """The timeline; a single window for a clip as long as the training clips."""

    @property
    def emotion(self) -> str:
        """The most probable one."""
        return self.answer.emotion

    @property
    def confidence(self) -> float:
        """Its probability; for a clip with a timeline the mean over the windows."""
        return self.answer.confidence

    @property
    def probabilities(self) -> dict[str, float]:
        """By emotion; they sum to 1."""
        return self.answer.probabilities


@dataclass(frozen=True)
class Failure:
    """A clip without an answer."""

    clip: Path
    reason: str
    """Why, in one sentence."""


def mean_answer(moments: Sequence[Moment]) -> Answer | None:
    """The mean over the moments of the face that is followed; None when none of them has an answer."""
    answers = [moment.answer for moment in moments if moment.answer and moment.followed]
    if not answers:
        return None
    kinds = [answer.inputs for answer in answers]
    means = np.mean([list(answer.probabilities.values()) for answer in answers], axis=0)
    return Answer.of(dict(zip(answers[0].probabilities, means.tolist(), strict=True)), max(kinds, key=kinds.count))
