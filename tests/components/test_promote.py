"""The gate in front of the alias `champion`, as a command, on a real registry."""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import mlflow
import pytest
from helpers.paths import PROJECT
from helpers.registry_versions import RAVDESS, SYNTHETIC, add_version, registry

from cfnsr.corpus.folds import CLAIM, TUNED, UNKNOWN
from cfnsr.errors import InputError
from components.promote import promote, rollback

MODEL = "cfn-sr"


@dataclass
class Project:
    """A project with a registry."""

    folder: Path
    client: mlflow.MlflowClient

    @property
    def params(self) -> Path:
        return self.folder / "params.yaml"

    @property
    def champion(self) -> str | None:
        number = self.client.get_registered_model(MODEL).aliases.get("champion")
        return None if number is None else str(number)

    def add(self, share: float, tags: dict = RAVDESS, **options: int) -> str:
        return add_version(self.client, self.folder, share, tags, **options)

    def promote(self, version: str, reason: str = "") -> str:
        return promote(self.params, int(version), reason)

    def tags(self, version: str) -> dict[str, str]:
        return self.client.get_model_version(MODEL, version).tags

    def start(self, *words: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "components.promote", *words, "--params", str(self.params)]
        return subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def command(self, *words: str) -> tuple[int, str]:
        process = self.start(*words)
        out, err = process.communicate(timeout=120)
        assert "Traceback" not in err
        return process.returncode, out + err


@pytest.fixture(scope="module")
def shared(tmp_path_factory) -> Project:
    """One registry for all tests of this module, because creating a database takes seconds."""
    folder = tmp_path_factory.mktemp("registry")
    return Project(folder, registry(folder))


@pytest.fixture
def project(shared) -> Project:
    """The same without a champion."""
    if shared.champion:
        shared.client.delete_registered_model_alias(MODEL, "champion")
    return shared


@pytest.mark.slow
def test_a_better_version_becomes_champion_and_a_worse_one_does_not(project):
    good, better, worse = map(project.add, (0.6, 0.8, 0.5))
    assert "there was no champion" in project.promote(good)
    code, output = project.command("--version", better)
    assert code == 0
    assert f"version {better} is champion: its accuracy is 80.0%, version {good}'s 60.0% (+20.0%" in output
    code, output = project.command("--version", worse)
    assert code == 2
    assert f"error: version {worse} does not become champion: its accuracy is 50.0%" in output
    assert project.champion == better
    tags = project.tags(better)
    assert tags["previous_champion"] == good
    assert "+20.0%" in tags["promotion"]
    assert "promoted_at" in tags
    assert "promotion_forced" not in tags


def test_the_gate_says_how_many_versions_it_has_judged_on_the_same_clips(project):
    corpus = {**RAVDESS, "dataset_digest": "judged often"}
    first, second, third = (project.add(share, corpus) for share in (0.5, 0.6, 0.8))
    project.promote(first)  # without a comparison
    assert project.promote(first) == f"version {first} is the champion already"
    assert "judged on these clips" not in project.promote(second)
    assert "; 1 other version was judged on these clips before" in project.promote(third)
    assert project.tags(third)["judged_against"] == second


@pytest.mark.parametrize(
    ("other", "options", "reason"),
    [
        (0.5, {}, r"\+0.0%.*required are more than \+0.0%"),
        (0.9, {"speakers": 4}, r"4 speakers, too few .* \(\+40\.0%\); use --force"),
        (0.9, {"tags": {**RAVDESS, "dataset_digest": "two"}}, "differ in their data"),
        (0.9, {"tags": {**RAVDESS, "protocol": "published"}}, "differ in their protocol"),
        (0.9, {"folds": 2}, "differ in their folds"),
    ],
)
def test_a_version_that_is_not_shown_to_be_better_does_not_become_champion(project, other, options, reason):
    champion = project.add(0.5, speakers=options.get("speakers", 6))
    project.promote(champion)
    with pytest.raises(InputError, match=reason):
        project.promote(project.add(other, **options))
    assert project.champion == champion


