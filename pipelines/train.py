"""Flow `train-cfnsr`: bring the data up to date, train the folds, evaluate and register, each as a task.

How folds are trained is known to `components.train`; this flow adds retries, progress and artifacts.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import pipelines.local.prefect_setup  # isort: skip  # noqa: F401  before Prefect
from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State

from cfnsr.config.load import Settings
from cfnsr.corpus.folds import Fold
from cfnsr.registry import ServerAwayError, server_needed
from cfnsr.training.result import FoldResult
from components import evaluate, train
from components.register import ALIAS, register
from components.request import requested_folds, requested_settings
from components.run import Run
from components.tracking.runs import REGISTERED_MODEL
from pipelines import data
from pipelines.reports import Progress, publish_report

BACK_OFF = [5.0, 20.0, 60.0]
"""Seconds between the attempts of a task that needs the tracking server."""


def _server_is_away(_: Any, __: Any, state: State[Any]) -> bool:
    """Only a server that does not answer is worth another attempt."""
    return isinstance(state.result(raise_on_failure=False), ServerAwayError)


RETRY_POLICY: dict[str, Any] = {
    "retries": len(BACK_OFF),
    "retry_delay_seconds": BACK_OFF,
    "retry_condition_fn": _server_is_away,
    "cache_policy": NO_CACHE,
}


@task(task_run_name="update data", cache_policy=NO_CACHE)
def update_data(settings: Settings) -> None:
    """Bring the data stages up to date."""
    data.update_data(settings, get_run_logger())


@task(task_run_name="prepare", **RETRY_POLICY)
def prepare_run(run: Run) -> None:
    """Check that the run is possible and describe it to MLflow."""
    with server_needed(run.settings.layout.root):
        train.prepare(run)


@task(task_run_name="train fold {fold.index}", cache_policy=NO_CACHE)
def train_fold(run: Run, fold: Fold) -> FoldResult:
    """Train one fold; a finished one returns at once."""
    return train.train_fold_apart(run, fold)


@task(task_run_name="evaluate", **RETRY_POLICY)
def evaluate_run(run: Run) -> dict[str, Any]:
    """Pool the folds' test predictions. Returns the content of metrics/<profile>.json."""
    with server_needed(run.settings.layout.root):
        return evaluate.evaluate(run)


@task(task_run_name="register", **RETRY_POLICY)
def register_run(run: Run) -> int:
    """Register the best fold's network. Returns the version."""
    with server_needed(run.settings.layout.root):
        return register(run)


@flow(name="train-cfnsr", flow_run_name="train", log_prints=True)
def train_cfnsr(
    profile: str | None = None,
    overrides: dict[str, Any] | None = None,
    protocol: Literal["honest", "published"] | None = None,
    folds: list[int] | None = None,
    seed: int | None = None,
    register_model: bool = True,
    update: bool = True,
    params_file: Path = Path("params.yaml"),
) -> int | None:
    """Train the folds of a profile, evaluate them and register the network of the best one.

    A fold that fails does not stop the others. A run that is started again does only what is not finished.

    Args:
        profile: None for the one that params.yaml names.
        overrides: values in place of those in params.yaml, by key below `model` and `train`, such as
            `{"train.fusion.lr": 3e-4}`.
        protocol: the override `train.protocol`.
        folds: numbers of the folds to train, from 0; None for all. A run is evaluated once all its folds are finished.
        seed: the override `train.seed`.
        register_model: register the network as a version of the model.
        update: bring the data stages up to date first.
        params_file: the settings; its folder is the project's root.

    Returns:
        The registered version; None if there is none.
    """
    settings = requested_settings(params_file, profile, overrides, protocol, seed)
    if update:
        update_data(settings)
    run = Run.open(settings)
    wanted = requested_folds(run.folds, folds)
    with train.exclusive(settings):
        prepare_run(run)
        train.train_folds(run, wanted, _with_progress(len(wanted)))
        if missing := run.missing_folds():
            print(f"not evaluated: the folds {', '.join(map(str, missing))} are not trained yet")
            return None
        figures = evaluate_run(run)
        version = register_run(run) if register_model else None
        publish_report(run, figures, version)
    if version is not None:
        print(f"registered as {REGISTERED_MODEL} version {version}, alias {ALIAS!r}")
    return version


def _with_progress(folds: int) -> train.FoldTrainer:
    """Trains a fold as a task, and advances the flow run's progress bar."""
    progress = Progress(folds)

    def train_one(run: Run, fold: Fold) -> FoldResult:
        result = train_fold(run, fold)
        progress.advance()
        return result

    return train_one
