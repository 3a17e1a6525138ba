"""Experiments on the real soundtracks, shortened to an epoch, written down as `make results` writes them."""

import json
import shutil
from pathlib import Path

import pytest
import yaml
from helpers.real_ravdess import PROJECT, RAVDESS, needs_ravdess

from cfnsr.errors import InputError
from components.tracking.runs import git
from pipelines.studies.experiments import commit_of, run_experiments, save_row

pytestmark = [needs_ravdess, pytest.mark.proof]


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("project")
    shutil.copy(PROJECT / "params.yaml", root)
    experiments = yaml.safe_load((PROJECT / "experiments.yaml").read_text())
    shortened = {name: experiments[name] for name in ("audio-published", "audio-rich")}
    for experiment in shortened.values():
        experiment["overrides"] |= {"train.pretrain.audio.epochs": 1, "train.folds": 2}
        # A few speakers, so that seconds are enough.
        experiment["overrides"] |= {
            "train.speakers_per_fold": 1,
            "train.validation_speakers": 1,
            "mfcc.speeds": [1.0, 0.9],
        }
        experiment["seeds"] = [0, 1]
    shortened["audio-published"]["seeds"] = [3]
    shortened["audio-rich"]["overrides"]["train.watch_test"] = False
    (root / "experiments.yaml").write_text(yaml.safe_dump(shortened))
    clips = root / "clips"
    for speaker in (1, 2, 3):
        shutil.copytree(RAVDESS / f"Actor_{speaker:02d}", clips / f"Actor_{speaker:02d}")
    for video in clips.rglob("*.mp4"):
        video.unlink()
    git(root, "init", "-q")
    commit(root, "start")
    return root


def commit(root: Path, message: str) -> str:
    """Returns the first twelve digits of the new commit."""
    git(root, "add", "params.yaml", "experiments.yaml")
    author = ("-c", "user.name=A", "-c", "user.email=a@example.org")
    assert git(root, *author, "commit", "-q", "--allow-empty", "-m", message) is not None
    return git(root, "rev-parse", "HEAD")[:12]


def test_every_experiment_ends_in_the_table(project):
    rows = {}
    for row in run_experiments(project, project / "clips"):
        rows[row["name"]] = row
        text = save_row(project, row)
    published, rich = rows["audio-published"], rows["audio-rich"]
    assert published["parameters"] == 34_024
    assert rich["parameters"] == 103_308
    assert published["clips"] == rich["clips"] == 2 * 60
    assert published["best_test_epoch"] == published["last_epochs"]  # one epoch is both
    assert rich["seeds"] == [0, 1]
    assert rich["accuracy"] == pytest.approx(sum(rich["by_seed"]) / 2)
    assert rich["speakers"] == {"train": 1, "validation": 1, "test": 1}
    # Two speakers are too few for an interval, others than those that recipes were compared on, and were not watched.
    left_out = ("interval", "ensemble_interval", "unseen", "best_test_epoch", "last_epochs")
    assert [rich[name] for name in left_out] == [None] * len(left_out)
    assert 0 <= rich["ensemble"] <= 1
    assert json.loads((project / "docs/results.json").read_text()) == [rows["audio-published"], rows["audio-rich"]]
    assert published["commit"] == rich["commit"] == git(project, "rev-parse", "HEAD")[:12]
    # What is only reported again is of the commit that it was trained at.
    assert commit(project, "later") != published["commit"]
    (again,) = run_experiments(project, project / "clips", ["audio-published"])
    assert again == published
    assert (project / "docs/results.md").read_text() == text
    assert f"**{rich['accuracy']:.1%}** | - |" in text
    assert f"{rich['ensemble']:.1%} (-)" in text
    assert f"| {published['best_test_epoch']:.1%} | 3: {published['best_test_epoch']:.1%} |" in text


def test_an_unknown_experiment_gets_a_sentence(project):
    with pytest.raises(InputError, match=r"no experiment 'audio-honset'; experiments\.yaml has .*audio-published"):
        list(run_experiments(project, project / "clips", ["audio-honset"]))


def test_changed_files_are_named_beside_the_commit(project):
    assert " and changes" not in commit_of(project)
    (project / "params.yaml").open("a").write("\n")
    assert commit_of(project) == git(project, "rev-parse", "HEAD")[:12] + " and changes"
    git(project, "checkout", "params.yaml")
