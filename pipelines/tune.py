"""Flow `tune-cfnsr`: search the training settings, then train and register with the best ones.

    python -m pipelines.tune [--profile NAME]     here and now, without a server or a worker

Started more than once, the runs work on the same study, and one of them trains at the end. Killed and started again, it
goes on with the study, and with the fold that it was in.
"""

from __future__ import annotations

from pathlib import Path

import pipelines.local.prefect_setup  # isort: skip  # noqa: F401  before Prefect
import optuna
from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE

from cfnsr.config.load import Settings
from cfnsr.registry import server_needed
from components import tune
from components.search.study import SharedStudy
from components.step import run_step
from pipelines.local.here import flow_here
from pipelines.reports import publish_search
from pipelines.request import requested_settings
from pipelines.train import train_cfnsr, update_data

CONCLUDED, TRAINED = "concluded", "trained"
"""The study's attributes with the number of trials that it was last concluded, and its best trained, with."""


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
        profile: None takes the one that params.yaml names.
        trials: how many the study is to have, those of earlier runs included; None for `tune.trials`.
        train_best: train all folds with the best settings and register the network.
        update: bring the data stages up to date first.
        params_file: the settings; the folder it lies in is the project's root.

    Returns:
        The best trial's overrides.
    """
    settings = requested_settings(params_file, profile, trials=trials)
    tune.check_space(settings)
    if update:
        update_data(settings)
    shared = tune.open_study(settings)
    best = tune.search(settings, shared, _as_task)
    with shared.once:
        trials = len(shared.study.trials)
        if shared.study.user_attrs.get(CONCLUDED) != trials:
            _conclude(settings, shared, best)
            shared.study.set_user_attr(CONCLUDED, trials)
        if train_best and shared.study.user_attrs.get(TRAINED) != trials:
            settings.check_file(("model", "train"))  # which are read again there
            overrides = {**best, "train.tuned": True}
            train_cfnsr(settings.profile, overrides, update=False, params_file=settings.params_file)
            shared.study.set_user_attr(TRAINED, trials)
    return best


@task(task_run_name="trial {number}", cache_policy=NO_CACHE)
def run_trial(number: int, settings: Settings, trial: optuna.Trial, study_run: str) -> float | None:
    """Train the folds of a trial. Returns the mean of their scores; None if it was given up."""
    return tune.run_trial(settings, trial, study_run)


def _as_task(settings: Settings, trial: optuna.Trial, study_run: str) -> float | None:
    return run_trial(trial.number, settings, trial, study_run)


def _conclude(settings: Settings, shared: SharedStudy, best: dict[str, object]) -> None:
    """What one worker does when all trials are done."""
    with server_needed(settings.layout.root):
        folder = tune.finish(settings, shared, best)
    get_run_logger().info("the best of %d trials: %s; plots in %s", len(shared.study.trials), best, folder)
    publish_search(shared.study, folder)


def tune_here(settings: Settings) -> None:
    """Run the flow in this process."""
    with flow_here():
        tune_cfnsr(settings.profile, params_file=settings.params_file)


if __name__ == "__main__":
    run_step(tune_here, __doc__)
