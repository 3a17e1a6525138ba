"""Timing and articulation of the two statements of RAVDESS.

Voice and lips both follow it, so they are in sync. It depends on actor and take but not on the emotion, see `plan.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cfnsr.corpus.ravdess import Take
from cfnsr.corpus.sample.plan import random_for

# Formants of male vowels in Hz, and opening of the mouth. Formants: Peterson and Barney, JASA 24(2), 1952, Table II;
# "uh" is a neutral tube (odd multiples of 500 Hz), "ng" a nasal murmur.
_VOWELS: dict[str, tuple[float, float, float, float]] = {
    "i": (390, 1990, 2550, 0.5),
    "a": (730, 1090, 2440, 1.0),
    "o": (570, 840, 2410, 0.8),
    "er": (490, 1350, 1690, 0.45),
    "uh": (500, 1500, 2500, 0.4),
    "ng": (300, 1450, 2350, 0.2),
}
# Noise of consonants: centre in Hz, level, and length as a share of the syllable.
_CONSONANTS: dict[str, tuple[float, float, float]] = {
    "": (1000, 0.0, 0.12),
    "k": (1900, 0.5, 0.22),
    "t": (4200, 0.6, 0.2),
    "d": (3600, 0.35, 0.14),
    "b": (600, 0.25, 0.14),
    "th": (5000, 0.12, 0.16),
    "s": (6200, 0.7, 0.34),
}


@dataclass(frozen=True)
class _Syllable:
    onset: str
    start: str  # vowel at the start
    end: str  # vowel at the end
    length: float  # relative
    stress: float  # 0 to 1


_BY_THE_DOOR = (
    _Syllable("b", "a", "i", 1.0, 0.6),
    _Syllable("th", "uh", "uh", 0.6, 0.3),
    _Syllable("d", "o", "er", 1.5, 0.9),
)
_STATEMENTS = {
    # "Kids are talking by the door"
    1: (
        _Syllable("k", "i", "i", 1.2, 0.9),
        _Syllable("", "a", "er", 0.7, 0.4),
        _Syllable("t", "o", "o", 1.2, 1.0),
        _Syllable("k", "i", "ng", 0.9, 0.5),
        *_BY_THE_DOOR,
    ),
    # "Dogs are sitting by the door"
    2: (
        _Syllable("d", "o", "o", 1.2, 0.9),
        _Syllable("", "a", "er", 0.7, 0.4),
        _Syllable("s", "i", "i", 1.2, 1.0),
        _Syllable("t", "i", "ng", 0.9, 0.5),
        *_BY_THE_DOOR,
    ),
}


@dataclass(frozen=True)
class Speech:
    """Articulation of one take at given times; the first axis of each array is time."""

    position: np.ndarray  # (T) 0 at the start of the statement, 1 at its end
    opening: np.ndarray  # (T) of the mouth, 0 closed to 1
    voicing: np.ndarray  # (T) sonority of the current syllable, 0 to 1
    stress: np.ndarray  # (T) of the current syllable, 0 to 1, smooth
    formants: np.ndarray  # (T, 3) Hz, of a male voice
    noise: np.ndarray  # (T) noise level of the current consonant
    noise_centre: np.ndarray  # (T) Hz


def articulate(take: Take, seed: int, seconds: float, times: np.ndarray) -> Speech:
    """Articulation of a take at `times` (T) in s, in a clip of `seconds`."""
    syllables = _STATEMENTS[take.statement]
    rate = random_for("speaking rate", seed, take.actor).uniform(0.9, 1.1)
    random = random_for("speech", seed, take)
    spoken = min(0.75 * seconds, 1.8) / rate * random.uniform(0.96, 1.04)
    first = (seconds - spoken) * random.uniform(0.3, 0.6)
    lengths = np.array([syllable.length for syllable in syllables]) * random.uniform(0.88, 1.12, len(syllables))
    edges = first + spoken * np.concatenate([[0.0], np.cumsum(lengths) / lengths.sum()])  # (S + 1)

    index = np.clip(np.searchsorted(edges, times, side="right") - 1, 0, len(syllables) - 1)  # (T)
    within = (times - edges[index]) / np.diff(edges)[index]  # (T), below 0 before and above 1 after the statement
    speaking = (within >= 0) & (within <= 1)
    within = within.clip(0, 1)

    onset = np.array([_CONSONANTS[syllable.onset] for syllable in syllables])[index]  # (T, 3)
    start = np.array([_VOWELS[syllable.start] for syllable in syllables])[index]  # (T, 4)
    end = np.array([_VOWELS[syllable.end] for syllable in syllables])[index]
    vowel = start + (end - start) * _smooth_step((within[:, None] - 0.3) / 0.6)  # (T, 4)
    since_onset = ((within - onset[:, 2]) / (1 - onset[:, 2])).clip(0, 1)  # 0 to 1 over the vowel
    middle = np.concatenate([edges[:1], (edges[:-1] + edges[1:]) / 2, edges[-1:]])
    stress = np.array([0.0, *(syllable.stress for syllable in syllables), 0.0])
    return Speech(
        position=((times - edges[0]) / (edges[-1] - edges[0])).clip(0, 1),
        opening=speaking * np.sin(np.pi * within) ** 0.7 * vowel[:, 3],
        voicing=speaking * np.sin(np.pi * since_onset**0.75),
        stress=np.interp(times, middle, stress),
        formants=vowel[:, :3],
        noise=speaking * onset[:, 1] * np.sin(np.pi * (within / onset[:, 2]).clip(0, 1)),
        noise_centre=onset[:, 0],
    )


def _smooth_step(x: np.ndarray) -> np.ndarray:
    x = x.clip(0, 1)
    return x * x * (3 - 2 * x)
