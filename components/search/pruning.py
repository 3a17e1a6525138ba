"""Giving up a trial that lags behind the others, in the middle of a fold or between two."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

import lightning
import optuna

from cfnsr.training.result import CHOICE


class MedianOfStep(optuna.pruners.BasePruner):
    """Gives a trial up that is worse, at a step, than the median of the completed ones at the same step.

    Optuna's own `MedianPruner` compares the best that the trial has reported at any step. Here a later report can be
    lower, when a fold goes badly after a good one, and that is what must be seen.

    Args:
        startup_trials: completed trials, before which none is given up.
    """

    def __init__(self, startup_trials: int) -> None:
        self._startup_trials = startup_trials

    def prune(self, study: optuna.Study, trial: optuna.trial.FrozenTrial) -> bool:
        """See class."""
        completed = study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,))
        step = trial.last_step
        if step is None or len(completed) < self._startup_trials:
            return False
        others = [each.intermediate_values[step] for each in completed if step in each.intermediate_values]
        return bool(others) and trial.intermediate_values[step] < statistics.median(others)


class GiveUp(lightning.Callback):
    """Reports a trial after each epoch of a fold's last phase, and raises `optuna.TrialPruned` when it lags behind.

    What is reported is the mean of the finished folds' scores and the best of this fold so far, at the step
    `fold * longest + epoch`: what the trial's result would be if this fold got no better.

    Args:
        trial: the trial.
        finished: scores of the folds that are finished.
        longest: epochs that the phase has in any trial of the study, so that a step is the same epoch of the same fold
            in all of them.
        warmup_epochs: of each fold, in which it is not given up.
    """

    def __init__(self, trial: optuna.Trial, finished: Sequence[float], longest: int, warmup_epochs: int = 0) -> None:
        self._trial, self._finished, self._best = trial, tuple(finished), 0.0
        self._longest, self._warmup_epochs = longest, warmup_epochs

    def state_dict(self) -> dict[str, float]:
        """The best score so far: a fold that goes on after a kill has not lost it."""
        return {"best": self._best}

    def load_state_dict(self, state_dict: dict[str, float]) -> None:
        """See `state_dict`."""
        self._best = state_dict["best"]

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """See class."""
        self._best = max(self._best, float(trainer.callback_metrics[CHOICE]))
        fold = len(self._finished)
        mean = (sum(self._finished) + self._best) / (fold + 1)
        self._trial.report(mean, fold * self._longest + trainer.current_epoch)
        if trainer.current_epoch >= self._warmup_epochs and self._trial.should_prune():
            raise optuna.TrialPruned
