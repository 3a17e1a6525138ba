"""The gate in front of the alias `champion`, as a command, on a real registry."""

import subprocess
import sys
from pathlib import Path

import mlflow
import pytest
from helpers.paths import PROJECT
from helpers.registry_versions import RAVDESS, SYNTHETIC, add_version, registry

from cfnsr.corpus.folds import CLAIM, TUNED, UNKNOWN
from cfnsr.errors import InputError
from components.promote import promote, rollback

MODEL = "cfn-sr"


@pytest.fixture(scope="module")
def shared(tmp_path_factory) -> tuple[Path, mlflow.MlflowClient]:
    """One registry for all tests of this module: making a database takes seconds."""
    folder = tmp_path_factory.mktemp("registry")
    return folder, registry(folder)


@pytest.fixture
def project(shared) -> tuple[Path, mlflow.MlflowClient]:
    """The same with nobody champion."""
    _, client = shared
    if "champion" in client.get_registered_model(MODEL).aliases:
        client.delete_registered_model_alias(MODEL, "champion")
    return shared


def champion(client: mlflow.MlflowClient) -> str | None:
    number = client.get_registered_model(MODEL).aliases.get("champion")
    return None if number is None else str(number)


def start(folder: Path, *words: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "components.promote", *words, "--params", str(folder / "params.yaml")]
    return subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def command(folder: Path, *words: str) -> tuple[int, str]:
    process = start(folder, *words)
    out, err = process.communicate(timeout=120)
    assert "Traceback" not in err
    return process.returncode, out + err


def test_a_better_version_becomes_champion_and_a_worse_one_does_not(project):
    folder, client = project
    good, better, worse = (add_version(client, folder, share) for share in (0.6, 0.8, 0.5))
    assert "there was no champion" in promote(folder / "params.yaml", int(good))
    code, said = command(folder, "--version", better)
    assert code == 0
    assert f"version {better} is champion: its accuracy is 80.0%, version {good}'s 60.0% (+20.0%" in said
    code, said = command(folder, "--version", worse)
    assert code == 2
    assert f"error: version {worse} does not become champion: its accuracy is 50.0%" in said
    assert champion(client) == better
    tags = client.get_model_version(MODEL, better).tags
    assert tags["previous_champion"] == good
    assert "+20.0%" in tags["promotion"]
    assert "promoted_at" in tags
    assert "promotion_forced" not in tags


def test_the_gate_says_how_many_versions_it_has_judged_on_the_same_clips(project):
    folder, client = project
    corpus = {**RAVDESS, "dataset_digest": "judged often"}
    first, second, third = (add_version(client, folder, share, corpus) for share in (0.5, 0.6, 0.8))
    assert "judged" not in promote(folder / "params.yaml", int(first))  # without a look at its figures
    for _ in range(2):  # the same version again is no other one
        with pytest.raises(InputError, match="it is the champion already"):
            promote(folder / "params.yaml", int(first))
    assert "judged on these clips" not in promote(folder / "params.yaml", int(second))
    assert "; 1 other version was judged on these clips before" in promote(folder / "params.yaml", int(third))
    assert client.get_model_version(MODEL, third).tags["judged_against"] == second
    assert "1 other version was judged" in client.get_model_version(MODEL, third).tags["promotion"]


def test_too_few_actors_are_not_enough(project):
    folder, client = project
    worse, better = (add_version(client, folder, share, actors=4) for share in (0.5, 0.9))
    promote(folder / "params.yaml", int(worse))
    with pytest.raises(InputError, match=r"4 actors, too few .* \(\+40\.0%\); use --force"):
        promote(folder / "params.yaml", int(better))
    assert champion(client) == worse


def test_no_better_is_not_enough(project):
    folder, client = project
    one, same = (add_version(client, folder, 0.6) for _ in range(2))
    promote(folder / "params.yaml", int(one))
    with pytest.raises(InputError, match=r"\+0.0%.*required are more than \+0.0%"):
        promote(folder / "params.yaml", int(same))


def test_force_needs_a_reason_and_leaves_it_with_the_version(project):
    folder, client = project
    good, worse = (add_version(client, folder, share) for share in (0.8, 0.5))
    promote(folder / "params.yaml", int(good))
    code, said = command(folder, "--version", worse, "--force")
    assert code == 2
    assert "--force and --reason TEXT go together" in said
    assert champion(client) == good
    code, _ = command(folder, "--version", worse, "--force", "--reason", "the other leaks")
    assert code == 0
    assert champion(client) == worse
    assert client.get_model_version(MODEL, worse).tags["promotion_forced"] == "the other leaks"


def test_rolling_back_is_one_command(project):
    folder, client = project
    good, better = (add_version(client, folder, share) for share in (0.5, 0.8))
    for version in (good, better):
        promote(folder / "params.yaml", int(version))
    code, said = command(folder, "--rollback")
    assert (code, champion(client)) == (0, good)
    assert f"version {good} is champion again" in said
    assert "rolled_back_at" in client.get_model_version(MODEL, better).tags
    with pytest.raises(InputError, match=f"version {good} does not record"):
        rollback(folder / "params.yaml")


