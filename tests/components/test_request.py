"""What may be asked of a run, and where it then lies."""

import pytest
from helpers.feature_files import write_params

from cfnsr.errors import InputError
from components.request import requested_folds, requested_settings


def test_without_wishes_it_is_the_profile_itself(tmp_path):
    plain = write_params(tmp_path)
    file = plain.params_file
    assert requested_settings(file, None) == plain
    assert requested_settings(file, "small", {}, None, None) == plain
    assert requested_settings(file, None, {"train.seed": 0}, "honest", 0) == plain  # what it says already
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
    ("wishes", "sentence"),
    [
        ({"overrides": {"train.fusion.lrr": 1}}, "train.fusion.lrr is not a known key"),
        ({"overrides": {"train.fusion.lr": "fast"}}, "train.fusion.lr is 'fast'"),
        ({"overrides": {"mfcc.hop": 128}}, "mfcc.hop can't be changed for one run"),
        ({"overrides": {"tune.trials": 1}}, "tune.trials can't be changed for one run"),
        ({"overrides": {"lr": 1}}, "lr can't be changed for one run"),
        (
            {"overrides": {"model.modality": "audio", "train.fusion.lr": 0.01}},
            r"train\.fusion\.lr .*model\.modality audio",
        ),
        (
            {"overrides": {"model.modality": "video", "model.audio_width": 64}},
            r"model\.audio_width .*model\.modality video",
        ),
        ({"overrides": {"train.seed": 1}, "seed": 2}, r"train\.seed .*1 .*2"),
        ({"protocol": "none"}, "train.protocol is 'none'"),
        ({"trials": 0}, "tune.trials is 0"),
    ],
)
def test_what_can_not_be_is_a_sentence(tmp_path, wishes, sentence):
    with pytest.raises(InputError, match=sentence):
        requested_settings(write_params(tmp_path).params_file, None, **wishes)


def test_folds_by_number(tmp_path):
    settings = write_params(tmp_path)
    assert requested_folds(settings, None) == {0, 1, 2}
    assert requested_folds(settings, [2, 0, 2]) == {0, 2}
    for wrong in ([3], [-1], []):
        with pytest.raises(InputError, match="this run has the folds 0, 1, 2"):
            requested_folds(settings, wrong)
