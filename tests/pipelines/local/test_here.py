"""Flows in a process of their own, which is killed while they train: nothing of it is left running."""

import os
import signal
import sys
from pathlib import Path

import psutil
import pytest
from helpers.feature_files import write_features, write_params
from helpers.mlflow_runs import runs
from helpers.paths import PROJECT
from helpers.running_programs import DEADLINE, running, wait_for

from cfnsr.config.load import Settings

LONG = {"epochs": 5000, "batch_size": 8, "lr": 0.003}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    settings = write_params(tmp_path, train={"folds": 2, "pretrain": {"audio": LONG, "video": LONG}, "fusion": LONG})
    write_features(settings)
    return settings


def training(settings: Settings):
    root = settings.layout.root
    variables = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "MLFLOW_"))}
    environment = {**variables, "PREFECT_HOME": str(root / "prefect"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "pipelines.train", "--params", str(settings.params_file)]
    return running(command, cwd=PROJECT, env=environment, start_new_session=True)


def wait_until_it_trains(program, settings: Settings) -> list[psutil.Process]:
    """Returns all that it has started."""
    wait_for(program, lambda: any(settings.layout.run.rglob("*.ckpt")))
    started = psutil.Process(program.pid).children(recursive=True)
    assert any("prefect server start" in " ".join(process.cmdline()) for process in started)
    return started


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "send", "workers", "code"),
    [
        pytest.param(signal.SIGTERM, os.kill, 1, 143, id="kill"),
        pytest.param(signal.SIGTERM, os.kill, 2, 143, id="kill, folds side by side"),
        pytest.param(signal.SIGTERM, os.killpg, 1, 143, id="timeout"),
        pytest.param(signal.SIGTERM, os.killpg, 2, 143, id="timeout, folds side by side"),
        pytest.param(signal.SIGINT, os.killpg, 1, 1, id="Ctrl-C in a terminal"),
    ],
)
def test_what_ends_a_training_ends_its_prefect_server(settings, number, send, workers, code):
    text = settings.params_file.read_text()
    settings.params_file.write_text(text.replace("    folds: 2\n", f"    folds: 2\n    fold_workers: {workers}\n"))
    with training(settings) as program:
        started = wait_until_it_trains(program, settings)
        send(program.pid, number)
        said = program.communicate(timeout=DEADLINE)[0]
    assert program.returncode == code, said
    assert "\nstopped: run the same command again, it goes on from there.\n" in said, said
    assert "Traceback" not in said
    assert not psutil.wait_procs(started, timeout=DEADLINE)[1]
    assert "Finished in state Crashed" in said, said  # Prefect still had a server to tell
    parent, _ = runs(settings)
    assert parent.info.status == "KILLED"


@pytest.mark.slow
def test_sigkill_ends_the_prefect_server_too(settings):
    with training(settings) as program:
        started = wait_until_it_trains(program, settings)
        program.kill()
        assert not psutil.wait_procs(started, timeout=DEADLINE)[1]
