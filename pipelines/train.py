"""Flow `train-cfnsr`: the one place that knows how training is done.

The DVC stage `train` runs it in this process (`python -m pipelines.train`).
"""

from __future__ import annotations

from pathlib import Path

import pipelines.prefect_setup  # isort: skip  # noqa: F401  before Prefect
from prefect import flow, task

from cfnsr.config import Settings, load_settings
from cfnsr.folds import Fold
from components import evaluate, register, train
from components.runner import run_step
from components.tracking import RunTracker


@task(task_run_name="train fold {fold.index}")
def train_fold(settings: Settings, fold: Fold) -> float:
    """Train one fold; a finished one returns at once. Returns its validation accuracy."""
    return train.train_one(settings, fold).selection_accuracy


@task(task_run_name="evaluate")
def evaluate_run(settings: Settings) -> float:
    """Pool the folds' test predictions. Returns the accuracy."""
    return float(evaluate.evaluate(settings)["pooled"]["accuracy"])


@task(task_run_name="register")
def register_run(settings: Settings) -> int:
    """Register the best fold's network. Returns the version."""
    return register.register(settings)


@flow(name="train-cfnsr", flow_run_name="train")
def train_cfnsr(params_file: Path = Path("params.yaml"), profile: str | None = None) -> int:
    """Train all folds of a profile, evaluate them and register the best one's network.

    Args:
        params_file: the settings; the folder it lies in is the project's root.
        profile: None takes the one the file names.

    Returns:
        The registered version.
    """
    settings = load_settings(params_file, profile)
    with train.exclusive(settings):
        folds = train.plan(settings)
        tracker = RunTracker(settings)
        with tracker.running(tracker.parent()):
            for fold in folds:
                train_fold(settings, fold)
            evaluate_run(settings)
            version = register_run(settings)
    print(f"registered as cfn-sr version {version}, alias {register.ALIAS!r}")
    return version


def train_here(settings: Settings) -> None:
    """Run the flow in this process."""
    train_cfnsr(settings.params_file, settings.profile)


if __name__ == "__main__":
    run_step(train_here, __doc__)
