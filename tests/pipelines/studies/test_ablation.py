"""The ablation on a small set of features: every variant has the same folds and starts from the same encoders."""

from collections import Counter

import pandas as pd
import pytest
from helpers.feature_files import write_features, write_params

from cfnsr.corpus.folds import CLAIM
from cfnsr.errors import InputError
from pipelines.studies.ablation import ablate, page

ONE_EPOCH = {"epochs": 1, "batch_size": 8, "lr": 0.003}


@pytest.mark.proof
def test_every_variant_has_its_row(tmp_path):
    train = {"folds": 2, "pretrain": {"audio": ONE_EPOCH, "video": ONE_EPOCH}, "fusion": ONE_EPOCH}
    settings = write_params(tmp_path, train=train)
    write_features(settings)
    rows = {row["name"]: row for row in ablate(settings.params_file, seeds=[0, 1])}
    assert {row["clips"] for row in rows.values()} == {64}
    assert rows["cfn_sr"]["difference"] == 0
    assert rows["cfn_sr"]["parameters"] > rows["no_attention"]["parameters"] > rows["concat"]["parameters"]
    assert rows["audio encoder alone"]["parameters"] < rows["video encoder alone"]["parameters"]
    assert rows["average"]["difference"] == pytest.approx(rows["average"]["accuracy"] - rows["cfn_sr"]["accuracy"])
    # Four speakers are too few for an interval.
    assert {(row["interval"], row["difference_interval"]) for row in rows.values()} == {(None, None)}
    text = page(list(rows.values()), "small")
    assert f"Figures: {CLAIM['honest']}." in text
    assert "The corpus is synthetic" in text
    for name, row in rows.items():
        assert f"| {name} | {row['accuracy']:.1%} ± {row['accuracy_std']:.1%} |" in text
    assert rows["cfn_sr"]["accuracy"] == pytest.approx(sum(rows["cfn_sr"]["by_seed"]) / 2)
    # All fused networks of a seed start from the same encoders.
    runs = sorted(path.parent for path in settings.layout.run.parent.glob("small*/fold-0/predictions.csv"))
    encoders = [pd.read_csv(run / "predictions.csv").query("network == 'audio'")["happy"] for run in runs]
    assert sorted(Counter(map(tuple, encoders)).values()) == [5, 5]


def test_an_encoder_without_pretraining_is_refused(tmp_path):
    write_params(tmp_path, train={"pretrain": {"audio": {"epochs": 0}, "video": ONE_EPOCH}})
    with pytest.raises(InputError, match=r"train\.pretrain\.audio\.epochs is 0"):
        ablate(tmp_path / "params.yaml")
