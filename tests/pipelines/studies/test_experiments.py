"""docs/results.md, docs/ablation-sample.md, docs/epoch-choice.md and the README show the figures of the JSON files."""

import json

import numpy as np
import pytest
import yaml
from helpers.feature_files import write_features
from helpers.paths import PROJECT

from cfnsr.config.load import load_settings
from components.run import Run
from pipelines.studies import ablation, epoch_choice, experiments

ROWS = {row["name"]: row for row in json.loads((PROJECT / "docs/results.json").read_text())}
ABLATION = {row["name"]: row for row in json.loads((PROJECT / "docs/ablation-sample.json").read_text())}
EXPERIMENTS = yaml.safe_load((PROJECT / "experiments.yaml").read_text())
README = (PROJECT / "README.md").read_text()
TRAIN = (PROJECT / "docs/train.md").read_text()


def test_the_pages_are_made_from_the_figures():
    content = json.loads((PROJECT / "docs/epoch-choice.json").read_text())
    assert (PROJECT / "docs/epoch-choice.md").read_text() == epoch_choice.page(content)
    assert (PROJECT / "docs/results.md").read_text() == experiments.page(list(ROWS.values()))
    assert (PROJECT / "docs/ablation-sample.md").read_text() == ablation.page(list(ABLATION.values()), "sample")


@pytest.mark.parametrize("name", list(ROWS))
def test_the_readme_quotes_the_figures(name):
    row = ROWS[name]
    if row["protocol"] == "published":
        assert f"| {row['best_test_epoch']:.1%} best test epoch, {row['last_epochs']:.1%} last ten |" in README
        return
    low, high = row["interval"]
    assert f"| {row['accuracy']:.1%} ({low:.1%} to {high:.1%}) |" in README
    ensemble = f"{row['ensemble']:.1%} when the probabilities of {len(row['seeds'])} networks are averaged"
    assert f"| the same; {ensemble} |" in README


@pytest.mark.parametrize("name", list(ABLATION))
def test_the_training_page_quotes_the_ablation(name):
    row = ABLATION[name]
    low, high = row["interval"]
    assert f"{row['accuracy']:.1%} ({low:.1%} to {high:.1%})" in TRAIN


def test_figures_belong_to_the_present_experiments():
    assert list(ROWS) == [name for name in EXPERIMENTS if name in ROWS]
    for name, experiment in EXPERIMENTS.items():
        settings = load_settings(PROJECT / "params.yaml", "ravdess", experiment["overrides"], name)
        if name in ROWS:
            row = ROWS[name]
            assert (row["protocol"], row["folds"]) == (settings.params.train.protocol, settings.params.train.folds)
            assert (row["about"], row["seeds"]) == (experiment["about"], experiment["seeds"])


def test_the_rules_for_the_epoch():
    accuracy = np.array([0.1, 0.9, 0.2, 0.6, 0.7, 0.7, 0.9, 0.6, 0.7, 0.7, 0.8])
    loss = np.array([2.0, 1.5, 1.4, 1.0, 0.9, 0.8, 1.0, 1.1, 1.2, 1.3, 1.4])
    assert [rule(accuracy, loss) for rule in epoch_choice.RULES.values()] == [1, 6, 5, 10, 10, 10]


def test_an_actor_measures_the_epoch_that_the_others_choose():
    """Two actors with one clip each: the first is classified correctly in epoch 0, the second in epoch 1."""
    right, wrong = [4.0, 0.0], [0.0, 4.0]
    logits = np.array([[right, wrong], [wrong, right]], np.float32)
    found = epoch_choice.measure(logits, np.array([0, 0]), np.array([1, 2]))
    assert found["highest accuracy, the first of them"] == 0  # each is measured where only the other is correct
    assert found["the last epoch"] == 1


def test_a_fold_of_the_study_is_trained_once_and_names_its_commit(tmp_path):
    overrides = {"dataset.actors": list(range(1, 7)), "mfcc.speeds": [1.0, 0.9], "train.folds": 2}
    overrides |= {"train.actors_per_fold": 2, "train.validation_actors": 2, "train.pretrain.audio.epochs": 2}
    overrides |= {"train.watch_test": False}
    (tmp_path / "params.yaml").write_text((PROJECT / "params.yaml").read_text())
    settings = experiments.settings_of(tmp_path, "audio-honest", {"model.modality": "audio", **overrides}, seed=10)
    write_features(settings)
    run = Run.open(settings)
    fold = run.folds[0]
    path = epoch_choice.record(run, tmp_path / "study", "first", fold)
    with np.load(path) as recorded:
        logits = recorded["logits"]
        assert logits.shape == (2, 32, 8)
        assert not np.array_equal(logits[0], logits[1])
        assert set(recorded["actors"]) == set(fold.validation)
    assert epoch_choice.record(run, tmp_path / "study", "second", fold) == path
    with np.load(path) as recorded:
        assert recorded["commit"] == "first"
