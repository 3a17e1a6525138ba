"""Step `tune`: search the training settings that `tune.search` in params.yaml names.

What is maximised is the mean over folds of the score on the validation actors, so protocol `published`, which has none,
is refused. No test result is looked at, but a fold's validation actors are another fold's test actors: figures of what
the search found say so (`train.tuned`). A trial that is worse than the median of the others at the same epoch of the
same fold is given up.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cfnsr.config.load import Settings
from cfnsr.config.search import Choice, Range
from cfnsr.config.sections import is_unused
from cfnsr.errors import InputError, exit_with_sentence
from cfnsr.files import write_text
from cfnsr.registry import ServerAwayError, server_needed
from components import train
from components.tracking.runs import RunTracker

if TYPE_CHECKING:
    import optuna

    from components.search.study import SharedStudy

RUN = "mlflow_run"
"""The study's attribute with the id of its MLflow run."""

TrialRunner = Callable[[Settings, "optuna.Trial", str], float | None]


def open_study(settings: Settings) -> SharedStudy:
    """The study of a profile; other data, settings, code or search space make another one.

    Raises:
        InputError: there is nothing to search, or a data stage has not run.
    """
    from components.search.study import SharedStudy

    check_space(settings)
    train.load_features(settings)
    return SharedStudy(settings.layout.root / "studies" / _name(settings), settings.params.tune)


def _name(settings: Settings) -> str:
    made_from = [
        train.run_key(settings),
        settings.params.tune.model_dump(mode="json", exclude={"trials"}),
    ]
    digest = hashlib.sha256(json.dumps(made_from, sort_keys=True).encode()).hexdigest()[:6]
    return f"{settings.profile}-tune-{digest}"


def _check_current(settings: Settings, shared: SharedStudy) -> None:
    """Trials of one study are of the same data and code, else they can't be compared."""
    if _name(settings) != shared.folder.name:
        raise InputError(
            f"data or code were changed during the search {shared.folder.name}; bring them back and run it again to go "
            "on with it, or run it again for another one."
        )


def check_space(settings: Settings) -> None:
    """Try both ends of every range.

    Raises:
        InputError: the search space is empty, one of its keys or values is impossible or does nothing, or test actors
            would choose.
    """
    tune = settings.params.tune
    tried = [settings]
    if not tune.search:
        raise InputError(f"{settings.profile}.tune.search in params.yaml is empty; name the keys to search.")
    for key, space in tune.search.items():
        if key.split(".")[0] not in ("model", "train"):
            raise InputError(
                f"{settings.profile}.tune.search: {key} can't be searched; keys below model and train can."
            )
        for value in space.choices if isinstance(space, Choice) else (space.low, space.high):
            tried.append(settings.changed({key: value}))
    modalities = {each.params.model.modality for each in tried}
    for key in tune.search:
        if all(is_unused(key, modality) for modality in modalities):
            raise InputError(
                f"{settings.profile}.tune.search: {key} changes nothing about a network of model.modality "
                f"{' or '.join(sorted(modalities))}; search others."
            )
    if any(each.params.train.protocol == "published" for each in tried):
        raise InputError(
            "a search needs validation actors, and protocol `published` has none: its test actors would choose the "
            "settings; set train.protocol to honest."
        )


def search(settings: Settings, shared: SharedStudy, run: TrialRunner | None = None) -> dict[str, Any]:
    """Run trials, together with other workers on the same study, until all are done.

    Args:
        settings: the profile.
        shared: of `open_study`.
        run: runs one trial, `run_trial` if None.

    Returns:
        The best trial's overrides.

    Raises:
        InputError: no trial was completed, or data or code were changed meanwhile.
    """
    import optuna
    import torch

    from components.search.study import HopelessTrialError

    study_run = _study_run(settings, shared)
    run = run or run_trial

    def objective(trial: optuna.Trial) -> float:
        _check_current(settings, shared)
        try:
            value = run(trial_settings(settings, shared, trial), trial, study_run)
        except ServerAwayError:
            raise
        except InputError as error:
            _check_current(settings, shared)
            raise HopelessTrialError(str(error)) from error
        except torch.OutOfMemoryError as error:
            raise HopelessTrialError(f"the GPU has not enough memory for it ({error})") from error
        if value is None:
            raise optuna.TrialPruned
        return value

    shared.work(objective)
    if not shared.study.get_trials(states=(optuna.trial.TrialState.COMPLETE,)):
        raise InputError(f"none of {len(shared.study.trials)} trials was completed; the MLflow runs say why.")
    return dict(shared.study.best_params)


