"""The flow in this process, on a small set of features: bad input ends with its sentence, not with a stack."""

import os
import subprocess
import sys
from pathlib import Path

from feature_files import write_features, write_params

ROOT = Path(__file__).resolve().parents[2]


def run_flow(root: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pipelines.train", "--params", str(root / "params.yaml")]
    environment = {**os.environ, "PREFECT_HOME": str(root / "prefect")}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False)


def test_too_few_actors_end_with_a_sentence_and_exit_code_2(tmp_path):
    write_features(write_params(tmp_path, train={"folds": 4}))
    done = run_flow(tmp_path)
    assert done.returncode == 2
    sentence = "4 folds of 2 test actors need 8 actors, but only 6 have usable clips"
    assert f"error: {sentence}" in done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_an_error_in_a_fold_ends_with_its_sentence(tmp_path):
    phase = {"epochs": 1, "batch_size": 8, "lr": 1e30, "optimizer": "adam"}
    write_features(write_params(tmp_path, train={"pretrain": {"audio": phase, "video": phase}, "fusion": phase}))
    done = run_flow(tmp_path)
    assert done.returncode == 2
    assert "error: the training loss became" in done.stderr
    assert "Traceback" not in done.stdout + done.stderr
