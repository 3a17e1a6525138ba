"""Settings that are requested for one run, and the folder of that run."""

import pytest
from helpers.feature_files import write_params

from cfnsr.corpus.folds import Fold
from cfnsr.errors import InputError
from components.request import requested_folds, requested_settings


def test_without_changes_it_is_the_profile_itself(tmp_path):
    plain = write_params(tmp_path)
    file = plain.params_file
    assert requested_settings(file, None) == plain
    assert requested_settings(file, "small", {}, None, None) == plain
    assert requested_settings(file, None, {"train.seed": 0}, "honest", 0) == plain  # the file's own values
    assert requested_settings(file, None, trials=3).layout == plain.layout


def test_overrides_give_a_folder_of_their_own_that_is_found_again(tmp_path):
    file = write_params(tmp_path).params_file
    one = requested_settings(file, None, {"train.fusion.lr": 0.01, "model.stem_relu": False}, seed=3)
    same = requested_settings(file, None, {"model.stem_relu": False, "train.seed": 3, "train.fusion.lr": 0.01})
    other = requested_settings(file, None, {"train.fusion.lr": 0.02})
    assert (one.params.train.fusion.lr, one.params.train.seed, one.params.model.stem_relu) == (0.01, 3, False)
    assert one.layout == same.layout
    assert len({one.layout.run, other.layout.run, tmp_path / "runs" / "small"}) == 3
    assert one.layout.data == other.layout.data


@pytest.mark.parametrize(
    ("requested", "message"),
    [
        ({"overrides": {"train.fusion.lrr": 1}}, "train.fusion.lrr is not a known key"),
        ({"overrides": {"train.fusion.lr": "fast"}}, "train.fusion.lr is 'fast'"),
        ({"overrides": {"mfcc.hop": 128}}, "mfcc.hop can't differ between runs"),
        ({"overrides": {"model.modality": "video", "model.audio_width": 64}}, r"model\.audio_width .*modality video"),
        ({"overrides": {"train.seed": 1}, "seed": 2}, r"train\.seed .*1 .*2"),
        ({"trials": 0}, "tune.trials is 0"),
    ],
)
def test_impossible_requests_are_refused(tmp_path, requested, message):
    with pytest.raises(InputError, match=message):
        requested_settings(write_params(tmp_path).params_file, None, **requested)


def test_folds_by_number():
    folds = [Fold(index, (), (), ()) for index in range(3)]
    assert requested_folds(folds, None) == {0, 1, 2}
    assert requested_folds(folds, [2, 0, 2]) == {0, 2}
    for wrong in ([3], [-1], []):
        with pytest.raises(InputError, match="this run has the folds 0, 1, 2"):
            requested_folds(folds, wrong)
