"""The search in this process, on a small set of features, with a real study and a real MLflow database."""

import json
import os
import subprocess
import sys
from pathlib import Path

import mlflow
import pytest
from helpers.feature_files import write_features, write_params
from helpers.paths import PROJECT

EPOCH = {"epochs": 1, "batch_size": 8, "lr": 0.003}
PHASE = {"epochs": 2, "batch_size": 8, "optimizer": "adamw", "lr": 0.003}
TRAIN = {"folds": 2, "pretrain": {"audio": EPOCH, "video": EPOCH}, "fusion": PHASE}
SEARCH = {"train.fusion.lr": {"kind": "float", "low": 1e-4, "high": 1e-2, "log": True}}
RUN = "from pathlib import Path; from pipelines.tune import tune_cfnsr; tune_cfnsr({arguments})"


def tune(root: Path, **arguments: object) -> subprocess.CompletedProcess[str]:
    words = {"update": False, "params_file": root / "params.yaml", **arguments}
    code = RUN.format(arguments=", ".join(f"{name}={value!r}" for name, value in words.items())).replace("Posix", "")
    environment = {**os.environ, "PREFECT_HOME": str(root / "prefect"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", code]
    return subprocess.run(
        command, cwd=PROJECT, env=environment, capture_output=True, text=True, timeout=600, check=False
    )


def params(root: Path, search: dict = SEARCH, trials: int = 3, **train: object):
    tune = {"trials": trials, "startup_trials": 2, "warmup_epochs": 0, "search": search}
    settings = write_params(root, train={**TRAIN, **train})
    content = (root / "params.yaml").read_text()
    (root / "params.yaml").write_text(content.replace("small:\n", f"small:\n  tune: {json.dumps(tune)}\n", 1))
    return settings


@pytest.mark.proof
def test_a_search_ends_with_plots_and_a_registered_network(tmp_path):
    settings = params(tmp_path)
    write_features(settings)
    done = tune(tmp_path)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    (study,) = (tmp_path / "studies").iterdir()
    best = json.loads((study / "best.json").read_text())
    assert 1e-4 <= best["train.fusion.lr"] <= 1e-2

    client = mlflow.MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    runs = client.search_runs([client.get_experiment_by_name("cfn-sr").experiment_id])
    (parent,) = [run for run in runs if run.info.run_name.startswith("search ")]
    trials = [run for run in runs if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
    assert sorted(run.info.run_name for run in trials) == ["trial 0", "trial 1", "trial 2"]
    scores = [run.data.metrics["validation_accuracy"] for run in trials if "pruned" not in run.data.tags]
    assert parent.data.metrics["validation_accuracy"] == max(scores)
    assert parent.info.status == "FINISHED"
    plots = {item.path for item in client.list_artifacts(parent.info.run_id, "plots")}
    assert plots >= {"plots/history.png", "plots/parallel.png"}

    version = client.get_model_version_by_alias("cfn-sr", "challenger")
    trained = client.get_run(version.run_id)
    assert float(trained.data.params["train.fusion.lr"]) == pytest.approx(best["train.fusion.lr"])
    assert "settings searched on validation speakers" in version.description
    # Weights are of the run that was trained with the best settings; trials leave none.
    weights = {path.relative_to(tmp_path / "runs").parts[0] for path in (tmp_path / "runs").rglob("*.safetensors")}
    assert weights == {trained.info.run_name.split()[1]}

    # More trials of the same study are concluded anew.
    more = tune(tmp_path, trials=4, train_best=False)
    assert more.returncode == 0, more.stdout[-3000:] + more.stderr[-3000:]
    assert "the best of 4 trials" in more.stdout + more.stderr
    best = json.loads((study / "best.json").read_text())
    scores = {
        run.data.params["train.fusion.lr"]: run.data.metrics["validation_accuracy"]
        for run in client.search_runs([parent.info.experiment_id])
        if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id and "pruned" not in run.data.tags
    }
    assert scores[str(best["train.fusion.lr"])] == max(scores.values())
    assert client.get_run(parent.info.run_id).data.metrics["validation_accuracy"] == max(scores.values())
    assert len(client.search_model_versions("name = 'cfn-sr'")) == 1


@pytest.mark.proof
def test_an_impossible_search_is_refused_before_anything_runs(tmp_path):
    params(tmp_path, {"train.fusion.lrr": {"kind": "float", "low": 1, "high": 2}})
    done = tune(tmp_path)
    assert done.returncode != 0
    assert "small.train.fusion.lrr is not a known key; did you mean 'lr'?" in done.stdout + done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"params.yaml", "prefect"}
