"""Tables from file names. Every name is one of its corpus, as published."""

import pytest

from cfnsr.corpus.names import table_of_folder
from cfnsr.errors import InputError

PUBLISHED = {
    "ravdess": ("Actor_12/02-01-06-01-02-01-12.mp4", "fearful", "12", "female", "speech, normal", "English"),
    "crema-d": ("AudioWAV/1001_DFA_ANG_XX.wav", "angry", "1001", "", "unspecified", "English"),
    "savee": ("AudioData/DC/sa01.wav", "sad", "DC", "male", "", "English"),
    "emo-db": ("wav/03a01Wa.wav", "angry", "03", "male", "", "German"),
    "enterface": ("subject 7/anger/sentence 1/s7_an_1.avi", "angry", "7", "", "", "English"),
}


@pytest.mark.parametrize("names", PUBLISHED)
def test_published_names_are_read(tmp_path, names):
    path, *facts = PUBLISHED[names]
    for each in (path, "notes/interview.wav"):
        (tmp_path / each).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / each).touch()
    (row,), others = table_of_folder(tmp_path, names)
    assert (row.path, row.label, row.speaker, row.sex, row.group, row.language) == (path, *facts)
    assert others == ["notes/interview.wav"]


@pytest.mark.parametrize(
    ("pattern", "path", "facts"),
    [
        ("{speaker}/{label}_*.wav", "Anna B/very sad_01.wav", ("very sad", "Anna B")),
        ("{speaker:2}???{label:1}?.wav", "03a01Wa.wav", ("W", "03")),
        ("*/{split}-{speaker}.{label}.mp4", "x/test-1.sad.mp4", ("sad", "1")),
    ],
)
def test_a_pattern_is_read(tmp_path, pattern, path, facts):
    (tmp_path / path).parent.mkdir(exist_ok=True)
    (tmp_path / path).touch()
    (row,), others = table_of_folder(tmp_path, pattern=pattern)
    assert ((row.label, row.speaker), others) == (facts, [])


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("{speaker}.wav", r"has no \{label\}"),
        ("{speaker}_{label}_{label}.wav", "has '{label}'; it may have each"),
        ("{speaker}_{mood}.wav", "has '{mood}'; it may have each"),
        ("{speaker}+{label}.wav", "none of the 1 files"),
    ],
)
def test_a_pattern_that_cannot_be_used_is_refused(tmp_path, pattern, message):
    (tmp_path / "a_sad.wav").touch()
    with pytest.raises(InputError, match=message):
        table_of_folder(tmp_path, pattern=pattern)
