"""Step `tune`: search the training settings that `tune.search` in params.yaml names, then train with the best ones.

The objective is the mean over folds of the score on the validation speakers, so protocol `published`, which has none,
is refused. No test result is used, but the validation speakers of one fold are test speakers of another: figures of
settings that a search found say so (`train.tuned`). A trial that is worse than the median of the others
at the same epoch of the same fold is pruned.

Started more than once, the processes work on the same study, and one of them trains at the end. Killed and started
again, a search continues the study, and the fold that it was training.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from cfnsr.config.load import Settings
from cfnsr.config.search import Choice, Range
from cfnsr.errors import InputError
from cfnsr.files import write_text
from cfnsr.registry import ServerAwayError, server_needed
from components import train
from components.evaluate import evaluate
from components.register import register
from components.request import check_keys, requested_settings
from components.results import print_table
from components.run import Run
from components.step import run_step
from components.tracking.runs import RunTracker

if TYPE_CHECKING:
    import optuna

    from components.search.study import SharedStudy

STUDY_RUN = "mlflow_run"
STUDY_TOKEN = "mlflow_token"
CONCLUDED = "concluded"
TRAINED = "trained"
"""Attributes of a study: the id of its MLflow run, the token with which it is created, and the number of trials when
last reported and trained."""

TrialRunner = Callable[[Settings, "optuna.Trial", str], float | None]


def tune(
    settings: Settings,
    run_trial: TrialRunner | None = None,
    train_best: Callable[[dict[str, Any]], object] | None = None,
    report: Callable[[SharedStudy, Path], object] | None = None,
) -> dict[str, Any]:
    """Search, then train and register with the best settings.

    Args:
        settings: the profile.
        run_trial: trains one trial; None for the function of that name.
        train_best: trains with the best trial's overrides; None skips that.
        report: called once all trials have ended, with the study and the folder of its plots.

    Returns:
        The best trial's overrides.

    Raises:
        InputError: there is nothing to search, a data stage has not run, or no trial was completed.
    """
    shared = open_study(settings)
    best = search(settings, shared, run_trial)
    with shared.once:
        trials = len(shared.study.trials)
        if shared.study.user_attrs.get(CONCLUDED) != trials:
            with server_needed(settings.layout.root):
                folder = finish(settings, shared, best)
            if report is not None:
                report(shared, folder)
            shared.study.set_user_attr(CONCLUDED, trials)
        if train_best is not None and shared.study.user_attrs.get(TRAINED) != trials:
            train_best({**best, "train.tuned": True})
            shared.study.set_user_attr(TRAINED, trials)
    return best


def open_study(settings: Settings) -> SharedStudy:
    """The study of a profile; other data, settings, code or search space make another one.

    Raises:
        InputError: there is nothing to search, or a data stage has not run.
    """
    from components.search.study import SharedStudy

    check_space(settings)
    made_from = [Run.open(settings).key, settings.params.tune.model_dump(mode="json", exclude={"trials"})]
    digest = hashlib.sha256(json.dumps(made_from, sort_keys=True).encode()).hexdigest()[:6]
    folder = settings.layout.root / "studies" / f"{settings.profile}-tune-{digest}"
    return SharedStudy(folder, settings.params.tune)


def check_space(settings: Settings) -> None:
    """Check both ends of every range.

    Raises:
        InputError: the search space is empty, one of its keys or values is impossible or does nothing, or test speakers
            would choose.
    """
    tune = settings.params.tune
    tried = [settings]
    if not tune.search:
        raise InputError(f"{settings.profile}.tune.search in params.yaml is empty; name the keys to search.")
    for key, space in tune.search.items():
        for value in space.choices if isinstance(space, Choice) else (space.low, space.high):
            tried.append(settings.changed({key: value}))
    check_keys(tune.search, {each.params.model.modality for each in tried}, f"{settings.profile}.tune.search")
    if any(each.params.train.protocol == "published" for each in tried):
        raise InputError(
            "a search needs validation speakers, and protocol `published` has none, so its test speakers would choose "
            "the settings; set train.protocol to honest."
        )


def search(settings: Settings, shared: SharedStudy, run: TrialRunner | None = None) -> dict[str, Any]:
    """Run trials, together with other workers on the same study, until all are done.

    Args:
        settings: the profile.
        shared: of `open_study`.
        run: trains one trial; None for `run_trial`.

    Returns:
        The best trial's overrides.

    Raises:
        InputError: no trial was completed.
    """
    import optuna
    import torch

    from components.search.study import HopelessTrialError

    study_run = _study_run(settings, shared)
    run = run or run_trial

    def objective(trial: optuna.Trial) -> float:
        try:
            value = run(trial_settings(settings, shared, trial), trial, study_run)
        except ServerAwayError:
            raise
        except InputError as error:
            raise HopelessTrialError(str(error)) from error
        except torch.OutOfMemoryError as error:
            raise HopelessTrialError(f"the GPU has too little memory for it ({error})") from error
        if value is None:
            raise optuna.TrialPruned
        return value

    shared.work(objective)
    if not shared.study.get_trials(states=(optuna.trial.TrialState.COMPLETE,)):
        raise InputError(f"none of {len(shared.study.trials)} trials was completed; the MLflow runs say why.")
    return dict(shared.study.best_params)


def trial_settings(settings: Settings, shared: SharedStudy, trial: optuna.Trial) -> Settings:
    """The settings that a trial draws. The retry of a killed trial has the same folder, and continues there."""
    from components.search.study import first_number

    overrides = {key: _draw(trial, key, space) for key, space in settings.params.tune.search.items()}
    overrides["train.devices"] = 1  # a trial is pruned from inside its process; more GPUs need more workers
    number = first_number(shared.study.trials[trial.number])
    variant = f"{shared.folder.name.removeprefix(f'{settings.profile}-')}-{number:03d}"
    return settings.changed(overrides, variant)


def run_trial(settings: Settings, trial: optuna.Trial, study_run: str) -> float | None:
    """Train the folds of a trial, one after the other, as a child of the study's MLflow run.

    Returns:
        The mean of the folds' scores; None if the trial was pruned.

    Raises:
        InputError: the settings can't be trained, for example because the loss is not finite.
    """
    import optuna

    from components.search.pruning import PruningCallback

    with server_needed(settings.layout.root), train.exclusive(settings):
        run = Run.open(settings)
        train.prepare(run)
        tracker = run.tracker
        run_id = tracker.parent()
        for name, value in {"mlflow.parentRunId": study_run, "mlflow.runName": f"trial {trial.number}"}.items():
            tracker.client.set_tag(run_id, name, value)
        scores: list[float] = []
        mean: float | None = None
        longest = _longest_phase(settings)
        try:
            with tracker.running(run_id):
                for fold in run.folds:
                    pruning = PruningCallback(trial, scores, longest, settings.params.tune.warmup_epochs)
                    scores.append(train.train_fold(run, fold, (pruning,)).selection_score)
                mean = sum(scores) / len(scores)
                tracker.outbox(run_id).metrics({"validation_accuracy": mean})
        except optuna.TrialPruned:
            tracker.client.set_tag(run_id, "pruned", f"in fold {len(scores)}")
            for name in (run_id, tracker.fold(len(scores))):
                tracker.client.set_terminated(name, "KILLED")
        finally:
            tracker.abandon()  # the runs of folds that were not reached
    # A search keeps scores only; the best settings are trained again, in a run of their own.
    for pattern in ("*.safetensors", "*.ckpt"):
        for path in settings.layout.run.rglob(pattern):
            path.unlink()
    return mean


def finish(settings: Settings, shared: SharedStudy, best: dict[str, Any]) -> Path:
    """Plot the search, log it to the study's MLflow run, and close that run.

    Returns:
        The folder of the plots and of `best.json`.
    """
    from components.search.plots import plot_study

    # Whoever copies these settings into params.yaml also copies that they were searched.
    write_text(shared.folder / "best.json", json.dumps({**best, "train.tuned": True}, indent=2) + "\n")
    study_run, tracker = _study_run(settings, shared), RunTracker(settings)
    for path in plot_study(shared.study, shared.folder):
        tracker.client.log_artifact(study_run, str(path), "plots")
    tracker.client.log_artifact(study_run, str(shared.folder / "best.json"))
    tracker.client.log_metric(study_run, "validation_accuracy", shared.study.best_value)
    tracker.client.set_terminated(study_run, "FINISHED")
    return shared.folder


def _draw(trial: optuna.Trial, key: str, space: Range) -> Any:
    if isinstance(space, Choice):
        return trial.suggest_categorical(key, list(space.choices))
    if space.kind == "int":
        return trial.suggest_int(key, space.low, space.high, log=space.log)
    return trial.suggest_float(key, space.low, space.high, log=space.log)


def _longest_phase(settings: Settings) -> int:
    """The most epochs that the last phase has in any trial."""
    from cfnsr.training.fold import phases_of

    modality = settings.params.model.modality
    section = "fusion" if modality == "both" else f"pretrain.{modality}"
    space = settings.params.tune.search.get(f"train.{section}.epochs")
    if space is None:
        return phases_of(settings)[modality].epochs
    return max(map(int, space.choices)) if isinstance(space, Choice) else int(space.high)


def _study_run(settings: Settings, shared: SharedStudy) -> str:
    """Id of the study's MLflow run, which the first worker creates."""
    tracker = RunTracker(settings)
    with server_needed(settings.layout.root), shared.once:
        run_id = shared.study.user_attrs.get(STUDY_RUN)
        if run_id is None or not tracker.has(run_id):  # it may have been deleted in the UI
            token = shared.study.user_attrs.get(STUDY_TOKEN, uuid4().hex) if run_id is None else run_id
            shared.study.set_user_attr(STUDY_TOKEN, token)
            run_id = tracker.create(f"search {shared.folder.name}", {"study": shared.folder.name}, token)
            shared.study.set_user_attr(STUDY_RUN, run_id)
    return str(run_id)


def step(settings: Settings) -> None:
    """The step as the command line runs it."""

    def train_best(overrides: dict[str, Any]) -> None:
        run = Run.open(requested_settings(settings.params_file, settings.profile, overrides))
        train.train(run)
        print_table(evaluate(run))
        register(run)

    best = tune(settings, train_best=train_best)
    print(f"tune: the best settings are {best}")


if __name__ == "__main__":
    run_step(step, __doc__)
