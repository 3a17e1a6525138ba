"""The ablation flow on a small set of features: every variant with the same folds, from the same encoders."""

import json
import subprocess
import sys
from collections import Counter

import pandas as pd
import pytest
from helpers.feature_files import write_features, write_params
from helpers.paths import PROJECT

from cfnsr.corpus.folds import CLAIM
from cfnsr.errors import InputError
from pipelines.studies.ablation import ablate_cfnsr, page

ONE_EPOCH = {"epochs": 1, "batch_size": 8, "lr": 0.003}
RUN = """
import json, sys
from pathlib import Path
from pipelines.studies.ablation import ablate_cfnsr
rows = ablate_cfnsr(seeds=[0, 1], update=False, params_file=Path(sys.argv[1]))
Path(sys.argv[2]).write_text(json.dumps(rows))
"""


@pytest.mark.slow
def test_every_variant_has_its_row(tmp_path, monkeypatch):
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "prefect"))
    train = {"folds": 2, "pretrain": {"audio": ONE_EPOCH, "video": ONE_EPOCH}, "fusion": ONE_EPOCH}
    settings = write_params(tmp_path, train=train)
    write_features(settings)
    command = [sys.executable, "-c", RUN, str(settings.params_file), str(tmp_path / "rows.json")]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    rows = {row["name"]: row for row in json.loads((tmp_path / "rows.json").read_text())}
    assert {row["clips"] for row in rows.values()} == {64}
    assert rows["cfn_sr"]["difference"] == 0
    assert rows["cfn_sr"]["parameters"] > rows["no_attention"]["parameters"] > rows["concat"]["parameters"]
    assert rows["audio encoder alone"]["parameters"] < rows["video encoder alone"]["parameters"]
    assert rows["average"]["difference"] == pytest.approx(rows["average"]["accuracy"] - rows["cfn_sr"]["accuracy"])
    # Four actors say nothing of others.
    assert {(row["interval"], row["difference_interval"]) for row in rows.values()} == {(None, None)}
    text = page(list(rows.values()), "small")
    assert f"Figures are of: {CLAIM['honest']}." in text
    assert "The corpus is synthetic" in text
    for name, row in rows.items():
        assert f"| {name} | {row['accuracy']:.1%} ± {row['accuracy_std']:.1%} |" in text
    assert rows["cfn_sr"]["accuracy"] == pytest.approx(sum(rows["cfn_sr"]["by_seed"]) / 2)
    # All fused networks of a seed began with the very same encoders.
    runs = sorted(path.parent for path in settings.layout.run.parent.glob("small*/fold-0/predictions.csv"))
    encoders = [pd.read_csv(run / "predictions.csv").query("network == 'audio'")["happy"] for run in runs]
    assert sorted(Counter(map(tuple, encoders)).values()) == [5, 5]


def test_an_encoder_that_is_not_trained_has_no_row(tmp_path):
    write_params(tmp_path, train={"pretrain": {"audio": {"epochs": 0}, "video": ONE_EPOCH}})
    with pytest.raises(InputError, match=r"train\.pretrain\.audio\.epochs is 0, so there would be none"):
        ablate_cfnsr.fn(params_file=tmp_path / "params.yaml")


def test_figures_chosen_on_test_actors_say_so():
    rows = json.loads((PROJECT / "docs/ablation-sample.json").read_text())
    text = page([row | {"protocol": "published", "claim": CLAIM["published"]} for row in rows], "sample")
    assert f"Figures are of: {CLAIM['published']}." in text
