"""Trials as they are trained: pruned when they fall behind, continued after a kill."""

import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import mlflow
import optuna
import pytest
import torch
import yaml
from helpers.feature_files import PROFILE, write_features
from helpers.paths import PROJECT
from helpers.running_programs import kill, running, wait_for
from optuna.trial import TrialState

from cfnsr.config.load import Settings, load_settings
from cfnsr.errors import InputError
from cfnsr.training.result import CHOICE
from components import tune
from components.search.pruning import PruningCallback
from components.search.study import first_number

EPOCH = {"epochs": 1, "batch_size": 8, "lr": 0.003}
PHASE = {"epochs": 3, "batch_size": 8, "lr": 0.003}
TRAIN = {**PROFILE["train"], "folds": 2, "pretrain": {"audio": EPOCH, "video": EPOCH}, "fusion": PHASE}
LEARNING_RATE = {"train.fusion.lr": {"kind": "float", "low": 1e-4, "high": 1e-2, "log": True}}


def project(root: Path, search: dict = LEARNING_RATE, modality: str = "both", **tune_settings: int) -> Settings:
    tuned = {"startup_trials": 2, "warmup_epochs": 0, "search": search, **tune_settings}
    model = {**PROFILE["model"], "modality": modality}
    content = {"profile": "small", "small": {**PROFILE, "model": model, "train": TRAIN, "tune": tuned}}
    (root / "params.yaml").write_text(yaml.safe_dump(content))
    return load_settings(root / "params.yaml")


@pytest.mark.parametrize(
    ("search", "modality", "message"),
    [
        ({}, "both", "small.tune.search in params.yaml is empty"),
        ({"faces.size": {"kind": "int", "low": 32, "high": 64}}, "both", "faces.size can't differ between runs"),
        ({"train.fusion.lrr": {"kind": "float", "low": 1, "high": 2}}, "both", "train.fusion.lrr is not a known key"),
        ({"train.fusion.lr": {"kind": "float", "low": -1, "high": 2}}, "both", "small.train.fusion.lr is -1"),
        (
            {"train.protocol": {"kind": "categorical", "choices": ["honest", "published"]}},
            "both",
            "test speakers would",
        ),
        (LEARNING_RATE, "audio", r"train\.fusion\.lr .*model\.modality audio"),
    ],
)
def test_an_impossible_search_space_is_refused(tmp_path, search, modality, message):
    with pytest.raises(InputError, match=message):
        tune.check_space(project(tmp_path, search, modality))


def test_a_key_may_have_an_effect_in_some_trials_only(tmp_path):
    modality = {"kind": "categorical", "choices": ["audio", "both"]}
    tune.check_space(project(tmp_path, {**LEARNING_RATE, "model.modality": modality}, "audio"))


def test_a_step_is_the_same_epoch_of_the_same_fold_in_all_trials(tmp_path):
    settings = project(tmp_path, {"train.fusion.epochs": {"kind": "int", "low": 2, "high": 7}})
    short = load_settings(settings.params_file, overrides={"train.fusion.epochs": 2})
    assert tune._longest_phase(short) == 7
    choices = {"train.fusion.epochs": {"kind": "categorical", "choices": [9, 4]}}
    assert tune._longest_phase(project(tmp_path, choices)) == 9
    assert tune._longest_phase(project(tmp_path)) == PHASE["epochs"]


def test_another_search_space_is_another_study_and_more_trials_are_not(tmp_path):
    write_features(project(tmp_path))
    studies = [tune.open_study(project(tmp_path, trials=trials)).folder for trials in (3, 9)]
    wider = {"train.fusion.lr": {**LEARNING_RATE["train.fusion.lr"], "high": 0.1}}
    assert studies[0] == studies[1] != tune.open_study(project(tmp_path, wider)).folder


