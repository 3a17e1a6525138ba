"""Flow `train-cfnsr`: the one place that knows how training is done.

The DVC stage `train` runs it in this process (`python -m pipelines.train`); a deployment runs it on a worker, which
first brings the data up to date.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import pipelines.local.prefect_setup  # isort: skip  # noqa: F401  before Prefect
from prefect import flow, get_run_logger, task
from prefect.client.schemas.objects import State

from cfnsr.config.load import Settings
from cfnsr.corpus.folds import Fold
from cfnsr.errors import InputError, user_message
from cfnsr.registry import ServerAwayError, server_needed
from cfnsr.training.result import FoldResult
from components import evaluate, train
from components.register import ALIAS, register
from components.step import run_step
from components.tracking.runs import REGISTERED_MODEL, RunTracker
from pipelines import data as data_stages
from pipelines.local.here import flow_here
from pipelines.reports import Progress, publish_report
from pipelines.request import requested_folds, requested_settings

BACK_OFF = [5.0, 20.0, 60.0]
"""s between the tries of what needs the tracking server."""


def _server_is_away(_: Any, __: Any, state: State[Any]) -> bool:
    """Only what can pass is tried again."""
    return isinstance(state.result(raise_on_failure=False), ServerAwayError)


@task(task_run_name="update data")
def update_data(settings: Settings) -> None:
    """Bring the data stages up to date."""
    data_stages.update_data(settings, get_run_logger())


@task(task_run_name="plan", retries=len(BACK_OFF), retry_delay_seconds=BACK_OFF, retry_condition_fn=_server_is_away)
def plan_run(settings: Settings) -> list[Fold]:
    """Check that the run is possible and open its MLflow runs. Returns its folds."""
    with server_needed(settings.layout.root):
        return train.plan(settings)


@task(task_run_name="train fold {fold.index}")
def train_fold(settings: Settings, fold: Fold) -> float:
    """Train one fold; a finished one returns at once. Returns its selection accuracy."""
    return train.train_apart(settings, fold).selection_accuracy


@task(task_run_name="evaluate", retries=len(BACK_OFF), retry_delay_seconds=BACK_OFF, retry_condition_fn=_server_is_away)
def evaluate_run(settings: Settings) -> dict[str, Any]:
    """Pool the folds' test predictions. Returns what metrics/<profile>.json holds."""
    with server_needed(settings.layout.root):
        return evaluate.evaluate(settings)


@task(task_run_name="register", retries=len(BACK_OFF), retry_delay_seconds=BACK_OFF, retry_condition_fn=_server_is_away)
def register_run(settings: Settings) -> int:
    """Register the best fold's network. Returns the version."""
    with server_needed(settings.layout.root):
        return register(settings)


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
    """Train the folds of a profile, evaluate them and register the best one's network.

    A fold that fails does not stop the others. A run that is started again goes on with what is not finished.

    Args:
        profile: None takes the one that params.yaml names.
        overrides: keys below `model` and `train` with other values than in params.yaml, such as
            `{"train.fusion.lr": 3e-4}`.
        protocol: the override `train.protocol`.
        folds: numbers of the folds to train, from 0; None for all. A run is evaluated once all its folds are finished.
        seed: the override `train.seed`.
        register_model: make the network a version of the registered model.
        update: bring the data stages up to date first.
        params_file: the settings; the folder it lies in is the project's root.

    Returns:
        The registered version; None if there is none.
    """
    settings = requested_settings(params_file, profile, overrides, protocol, seed)
    wanted = requested_folds(settings, folds)
    if update:
        update_data(settings)
    with train.exclusive(settings):
        planned = plan_run(settings)
        tracker = RunTracker(settings)
        with tracker.running(tracker.parent()):
            _train_all(settings, [fold for fold in planned if fold.index in wanted])
            return _finish(settings, planned, register_model)


def _train_all(settings: Settings, folds: list[Fold]) -> None:
    """Train folds to their end, each as a task.

    Raises:
        InputError: folds failed; all others are finished.
    """
    failures: dict[int, Exception] = {}
    for fold, state in zip(folds, _states(settings, folds), strict=True):
        if not state.is_completed():
            error = state.result(raise_on_failure=False)
            failures[fold.index] = error if isinstance(error, Exception) else RuntimeError(state.message)
    if failures:
        said = [f"fold {index}: {user_message(error) or repr(error)}" for index, error in failures.items()]
        raise InputError(
            f"{len(failures)} of {len(folds)} folds failed: {' '.join(said)} The same command trains only these again."
        )


def _states(settings: Settings, folds: list[Fold]) -> list[State[float]]:
    """How each fold's task ended, `train.fold_workers` of them at a time."""
    progress = Progress(len(folds))

    def one(fold: Fold) -> State[float]:
        state = train_fold(settings, fold, return_state=True)
        if state.is_completed():
            progress.advance()
        return state

    return train.side_by_side(one, folds, settings.params.train.fold_workers)


def _finish(settings: Settings, planned: list[Fold], register_model: bool) -> int | None:
    missing = [fold.index for fold in planned if FoldResult.load(train.fold_folder(settings, fold.index)) is None]
    if missing:
        print(f"not evaluated: the folds {', '.join(map(str, missing))} are not trained yet")
        return None
    figures = evaluate_run(settings)
    version = register_run(settings) if register_model else None
    publish_report(settings, figures, version)
    if version is not None:
        print(f"registered as {REGISTERED_MODEL} version {version}, alias {ALIAS!r}")
    return version


def train_here(settings: Settings) -> None:
    """Run the flow in this process, as a stage of DVC, which has brought the data up to date."""
    with flow_here():
        train_cfnsr(settings.profile, update=False, params_file=settings.params_file)


if __name__ == "__main__":
    run_step(train_here, __doc__, ("model", "train"))
