"""Pruning of trials that fall behind the others, within a fold or between two."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

import lightning
import optuna

from cfnsr.training.result import CHOICE


class MedianOfStep(optuna.pruners.BasePruner):
    """Prunes a trial that is worse, at a step, than the median of the completed ones at the same step.

    Optuna's own `MedianPruner` compares the best value that a trial has reported at any step. Here a later value can be
    lower, when a bad fold follows a good one, and must count.

    Args:
        startup_trials: number of completed trials before the first one is pruned.
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


class PruningCallback(lightning.Callback):
    """Reports a trial after each epoch of a fold's last phase, and raises `optuna.TrialPruned` when it falls behind.

    The reported value is the mean of the finished folds' scores and the best of this fold so far, which would be the
    trial's result if this fold did not improve any more; the step is `fold * longest + epoch`.

    Args:
        trial: the trial.
        finished: scores of the finished folds.
        longest: the most epochs that the phase has in any trial of the study, so that a step means the same in all.
        warmup_epochs: epochs of each fold in which it is not pruned.
    """

    def __init__(self, trial: optuna.Trial, finished: Sequence[float], longest: int, warmup_epochs: int = 0) -> None:
        self._trial, self._finished, self._best = trial, tuple(finished), 0.0
        self._longest, self._warmup_epochs = longest, warmup_epochs

    def state_dict(self) -> dict[str, float]:
        """The best score so far, which a resumed fold needs."""
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
