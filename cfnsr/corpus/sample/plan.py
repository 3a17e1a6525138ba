"""Contents of the corpus, and which half of an emotion the face and the voice express.

The face has one of four expressions and the voice one of four manners; each emotion is a unique pair of them. From one
modality alone, the best guess is the more frequent emotion of each group: 16 of 30 takes, 53 %. Two cues would reveal
more and are therefore excluded:

* The lips move with the speech, so the rhythm of speech does not depend on the manner: `speech.py` ignores emotions.
* There is no strong neutral, so in the two groups that contain neutral, a stronger take would reveal the other emotion
  (calm, disgust). In these groups the strength does not follow the intensity: strong calm is stronger only in the
  voice, strong disgust only in the face.
"""

from __future__ import annotations

from dataclasses import astuple
from enum import StrEnum

import numpy as np

from cfnsr.corpus.ravdess import EMOTIONS, Take


class Expression(StrEnum):
    """Half of an emotion that the face expresses."""

    RELAXED = "relaxed"
    SMILING = "smiling"  # raised brows, open smile
    GRIEVING = "grieving"  # inner brows raised, corners of the mouth down
    SCOWLING = "scowling"  # brows lowered and drawn together, upper lip raised


class Manner(StrEnum):
    """Half of an emotion that the voice expresses."""

    SOFT = "soft"  # low, quiet, dull, falling
    FLAT = "flat"  # monotonous, pressed, creaky
    ENERGETIC = "energetic"  # loud, bright, wide melody
    TREMBLING = "trembling"  # high, breathy, trembling, rising


HALVES: dict[str, tuple[Expression, Manner]] = {
    "neutral": (Expression.RELAXED, Manner.FLAT),
    "calm": (Expression.RELAXED, Manner.SOFT),
    "happy": (Expression.SMILING, Manner.ENERGETIC),
    "sad": (Expression.GRIEVING, Manner.SOFT),
    "angry": (Expression.SCOWLING, Manner.ENERGETIC),
    "fearful": (Expression.GRIEVING, Manner.TREMBLING),
    "disgust": (Expression.SCOWLING, Manner.FLAT),
    "surprised": (Expression.SMILING, Manner.TREMBLING),
}
"""Expression of the face and manner of the voice, by emotion."""

_WITHOUT_STRONG = frozenset(HALVES["neutral"])


def takes_of(actor: int, repetitions: int) -> list[Take]:
    """All takes of an actor, sorted by name: 30 per repetition."""
    return [
        Take(actor, 1, emotion, intensity, statement, repetition)
        for emotion in range(1, len(EMOTIONS) + 1)
        for intensity in (1, 2)
        if (emotion, intensity) != (1, 2)
        for statement in (1, 2)
        for repetition in range(1, repetitions + 1)
    ]


def face_half(take: Take) -> tuple[Expression, float]:
    """Expression of the face in a take, and its strength."""
    expression = HALVES[take.label][0]
    return expression, _strength(expression, take)


def voice_half(take: Take) -> tuple[Manner, float]:
    """Manner of the voice in a take, and its strength."""
    manner = HALVES[take.label][1]
    return manner, _strength(manner, take)


def _strength(group: Expression | Manner, take: Take) -> float:
    if group in _WITHOUT_STRONG:
        return 1.0
    return 0.8 if take.intensity == 1 else 1.1


def random_for(purpose: str, seed: int, key: int | Take) -> np.random.Generator:
    """Random generator for one purpose (`"face"`, `"voice"`, …) and one actor or take, reproducible from the seed."""
    numbers = astuple(key) if isinstance(key, Take) else (key,)
    return np.random.default_rng([seed, *purpose.encode(), 0, *numbers])
