"""What the corpus contains, and which half of an emotion its face and its voice show.

The face shows one of four expressions and the voice speaks in one of four manners; every emotion is a pair of its own.
Who only sees or only hears can't do better than the larger emotion of each group: 16 of 30 takes, 53 %. Two things
would give more away and are therefore kept apart here:

* The lips move with the speech, so the rhythm of speech must not depend on the manner (`speech.py` knows no emotion).
* There is no strong neutral, so in neutral's two groups a stronger take would betray its partner (calm, disgust). In
  those groups the strength does not follow the intensity: strong calm is stronger in its voice only, strong disgust in
  its face only.
"""

from __future__ import annotations

from dataclasses import astuple
from enum import StrEnum

import numpy as np

from cfnsr.corpus.ravdess import EMOTIONS, Take


class Expression(StrEnum):
    """The face's half of an emotion."""

    RELAXED = "relaxed"
    SMILING = "smiling"  # raised brows, open smile
    GRIEVING = "grieving"  # inner brows raised, corners of the mouth down
    SCOWLING = "scowling"  # brows lowered and drawn together, upper lip raised


class Manner(StrEnum):
    """The voice's half of an emotion."""

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
"""Face and voice of every emotion."""

_WITHOUT_STRONG = frozenset(HALVES["neutral"])


def takes_of(actor: int, repetitions: int) -> list[Take]:
    """All takes of an actor in the order of their names: 30 for each of `repetitions`."""
    return [
        Take(actor, 1, emotion, intensity, statement, repetition)
        for emotion in range(1, len(EMOTIONS) + 1)
        for intensity in (1, 2)
        if (emotion, intensity) != (1, 2)
        for statement in (1, 2)
        for repetition in range(1, repetitions + 1)
    ]


def face_half(take: Take) -> tuple[Expression, float]:
    """Expression of a take's face and its strength."""
    expression = HALVES[EMOTIONS[take.label]][0]
    return expression, _strength(expression, take)


def voice_half(take: Take) -> tuple[Manner, float]:
    """Manner of a take's voice and its strength."""
    manner = HALVES[EMOTIONS[take.label]][1]
    return manner, _strength(manner, take)


def _strength(group: Expression | Manner, take: Take) -> float:
    if group in _WITHOUT_STRONG:
        return 1.0
    return 0.8 if take.intensity == 1 else 1.1


def random_for(purpose: str, seed: int, key: int | Take) -> np.random.Generator:
    """Random numbers of one purpose (`"face"`, `"voice"`, …) for an actor or a take, the same on every call."""
    numbers = astuple(key) if isinstance(key, Take) else (key,)
    return np.random.default_rng([seed, *purpose.encode(), 0, *numbers])
