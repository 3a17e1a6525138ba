import pytest
import yaml
from helpers.feature_files import PROFILE

from cfnsr.config.load import load_settings
from cfnsr.errors import InputError


def load(folder, **sections):
    (folder / "params.yaml").write_text(yaml.safe_dump({"profile": "small", "small": {**PROFILE, **sections}}))
    return load_settings(folder / "params.yaml").params


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"kind": "float", "low": 1.0, "high": 0.1}, r"low \(1.0\) must be less than high \(0.1\)"),
        ({"kind": "float", "low": 0.0, "high": 0.1, "log": True}, r"low \(0.0\) must be above 0 if log is true"),
        ({"kind": "categorical", "choices": []}, "choices"),
        ({"kind": "float", "low": 0.1, "hgih": 1}, "hgih is not a known key"),
    ],
)
def test_an_invalid_range_is_refused(tmp_path, entry, message):
    with pytest.raises(InputError, match=message) as error:
        load(tmp_path, tune={"search": {"train.fusion.lr": entry}})
    assert "train.fusion.lr" in str(error.value)
    assert "\n" not in str(error.value)


def test_an_override_changes_one_place_even_where_the_file_has_an_alias(tmp_path):
    phase = {"epochs": 2, "batch_size": 8}
    train = {**PROFILE["train"], "pretrain": {"audio": phase, "video": phase}, "fusion": phase}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump({"profile": "small", "small": {**PROFILE, "train": train}}))
    assert "*id001" in (tmp_path / "params.yaml").read_text()
    params = load_settings(tmp_path / "params.yaml", None, {"train.fusion.lr": 0.5}).params
    assert (params.train.fusion.lr, params.train.pretrain.audio.lr) == (0.5, 1e-3)
