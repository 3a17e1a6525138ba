"""Experiments on the real soundtracks, shortened to an epoch, written down as `make results` writes them."""

import json
import shutil
from pathlib import Path

import pytest
import yaml
from real_ravdess import PROJECT, RAVDESS, needs_ravdess

from cfnsr.errors import InputError
from pipelines.experiments import page, run_experiments

pytestmark = [needs_ravdess, pytest.mark.slow]


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("project")
    shutil.copy(PROJECT / "params.yaml", root)
    experiments = yaml.safe_load((PROJECT / "experiments.yaml").read_text())
    for experiment in experiments.values():
        experiment["overrides"]["train.pretrain.audio"]["epochs"] = 1
        experiment["overrides"]["train.folds"] = 2
    (root / "experiments.yaml").write_text(yaml.safe_dump(experiments))
    return root


def test_every_experiment_ends_in_the_table(project):
    rows = {row["name"]: row for row in run_experiments(project, RAVDESS)}
    published, honest = rows["audio-published"], rows["audio-honest"]
    assert published["parameters"] == honest["parameters"] == 34_024
    assert published["clips"] == honest["clips"] == 2 * 4 * 60
    assert published["best_test_epoch"] == published["last_epochs"]  # one epoch is both
    low, high = honest["interval"]
    assert low <= honest["accuracy"] <= high
    text = page(json.loads(json.dumps(list(rows.values()))))
    assert f"{honest['accuracy']:.1%} | {low:.1%} to {high:.1%}" in text
    assert f"{published['best_test_epoch']:.1%}" in text


def test_an_unknown_experiment_gets_a_sentence(project):
    with pytest.raises(InputError, match=r"no experiment 'audio-honset'; experiments\.yaml has .*audio-published"):
        run_experiments(project, RAVDESS, ["audio-honset"])
