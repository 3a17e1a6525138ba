"""docs/results.md, docs/ablation-sample.md, docs/epoch-choice.md and the README show the figures of the JSON files."""

import json

import pytest
import yaml
from helpers.paths import PROJECT

from cfnsr.config.load import load_settings
from pipelines.studies import ablation, experiments

ROWS = {row["name"]: row for row in json.loads((PROJECT / "docs/results.json").read_text())}
ABLATION = {row["name"]: row for row in json.loads((PROJECT / "docs/ablation-sample.json").read_text())}
EXPERIMENTS = yaml.safe_load((PROJECT / "experiments.yaml").read_text())
README = (PROJECT / "README.md").read_text()
TRAIN = (PROJECT / "docs/train.md").read_text()


def test_the_pages_are_made_from_the_figures():
    assert (PROJECT / "docs/results.md").read_text() == experiments.page(list(ROWS.values()))
    assert (PROJECT / "docs/ablation-sample.md").read_text() == ablation.page(list(ABLATION.values()), "sample")


def test_the_page_of_the_epoch_study_shows_its_figures():
    study = json.loads((PROJECT / "docs/epoch-choice.json").read_text())
    page = (PROJECT / "docs/epoch-choice.md").read_text()
    assert study["commit"] in page
    honest, rich = (study["accuracy"][name] for name in ("audio-honest", "audio-rich"))
    for rule in honest:
        assert f"| {rule} | {honest[rule]:.1%} | {rich[rule]:.1%} |" in page


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
