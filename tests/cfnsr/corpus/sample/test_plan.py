from __future__ import annotations

from collections import Counter, defaultdict

import pytest

from cfnsr.corpus.ravdess import EMOTIONS, TAKES_PER_ACTOR, FileModality, parse_name
from cfnsr.corpus.sample.plan import HALVES, face_half, random_for, takes_of, voice_half


def test_takes_are_those_of_ravdess() -> None:
    takes = takes_of(12, 2)
    assert len(takes) == len(set(takes)) == TAKES_PER_ACTOR
    assert [parse_name(take.file_name(FileModality.AUDIO_VIDEO, ".mp4")) for take in takes] == [
        (FileModality.AUDIO_VIDEO, take) for take in sorted(takes)
    ]
    assert len(takes_of(12, 1)) == TAKES_PER_ACTOR / 2


def test_face_and_voice_together_name_the_emotion_and_neither_does_alone() -> None:
    assert set(HALVES) == set(EMOTIONS)
    assert len(set(HALVES.values())) == len(EMOTIONS)
    for side in (0, 1):
        assert set(Counter(halves[side] for halves in HALVES.values()).values()) == {2}


@pytest.mark.parametrize("half", [face_half, voice_half])
def test_who_knows_one_half_gets_16_of_30_right(half) -> None:
    emotions = defaultdict(Counter)
    for take in takes_of(1, 1):
        emotions[half(take)][take.label] += 1
    assert sum(max(counter.values()) for counter in emotions.values()) == 16


@pytest.mark.parametrize("half", [face_half, voice_half])
def test_strong_takes_are_stronger(half) -> None:
    strengths = {(take.intensity, half(take)[1]) for take in takes_of(1, 1) if take.label == "sad"}
    assert strengths == {(1, 0.8), (2, 1.1)}


def test_random_numbers_depend_on_purpose_seed_and_take() -> None:
    first, second = takes_of(1, 1)[:2]
    draws = [random_for(*key).random() for key in (("a", 1, first), ("b", 1, first), ("a", 2, first), ("a", 1, second))]
    assert len(set(draws)) == 4
    assert random_for("a", 1, first).random() == draws[0]
