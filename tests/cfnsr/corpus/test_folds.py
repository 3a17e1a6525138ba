import pandas as pd
import pytest

from cfnsr.config.sections import TrainSettings
from cfnsr.corpus.folds import Fold, make_folds
from cfnsr.errors import InputError

HONEST = TrainSettings()
PUBLISHED = TrainSettings(protocol="published", folds=5)
NAMES = tuple(f"{number:02d}" for number in range(1, 25))
LISTED = TrainSettings(folds=[[2, 5], ["01"], ["03", "08", "06"]], validation_speakers=2)


def clips(speakers=NAMES, split=""):
    """Two clips of each speaker; `split` is one for all, or one for each."""
    splits = dict.fromkeys(speakers, split) if isinstance(split, str) else dict(zip(speakers, split, strict=True))
    rows = [(f"{speaker}-{clip}", speaker, splits[speaker]) for speaker in speakers for clip in range(2)]
    return pd.DataFrame(rows, columns=["clip_id", "speaker", "split"])


@pytest.mark.parametrize("settings", [HONEST, PUBLISHED, LISTED], ids=["honest", "published", "listed"])
def test_no_speaker_is_in_two_groups(settings):
    for fold in make_folds(clips(), settings):
        groups = [set(fold.train), set(fold.validation), set(fold.test)]
        assert sum(len(group) for group in groups) == len(set.union(*groups)) == len(NAMES)


def test_honest_folds_test_everyone_once_on_consecutive_speakers():
    folds = make_folds(clips(), HONEST)
    assert [fold.test for fold in folds] == [NAMES[k : k + 4] for k in range(0, 24, 4)]
    assert [fold.validation for fold in folds] == [(*NAMES[k + 4 : k + 8], *NAMES[:4])[:4] for k in range(0, 24, 4)]
    assert all(fold.selection == fold.validation for fold in folds)


def test_published_folds_never_test_the_last_four_and_choose_on_the_test_speakers():
    folds = make_folds(clips(), PUBLISHED)
    assert {speaker for fold in folds for speaker in fold.test} == set(NAMES[:20])
    assert all(fold.selection == fold.test for fold in folds)


def test_listed_folds_are_validated_by_the_speakers_of_the_next():
    folds = make_folds(clips(), LISTED)
    assert [fold.test for fold in folds] == [("02", "05"), ("01",), ("03", "06", "08")]
    assert [fold.validation for fold in folds] == [("01", "03"), ("03", "08"), ("04", "07")]


def test_a_table_gives_its_folds_by_name_or_one_fold_with_its_groups():
    by_name = make_folds(
        clips("abcdef", ["two", "one", "two", "one", "three", "three"]),
        TrainSettings(folds="split", validation_speakers=1),
    )
    assert [fold.test for fold in by_name] == [("b", "d"), ("e", "f"), ("a", "c")]
    groups = ["test", "train", "validation", "train", "test", "train"]
    assert make_folds(clips("abcdef", groups), TrainSettings(folds="split")) == [
        Fold(0, train=("b", "d", "f"), validation=("c",), test=("a", "e"))
    ]
    without = [group.replace("validation", "train") for group in groups]
    (fold,) = make_folds(clips("abcdef", without), TrainSettings(folds="split", validation_speakers=1))
    assert (fold.test, len(fold.validation), len(fold.train)) == (("a", "e"), 1, 3)


@pytest.mark.parametrize(
    ("table", "settings", "message"),
    [
        (clips(["01"]), HONEST, "need 24 speakers, but only 1 have usable clips"),
        (clips(), TrainSettings(folds=1, speakers_per_fold=20), "leave none of 24 to train on"),
        (clips(), TrainSettings(folds=[["01"], ["25"]]), "lists the speaker '25', who has no usable clip"),
        (clips(), TrainSettings(folds=[["01"], ["01"]]), "lists the speaker '01' twice"),
        (clips("ab", ["test", ""]), TrainSettings(folds="split"), "b-0 has no split in the table"),
        (clips("ab", ["test", "dev"]), TrainSettings(folds="split"), "has a split 'dev' beside `test`"),
        (
            pd.concat([clips("ab", ["test", "train"]), clips("a", "train")]),
            TrainSettings(folds="split"),
            "the speaker a is in the splits test and train",
        ),
    ],
)
def test_impossible_folds_are_refused(table, settings, message):
    with pytest.raises(InputError, match=message):
        make_folds(table, settings)
