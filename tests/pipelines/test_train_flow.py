"""The flow `train-cfnsr` with Prefect's own temporary server, on a small set of features."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.feature_files import write_features, write_params
from helpers.paths import PROJECT

PHASE = {"epochs": 1, "batch_size": 8, "lr": 0.003}
SHORT = {"pretrain": {"audio": PHASE, "video": PHASE}, "fusion": PHASE}
CODE = """
import sys
from pathlib import Path
from pipelines.train import train_cfnsr
train_cfnsr(update=False, params_file=Path(sys.argv[1]))
"""


def run_flow(root: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PREFECT_HOME": str(root / "prefect"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", CODE, str(root / "params.yaml")]
    return subprocess.run(
        command, cwd=PROJECT, env=environment, capture_output=True, text=True, timeout=900, check=False
    )


@pytest.mark.proof
def test_a_fold_that_fails_does_not_lose_the_others(tmp_path):
    """A file occupies the place of the second fold's folder; once it is gone, only this fold is trained."""
    settings = write_params(tmp_path, train={**SHORT, "fold_workers": 2})
    write_features(settings)
    folds = [settings.layout.run / f"fold-{index}" / "fold.json" for index in range(3)]
    blocked = run_flow_with_blocked_fold(tmp_path, folds[1].parent)
    assert blocked.returncode != 0
    assert "1 of 3 folds failed: fold 1: " in blocked.stderr
    finished = {index: folds[index].stat().st_mtime_ns for index in (0, 2)}

    folds[1].parent.unlink()
    done = run_flow(tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "registered as cfn-sr version 1" in done.stdout + done.stderr
    assert {index: folds[index].stat().st_mtime_ns for index in (0, 2)} == finished


def run_flow_with_blocked_fold(root: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """A first flow run that stops early gives the run its folder, which belongs to these settings and this code."""
    code = (
        "import sys; from pathlib import Path; from cfnsr.config.load import load_settings\n"
        "from components import train; from components.run import Run\n"
        "train.prepare(Run.open(load_settings(Path(sys.argv[1]))))"
    )
    subprocess.run([sys.executable, "-c", code, str(root / "params.yaml")], cwd=PROJECT, check=True)
    folder.write_text("in the way")
    return run_flow(root)