def test_force_needs_a_reason_and_leaves_it_with_the_version(project):
    good, worse = map(project.add, (0.8, 0.5))
    project.promote(good)
    code, output = project.command("--version", worse, "--force")
    assert code == 2
    assert "--force and --reason TEXT go together" in output
    assert project.champion == good
    assert project.command("--version", worse, "--force", "--reason", "the other leaks")[0] == 0
    assert project.champion == worse
    assert project.tags(worse)["promotion_forced"] == "the other leaks"


def test_a_rollback_restores_the_previous_champion(project):
    good, better = map(project.add, (0.5, 0.8))
    project.promote(good)
    project.promote(better, "an emergency")
    code, output = project.command("--rollback")
    assert (code, project.champion) == (0, good)
    assert f"version {good} is champion again" in output
    assert {"promotion_forced", "rolled_back_at"} <= set(project.tags(better))
    with pytest.raises(InputError, match=f"version {good} does not record"):
        rollback(project.params)
    project.promote(better)  # what is recorded is of the last promotion
    assert not {"promotion_forced", "rolled_back_at"} & set(project.tags(better))


def test_figures_of_weights_that_may_have_seen_the_test_speakers_need_a_person(project):
    claim = CLAIM["honest"]
    good = project.add(0.5, {**RAVDESS, "claim": claim})
    leaky = project.add(0.9, {**RAVDESS, "claim": claim + UNKNOWN})
    tuned = project.add(0.8, {**RAVDESS, "claim": claim + TUNED})
    project.promote(good)
    with pytest.raises(InputError, match="may have been trained on its own test speakers"):
        project.promote(leaky)
    assert project.champion == good
    assert f"its figures: {claim + TUNED}; those of version {good}: {claim}" in project.promote(tuned)
    project.promote(leaky, "nothing else is there")
    assert project.champion == leaky


def test_a_synthetic_version_never_replaces_a_real_one(project):
    real, synthetic = project.add(0.3), project.add(1.0, SYNTHETIC)
    project.promote(synthetic)
    assert "was of the synthetic sample corpus" in project.promote(real)
    for reason in ("", "I want to"):
        with pytest.raises(InputError, match="not even --force helps"):
            project.promote(synthetic, reason)
    with pytest.raises(InputError, match="can't replace one of a real corpus"):
        rollback(project.params)
    assert project.champion == real


def test_a_version_without_predictions_or_half_registered_is_refused(project):
    good, other = map(project.add, (0.5, 0.9))
    project.promote(good)
    run = project.client.get_model_version(MODEL, other).run_id
    (project.folder / "mlartifacts" / run / "artifacts" / "plots" / "predictions.csv").unlink()
    with pytest.raises(InputError, match=r"plots/predictions\.csv of the run of version \d+ can't be read"):
        project.promote(other)
    project.client.delete_model_version_tag(MODEL, other, "registration")
    with pytest.raises(InputError, match="was interrupted"):
        project.promote(other)


def test_what_is_not_registered_is_reported(project, tmp_path):
    code, output = project.command("--version", "999")
    assert code == 2
    assert "version=999" in output
    with pytest.raises(InputError, match="cfn-sr has no champion"):
        rollback(project.params)
    (tmp_path / "params.yaml").write_text(project.params.read_text())
    with pytest.raises(InputError, match=r"name=cfn-sr.*dvc repro"):
        promote(tmp_path / "params.yaml", 1)


def test_two_promotions_at_once_end_with_the_better_one(project):
    """The second is judged against the first's version, not against the champion of before."""
    good, better, best = map(project.add, (0.4, 0.6, 0.8))
    project.promote(good)
    both = [project.start("--version", version) for version in (better, best)]
    for process in both:
        process.communicate(timeout=120)
    assert project.champion == best
    assert project.tags(best)["previous_champion"] == (better if both[0].returncode == 0 else good)