@pytest.mark.slow
def test_a_trial_that_falls_behind_is_pruned_within_a_fold(tmp_path):
    settings = project(tmp_path, trials=3)
    write_features(settings)
    shared = tune.open_study(settings)
    perfect = {
        "value": 1.0,
        "intermediate_values": dict.fromkeys(range(6), 1.0),
        "params": {"train.fusion.lr": 1e-3},
        "distributions": {"train.fusion.lr": optuna.distributions.FloatDistribution(1e-4, 1e-2, log=True)},
    }
    for _ in range(2):
        shared.study.add_trial(optuna.create_trial(**perfect))
    assert tune.search(settings, shared) == {"train.fusion.lr": 1e-3}
    trial = shared.study.trials[-1]
    assert trial.state == TrialState.PRUNED
    assert list(trial.intermediate_values) == [0]  # one epoch, which was not perfect

    client = mlflow.MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    runs = client.search_runs([client.get_experiment_by_name("cfn-sr").experiment_id])
    (run,) = [run for run in runs if run.info.run_name == "trial 2"]
    assert (run.info.status, run.data.tags["pruned"]) == ("KILLED", "in fold 0")
    folds = [run for run in runs if run.info.run_name.startswith("fold-")]
    assert [run.info.status for run in folds] == ["KILLED"] * 2  # none is left as if it were running
    assert not [path for pattern in ("*.safetensors", "*.ckpt") for path in (tmp_path / "runs").rglob(pattern)]


def test_a_study_whose_run_was_deleted_gets_another(tmp_path):
    settings = project(tmp_path, trials=1)
    write_features(settings)
    shared = tune.open_study(settings)
    best = tune.search(settings, shared, lambda *_: 0.5)
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    experiment = client.get_experiment_by_name("cfn-sr").experiment_id
    (run,) = client.search_runs([experiment])
    client.delete_run(run.info.run_id)  # in the UI
    folder = tune.finish(settings, shared, best)
    assert json.loads((folder / "best.json").read_text()) == {**best, "train.tuned": True}
    (other,) = client.search_runs([experiment])
    assert other.data.metrics["validation_accuracy"] == 0.5
    assert other.info.run_id != run.info.run_id


def test_a_trial_that_runs_out_of_memory_does_not_end_the_search(tmp_path):
    settings = project(tmp_path, trials=3)
    write_features(settings)
    shared = tune.open_study(settings)

    def run(_: Settings, trial: optuna.Trial, __: str) -> float:
        if trial.number == 0:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return trial.number / 10

    tune.search(settings, shared, run)
    assert [trial.value for trial in shared.study.trials] == [None, 0.1, 0.2]


def test_the_best_score_of_a_fold_survives_a_kill():
    trial = optuna.create_study(direction="maximize").ask()
    before, after = (PruningCallback(trial, [0.5], longest=10) for _ in range(2))
    before.on_train_epoch_end(SimpleNamespace(current_epoch=0, callback_metrics={CHOICE: 0.75}), None)
    after.load_state_dict(before.state_dict())
    after.on_train_epoch_end(SimpleNamespace(current_epoch=1, callback_metrics={CHOICE: 0.25}), None)
    assert trial.study.trials[0].intermediate_values == {10: 0.625, 11: 0.625}


@pytest.mark.slow
def test_a_killed_search_continues_in_the_same_fold(tmp_path):
    settings = project(tmp_path, trials=1)
    write_features(settings)
    code = (
        "from cfnsr.config.load import load_settings; from components import tune; from pathlib import Path\n"
        f"settings = load_settings(Path({str(settings.params_file)!r}))\n"
        "tune.search(settings, tune.open_study(settings))"
    )
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with running([sys.executable, "-c", code], cwd=PROJECT, env=environment) as worker:
        wait_for(worker, lambda: bool(list((tmp_path / "runs").glob("*/fold-1/audio/last.ckpt"))))
        kill(worker)
    (first_fold,) = (tmp_path / "runs").glob("*/fold-0/fold.json")
    finished = first_fold.stat().st_mtime_ns

    shared = tune.open_study(settings)
    tune.search(settings, shared)
    lost, again = shared.study.trials
    assert (lost.state, again.state) == (TrialState.FAIL, TrialState.COMPLETE)
    assert (first_number(again), again.params) == (lost.number, lost.params)
    assert first_fold.stat().st_mtime_ns == finished
    assert len(list((tmp_path / "runs").glob("small-tune-*/fold-*"))) == 2
