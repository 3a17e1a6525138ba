"""What prediction gives back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import numpy as np

from cfnsr.config.sections import Modality


class Flag(StrEnum):
    """What a user should know of an answer."""

    NO_VIDEO = "no video"
    """The file has no video track, it has ended, or no new picture has come for more than five seconds."""
    NO_FACE = "no face"
    """No face was found in at least half of the time."""
    SEVERAL_FACES = "several faces"
    NO_AUDIO = "no audio"
    """The file has no audio track, or it has ended."""
    SILENT = "silent"
    CUT_OFF = "cut off"
    """The file ends before its header says so, or is damaged there; what came before was used."""


@dataclass(frozen=True)
class Answer:
    """What the network says."""

    emotion: str
    """The most probable one."""
    confidence: float
    """Its probability, with the temperature that was fitted on whole clips of the validation actors."""
    probabilities: dict[str, float]
    """Of all emotions; they sum to 1."""
    inputs: Modality
    """What it was said from: "both", or "audio" or "video" alone."""

    @classmethod
    def of(cls, probabilities: dict[str, float], inputs: Modality) -> Answer:
        """The answer that these probabilities are."""
        emotion = max(probabilities, key=probabilities.__getitem__)
        return cls(emotion, probabilities[emotion], probabilities, inputs)


@dataclass(frozen=True)
class Moment:
    """One window of a clip, with one face or none."""

    start: float
    """Seconds from the clip's start."""
    end: float
    answer: Answer | None
    """None where there was nothing that the network can answer from; `flags` say what was missing."""
    flags: tuple[Flag, ...] = ()
    track: int | None = None
    """Number of the face, the same through the clip; None without a face."""
    box: tuple[float, float, float, float] | None = None
    """The face in the window's middle: x, y, width, height in pixels of the picture as it is shown."""
    followed: bool = True
    """It is of the face that is followed (or of none), not of another one."""
    portraits: tuple[bytes, ...] = ()
    """Small JPEG files of the face through the window."""


@dataclass(frozen=True)
class Prediction:
    """What the network says of one clip."""

    clip: Path
    duration: float
    """Seconds of the clip that were used."""
    answer: Answer
    """Of the whole clip: the mean over the windows of the face that is followed."""
    flags: tuple[Flag, ...]
    """All that were raised anywhere."""
    moments: tuple[Moment, ...]
    """The timeline; one of a clip of the training clips' length."""

    @property
    def emotion(self) -> str:
        """The most probable one."""
        return self.answer.emotion

    @property
    def confidence(self) -> float:
        """Its probability; of a clip with a timeline the mean over the windows."""
        return self.answer.confidence

    @property
    def probabilities(self) -> dict[str, float]:
        """Of all emotions; they sum to 1."""
        return self.answer.probabilities


@dataclass(frozen=True)
class Failure:
    """A clip that could not be used."""

    clip: Path
    reason: str
    """One sentence."""


def mean_answer(moments: Sequence[Moment]) -> Answer | None:
    """The mean over the moments of the face that is followed; None when none of them has an answer."""
    answers = [moment.answer for moment in moments if moment.answer and moment.followed]
    if not answers:
        return None
    kinds = [answer.inputs for answer in answers]
    means = np.mean([list(answer.probabilities.values()) for answer in answers], axis=0)
    return Answer.of(dict(zip(answers[0].probabilities, means.tolist(), strict=True)), max(kinds, key=kinds.count))
