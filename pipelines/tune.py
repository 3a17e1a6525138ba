"""Flow `tune-cfnsr`: search the training settings, then train and register with the best ones.

How a search works is known to `components.tune`; here each trial is a task, and the training at the end is a flow run.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pipelines.local.prefect_setup  # isort: skip  # noqa: F401  before Prefect
import optuna
from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE

from cfnsr.config.load import Settings
from components import tune
from components.request import requested_settings
from components.search.study import SharedStudy
from pipelines.reports import publish_search
from pipelines.train import train_cfnsr, update_data


@flow(name="tune-cfnsr", flow_run_name="tune")
def tune_cfnsr(
    profile: str | None = None,
    trials: int | None = None,
    train_best: bool = True,
    update: bool = True,
    params_file: Path = Path("params.yaml"),
) -> dict[str, object]:
    """Search what `tune.search` names, then train and register with the best settings.

    Args:
        profile: None for the one that params.yaml names.
        trials: how many the study is to have, those of earlier runs included; None for `tune.trials`.
        train_best: train all folds with the best settings and register the network.
        update: bring the data stages up to date first.
        params_file: the settings; its folder is the project's root.

    Returns:
        The best trial's overrides.
    """
    settings = requested_settings(params_file, profile, trials=trials)
    tune.check_space(settings)
    if update:
        update_data(settings)

    def train_with(overrides: dict[str, Any]) -> None:
        train_cfnsr(settings.profile, overrides, update=False, params_file=settings.params_file)

    return tune.tune(settings, _as_task, train_with if train_best else None, _report)


@task(task_run_name="trial {number}", cache_policy=NO_CACHE)
def run_trial(number: int, settings: Settings, trial: optuna.Trial, study_run: str) -> float | None:
    """Train the folds of a trial. Returns the mean of their scores; None if it was pruned."""
    return tune.run_trial(settings, trial, study_run)


def _as_task(settings: Settings, trial: optuna.Trial, study_run: str) -> float | None:
    return run_trial(trial.number, settings, trial, study_run)


def _report(shared: SharedStudy, folder: Path) -> None:
    study = shared.study
    get_run_logger().info("the best of %d trials: %s; plots in %s", len(study.trials), study.best_params, folder)
    publish_search(study, folder)
