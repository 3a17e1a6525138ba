"""Trainings that are killed, and folds that are trained side by side, in processes of their own."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pandas as pd
import psutil
import pytest
import torch
from helpers.feature_files import write_features, write_params
from helpers.mlflow_runs import runs
from helpers.paths import PROJECT
from helpers.running_programs import interruptible, wait_for
from safetensors.torch import load_file

from cfnsr.config.load import Settings


def start(settings: Settings, stderr: int = subprocess.DEVNULL, **variables: str) -> subprocess.Popen:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **variables}
    command = [sys.executable, "-m", "components.train", "--params", str(settings.layout.root / "params.yaml")]
    return subprocess.Popen(
        command, cwd=PROJECT, env=environment, stdout=subprocess.DEVNULL, stderr=stderr, text=stderr == subprocess.PIPE
    )


def endless(root: Path, **train: int) -> Settings:
    """The settings of a training that does not end by itself, and its features."""
    phase = {"epochs": 5000, "batch_size": 8, "lr": 0.003}
    settings = write_params(root, model={"modality": "audio"}, train={"pretrain": {"audio": phase}, **train})
    write_features(settings)
    return settings


def wait_until_trained(process: subprocess.Popen, settings: Settings, folds: int) -> None:
    """Wait until as many folds have a checkpoint."""
    wait_for(process, lambda: len(list(settings.layout.run.glob("fold-*/audio/last.ckpt"))) == folds)


def workers_of(process: subprocess.Popen) -> list[psutil.Process]:
    return [child for child in psutil.Process(process.pid).children() if "spawn_main" in " ".join(child.cmdline())]


@pytest.mark.proof
def test_the_processes_of_folds_end_with_the_one_that_started_them(tmp_path):
    """Otherwise the next start would train the same folds beside them."""
    settings = endless(tmp_path, fold_workers=2)
    process = start(settings)
    wait_until_trained(process, settings, 2)
    workers = workers_of(process)
    assert len(workers) == 2
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert psutil.wait_procs(workers, timeout=30)[1] == []


@pytest.mark.proof
def test_a_killed_process_of_a_fold_is_reported(tmp_path):
    settings = endless(tmp_path, folds=1, fold_workers=2)
    process = start(settings, stderr=subprocess.PIPE)
    wait_until_trained(process, settings, 1)
    (worker,) = workers_of(process)
    worker.kill()
    _, said = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "the process that trained fold 0 was killed" in said
    assert "Traceback" not in said


@pytest.mark.proof
def test_ctrl_c_ends_folds_side_by_side_and_their_processes(tmp_path):
    settings = endless(tmp_path, fold_workers=2)
    with interruptible():
        process = start(settings)
    wait_until_trained(process, settings, 2)
    children = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) != 0
    assert psutil.wait_procs(children, timeout=60)[1] == []
    assert not (settings.layout.run / "fold-2").exists()


@pytest.mark.slow
@pytest.mark.parametrize("workers", [pytest.param(1, marks=pytest.mark.proof), 2])
def test_sigterm_ends_a_training_in_order(tmp_path, workers):
    settings = endless(tmp_path, fold_workers=workers)
    process = start(settings, stderr=subprocess.PIPE)
    wait_until_trained(process, settings, workers)
    children = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGTERM)
    _, output = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    assert "stopped: run the same command again" in output
    assert "Traceback" not in output
    assert psutil.wait_procs(children, timeout=60)[1] == []
    assert runs(settings)[0].info.status == "KILLED"


@pytest.mark.proof
def test_folds_side_by_side_end_as_folds_one_after_the_other(tmp_path):
    settings = {}
    for workers in (1, 2):
        (tmp_path / str(workers)).mkdir()
        settings[workers] = write_params(tmp_path / str(workers), train={"folds": 2, "fold_workers": workers})
        write_features(settings[workers])
        assert start(settings[workers], CFNSR_WORKERS="2").wait(timeout=300) == 0
    _, children = runs(settings[2])
    assert {run.info.run_name for run in children} == {"fold-0", "fold-1"}
    assert {run.info.status for run in children} == {"FINISHED"}
    for index in range(2):
        folders = [each.layout.run / f"fold-{index}" for each in settings.values()]
        pd.testing.assert_frame_equal(*(pd.read_csv(folder / "predictions.csv") for folder in folders))


@pytest.mark.slow
def test_a_killed_run_continues_and_ends_as_if_it_had_not_been_killed(tmp_path):
    settings = {}
    for name in ("killed", "whole"):
        (tmp_path / name).mkdir()
        long = {"epochs": 6, "batch_size": 8, "optimizer": "adamw", "lr": 0.003}  # long enough to be hit
        long |= {"schedule": "cosine", "warmup": 0.2, "ema": 0.9, "mixup": 0.2, "modality_dropout": 0.3}
        settings[name] = write_params(tmp_path / name, train={"folds": 2, "fusion": long, "smooth_epochs": 3})
        write_features(settings[name])
    assert start(settings["whole"]).wait(timeout=300) == 0

    folder = settings["killed"].layout.run
    process = start(settings["killed"])
    # In the middle of the second fold's last phase.
    wait_for(process, lambda: (folder / "fold-1" / "fusion" / "last.ckpt").exists())
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (folder / "fold-1" / "fold.json").exists()
    finished = (folder / "fold-0" / "fold.json").stat().st_mtime_ns

    assert start(settings["killed"]).wait(timeout=300) == 0
    assert (folder / "fold-0" / "fold.json").stat().st_mtime_ns == finished  # not trained again
    for index in range(2):
        folders = [each.layout.run / f"fold-{index}" for each in settings.values()]
        pd.testing.assert_frame_equal(*(pd.read_csv(each / "predictions.csv") for each in folders))
        ours, theirs = (load_file(each / "model.safetensors") for each in folders)
        assert ours.keys() == theirs.keys()
        assert [name for name, weight in ours.items() if not torch.equal(weight, theirs[name])] == []
    _, children = runs(settings["killed"])
    assert len(children) == 2  # the second start continued the same MLflow runs
