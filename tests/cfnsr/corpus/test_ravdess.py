from collections import Counter
from itertools import product
from pathlib import Path

import pytest

from cfnsr.corpus.ravdess import (
    ACTORS,
    TAKES_PER_ACTOR,
    FileModality,
    Take,
    file_kind,
    parse_name,
)


def test_a_name_is_read():
    modality, take = parse_name(Path("Actor_12") / "02-01-06-01-02-01-12.mp4")
    assert modality is FileModality.VIDEO
    assert take == Take(actor=12, vocal=1, emotion=6, intensity=1, statement=2, repetition=1)
    assert (take.clip_id, take.label, take.speaker, take.sex) == ("01-06-01-02-01-12", "fearful", "12", "female")
    assert take.channel == "speech"
    assert take.file_name(FileModality.AUDIO, ".wav") == "03-01-06-01-02-01-12.wav"


def test_the_grammar_gives_sixty_takes_per_actor_and_every_name_is_read_back():
    takes = [
        Take(actor, 1, emotion, intensity, statement, repetition)
        for actor, emotion, intensity, statement, repetition in product(ACTORS, range(1, 9), (1, 2), (1, 2), (1, 2))
        if (emotion, intensity) != (1, 2)
    ]
    assert [parse_name(take.file_name(FileModality.AUDIO, ".wav"))[1] for take in takes] == takes
    assert set(Counter(take.actor for take in takes).values()) == {TAKES_PER_ACTOR}
    assert len({take.clip_id for take in takes}) == len(takes) == 1440


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("holiday.mp4", "not a RAVDESS name"),
        ("01-01-01-01-01-01-01-01.mp4", "not a RAVDESS name"),
        ("01-01-01-01-01-01-01 (1).mp4", "not a RAVDESS name"),
        ("01-01-01-01-01-01-0\u0661.mp4", "not a RAVDESS name"),
        ("04-01-01-01-01-01-01.mp4", "has modality 04, which must be 01 to 03"),
        ("01-01-09-01-01-01-01.mp4", "has emotion 09, which must be 01 to 08"),
        ("01-01-00-01-01-01-01.mp4", "has emotion 00"),
        ("01-01-02-01-01-01-25.mp4", "has actor 25, which must be 01 to 24"),
        ("01-01-01-02-01-01-01.mp4", "strong neutral"),
    ],
)
def test_a_wrong_name_is_refused_with_its_reason(name, reason):
    with pytest.raises(ValueError, match=reason):
        parse_name(name)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a/01-01-01-01-01-01-01.MP4", "video"),
        ("clip.mov", "video"),
        ("sound.wav", "audio"),
        ("sound.mp3", "audio"),
        ("clip.csv", "landmarks"),
        ("README.md", ""),
        ("clip.mp4.part", ""),
    ],
)
def test_the_suffix_tells_the_kind_of_a_file(name, kind):
    assert file_kind(name) == kind