def test_what_is_recorded_is_of_the_last_promotion(project):
    folder, client = project
    worse, version = (add_version(client, folder, share) for share in (0.5, 0.8))
    promote(folder / "params.yaml", int(worse))
    promote(folder / "params.yaml", int(version), "an emergency")
    rollback(folder / "params.yaml")
    assert {"promotion_forced", "rolled_back_at"} <= set(client.get_model_version(MODEL, version).tags)
    promote(folder / "params.yaml", int(version))
    assert not {"promotion_forced", "rolled_back_at"} & set(client.get_model_version(MODEL, version).tags)


def test_figures_that_may_know_their_test_need_a_person(project):
    folder, client = project
    claim = CLAIM["honest"]
    good = add_version(client, folder, 0.5, {**RAVDESS, "claim": claim})
    leaky = add_version(client, folder, 0.9, {**RAVDESS, "claim": claim + UNKNOWN})
    tuned = add_version(client, folder, 0.8, {**RAVDESS, "claim": claim + TUNED})
    promote(folder / "params.yaml", int(good))
    with pytest.raises(InputError, match="may have been trained on its own test actors"):
        promote(folder / "params.yaml", int(leaky))
    assert champion(client) == good
    said = promote(folder / "params.yaml", int(tuned))
    assert f"its figures: {claim + TUNED}; those of version {good}: {claim}" in said
    promote(folder / "params.yaml", int(leaky), "nothing else is there")
    assert champion(client) == leaky


def test_the_synthetic_never_replaces_the_real(project):
    folder, client = project
    real, synthetic = add_version(client, folder, 0.3), add_version(client, folder, 1.0, SYNTHETIC)
    promote(folder / "params.yaml", int(synthetic))
    assert "was of the synthetic sample corpus" in promote(folder / "params.yaml", int(real))
    for reason in ("", "I want to"):
        with pytest.raises(InputError, match="not even --force helps"):
            promote(folder / "params.yaml", int(synthetic), reason)
    with pytest.raises(InputError, match="can't replace one of RAVDESS"):
        rollback(folder / "params.yaml")
    assert champion(client) == real


@pytest.mark.parametrize(
    ("tags", "folds", "what"),
    [
        ({**RAVDESS, "dataset_digest": "two"}, 3, "data"),
        ({**RAVDESS, "protocol": "published"}, 3, "protocol"),
        (RAVDESS, 2, "folds"),
    ],
)
def test_what_was_not_tested_alike_is_not_compared(project, tags, folds, what):
    folder, client = project
    good, other = add_version(client, folder, 0.5), add_version(client, folder, 0.9, tags, folds)
    promote(folder / "params.yaml", int(good))
    with pytest.raises(InputError, match=f"differ in their {what}"):
        promote(folder / "params.yaml", int(other))
    assert champion(client) == good


def test_a_version_without_predictions_or_half_registered_is_refused(project):
    folder, client = project
    good, other = (add_version(client, folder, share) for share in (0.5, 0.9))
    promote(folder / "params.yaml", int(good))
    run = client.get_model_version(MODEL, other).run_id
    (folder / "mlartifacts" / run / "artifacts" / "plots" / "predictions.csv").unlink()
    with pytest.raises(InputError, match=r"plots/predictions\.csv of the run of version \d+ can't be read"):
        promote(folder / "params.yaml", int(other))
    client.delete_model_version_tag(MODEL, other, "registration")
    with pytest.raises(InputError, match="was interrupted"):
        promote(folder / "params.yaml", int(other))


def test_bad_input_is_a_sentence(project, tmp_path):
    folder, client = project
    only = add_version(client, folder, 0.5)
    code, said = command(folder, "--version", "999")
    assert code == 2
    assert "there is no version 999 of cfn-sr; there are 1" in said
    code, said = command(folder, "--rollback")
    assert code == 2
    assert "cfn-sr has no champion, so there is nothing to roll back" in said
    promote(folder / "params.yaml", int(only))
    with pytest.raises(InputError, match="it is the champion already"):
        promote(folder / "params.yaml", int(only))
    code, said = command(tmp_path, "--version", "1")
    assert "params.yaml is not here" in said


def test_an_empty_registry_says_how_to_fill_it(tmp_path, monkeypatch):
    (tmp_path / "params.yaml").write_text("profile: small\nsmall:\n  dataset: {source: sample}\n")
    with pytest.raises(InputError, match="has no model cfn-sr; train one first"):
        promote(tmp_path / "params.yaml", 1)
    assert not (tmp_path / "mlflow.db").exists()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    with pytest.raises(InputError, match=r"the MLflow server http://127.0.0.1:1 does not answer"):
        promote(tmp_path / "params.yaml", 1)


def test_two_promotions_at_once_end_with_the_better_one(project):
    """Whoever comes first: the second is judged against the first's version, not against the champion of before."""
    folder, client = project
    good, better, best = (add_version(client, folder, share) for share in (0.4, 0.6, 0.8))
    promote(folder / "params.yaml", int(good))
    both = [start(folder, "--version", version) for version in (better, best)]
    for process in both:
        process.communicate(timeout=120)
    assert champion(client) == best
    previous = client.get_model_version(MODEL, best).tags["previous_champion"]
    assert previous == (better if both[0].returncode == 0 else good)
