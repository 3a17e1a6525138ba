"""docs/results.md and the README show what docs/results.json holds, and nothing typed by hand."""

import json
from pathlib import Path

import yaml

from cfnsr.config import load_settings
from pipelines.experiments import page

ROOT = Path(__file__).resolve().parents[2]
ROWS = json.loads((ROOT / "docs/results.json").read_text())
EXPERIMENTS = yaml.safe_load((ROOT / "experiments.yaml").read_text())


def test_the_page_is_made_from_the_figures():
    assert (ROOT / "docs/results.md").read_text() == page(ROWS)


def test_the_readme_quotes_them():
    readme = (ROOT / "README.md").read_text()
    rows = {row["name"]: row for row in ROWS}
    published, honest = rows["audio-published"], rows["audio-honest"]
    assert f"| {published['best_test_epoch']:.1%} best test epoch, {published['last_epochs']:.1%} last ten |" in readme
    assert f"honest protocol | {honest['accuracy']:.1%} |" in readme


def test_every_experiment_is_valid_and_has_its_figures():
    assert [row["name"] for row in ROWS] == list(EXPERIMENTS)
    for name, experiment in EXPERIMENTS.items():
        settings = load_settings(ROOT / "params.yaml", "ravdess", experiment["overrides"], name)
        (row,) = [row for row in ROWS if row["name"] == name]
        assert (row["protocol"], row["folds"]) == (settings.params.train.protocol, settings.params.train.folds)
        assert row["about"] == experiment["about"]
