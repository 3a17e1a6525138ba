"""The flow in this process, on a small set of features: bad input ends with its sentence, not with a stack."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.feature_files import write_features, write_params
from helpers.paths import PROJECT

from cfnsr.config.load import load_settings
from components import train

PHASE = {"epochs": 1, "batch_size": 8, "lr": 0.003}
SHORT = {"pretrain": {"audio": PHASE, "video": PHASE}, "fusion": PHASE}


def run_flow(root: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pipelines.train", "--params", str(root / "params.yaml")]
    environment = {**os.environ, "PREFECT_HOME": str(root / "prefect"), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        command, cwd=PROJECT, env=environment, capture_output=True, text=True, timeout=900, check=False
    )


def test_too_few_actors_end_with_a_sentence_and_exit_code_2(tmp_path):
    write_features(write_params(tmp_path, train={"folds": 4}))
    done = run_flow(tmp_path)
    assert done.returncode == 2
    sentence = "4 folds of 2 test actors need 8 actors, but only 6 have usable clips"
    assert f"error: {sentence}" in done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_an_error_in_all_folds_ends_with_their_sentences(tmp_path):
    phase = {**PHASE, "lr": 1e30, "optimizer": "adam"}
    write_features(write_params(tmp_path, train={"pretrain": {"audio": phase, "video": phase}, "fusion": phase}))
    done = run_flow(tmp_path)
    assert done.returncode == 2
    assert "error: 3 of 3 folds failed: fold 0: the training loss became" in done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_a_prefect_server_that_is_away_is_a_sentence(tmp_path, monkeypatch):
    write_params(tmp_path)
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:1/api")
    done = run_flow(tmp_path)
    assert done.returncode == 2
    assert "the Prefect server does not answer (Failed to reach API at http://127.0.0.1:1/api/)" in done.stderr
    assert done.stderr.rstrip().splitlines()[-1].startswith("error: ")


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_a_fold_that_fails_does_not_lose_the_others(tmp_path, workers):
    """Something lies where the second fold keeps its files; when it is gone, only this fold is trained."""
    settings = write_params(tmp_path, train={**SHORT, "fold_workers": workers})
    write_features(settings)
    train.plan(load_settings(settings.params_file))
    folds = [train.fold_folder(settings, index) / "fold.json" for index in range(3)]
    folds[1].parent.write_text("in the way")
    done = run_flow(tmp_path)
    assert done.returncode == 2, done.stderr
    assert "error: 1 of 3 folds failed: fold 1: " in done.stderr
    assert "The same command trains only these again." in done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    finished = {index: folds[index].stat().st_mtime_ns for index in (0, 2)}

    folds[1].parent.unlink()
    done = run_flow(tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "registered as cfn-sr version 1" in done.stdout + done.stderr
    assert {index: folds[index].stat().st_mtime_ns for index in (0, 2)} == finished