def trial_settings(settings: Settings, shared: SharedStudy, trial: optuna.Trial) -> Settings:
    """The settings that a trial draws. Another try of a killed trial has its folder, and goes on there."""
    from components.search.study import first_number

    overrides = {key: _draw(trial, key, space) for key, space in settings.params.tune.search.items()}
    overrides["train.devices"] = 1  # a trial is given up from inside its process; more GPUs take more workers
    number = first_number(shared.study.trials[trial.number])
    variant = f"{shared.folder.name.removeprefix(f'{settings.profile}-')}-{number:03d}"
    return settings.changed(overrides, variant)


def run_trial(settings: Settings, trial: optuna.Trial, study_run: str) -> float | None:
    """Train the folds of a trial, one after the other, as a child of the study's MLflow run.

    Returns:
        The mean of the folds' scores; None if the trial was given up.

    Raises:
        InputError: the settings can't be trained, for example because the loss is not finite.
    """
    import optuna

    from components.search.pruning import GiveUp

    with server_needed(settings.layout.root), train.exclusive(settings):
        folds = train.plan(settings)
        tracker = RunTracker(settings)
        run_id = tracker.parent()
        for name, value in {"mlflow.parentRunId": study_run, "mlflow.runName": f"trial {trial.number}"}.items():
            tracker.client.set_tag(run_id, name, value)
        scores: list[float] = []
        longest = _longest_phase(settings)
        try:
            with tracker.running(run_id):
                for fold in folds:
                    give_up = GiveUp(trial, scores, longest, settings.params.tune.warmup_epochs)
                    result = train.train_one(settings, fold, (give_up,))
                    scores.append(result.selection_accuracy)
                mean = sum(scores) / len(scores)
                tracker.outbox(run_id).metrics({"validation_accuracy": mean})
        except optuna.TrialPruned:
            _forget_weights(settings)
            tracker.client.set_tag(run_id, "pruned", f"in fold {len(scores)}")
            for name in (run_id, tracker.fold(len(scores))):
                tracker.client.set_terminated(name, "KILLED")
            return None
        finally:
            tracker.abandon()  # the runs of folds that were not reached
        _forget_weights(settings)
    return mean


def finish(settings: Settings, shared: SharedStudy, best: dict[str, Any]) -> Path:
    """Draw what the search has learnt, log it with the study's MLflow run and close that.

    Returns:
        The folder of the plots and of `best.json`.
    """
    from components.search.plots import plot_study

    # Whoever copies them into params.yaml takes along that they were searched.
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
    """Epochs that the last phase has in any trial."""
    from cfnsr.training.fold import phases_of

    modality = settings.params.model.modality
    section = "fusion" if modality == "both" else f"pretrain.{modality}"
    space = settings.params.tune.search.get(f"train.{section}.epochs")
    if space is None:
        return phases_of(settings)[modality].epochs
    return max(map(int, space.choices)) if isinstance(space, Choice) else int(space.high)


def _study_run(settings: Settings, shared: SharedStudy) -> str:
    """Id of the study's MLflow run, made by the worker that comes first."""
    from mlflow.exceptions import MlflowException

    tracker = RunTracker(settings)
    with server_needed(settings.layout.root), shared.once:
        known = shared.study.user_attrs.get(RUN)
        if known is not None:
            try:
                if tracker.client.get_run(known).info.lifecycle_stage == "active":  # else it was deleted in the UI
                    return str(known)
            except MlflowException as error:
                if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                    raise
        run_id = tracker.create(f"search {shared.folder.name}", {"study": shared.folder.name})
        shared.study.set_user_attr(RUN, run_id)
    return run_id


def _forget_weights(settings: Settings) -> None:
    """A search leaves scores; the best settings are trained again, in a run of their own."""
    for pattern in ("*.safetensors", "*.ckpt"):
        for path in settings.layout.run.rglob(pattern):
            path.unlink()


if __name__ == "__main__":
    with exit_with_sentence():
        raise InputError("a search is a flow; run `python -m pipelines.tune`.")
