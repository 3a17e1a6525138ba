"""Callbacks of a phase: seeding, moving average, history and progress bar."""

from __future__ import annotations

import time
from functools import partial
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback, WeightAveraging
from lightning.pytorch.utilities.rank_zero import rank_zero_only
from torch import Tensor
from tqdm import tqdm

from cfnsr.training.result import CHOICE, SCORE


def epoch_seed(seed: int, epoch: int, rank: int = 0) -> int:
    """The seed of an epoch's dropout and augmentation. Each process has its own, so that its masks differ."""
    return (seed * 1_000_003 + epoch) * 1_009 + rank


class EpochSeed(Callback):
    """Seeds each epoch by its number, so that a resumed run has the same dropout and augmentation."""

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """See class."""
        torch.manual_seed(epoch_seed(self._seed, trainer.current_epoch, trainer.global_rank))


class MovingAverage(WeightAveraging):
    """Exponential moving average of the weights, which is validated and saved instead of the weights themselves.

    The decay rises from 0.1 to `decay`, so that the initial weights do not dominate a short training.
    """

    def __init__(self, decay: float) -> None:
        super().__init__(multi_avg_fn=partial(_update, decay))  # a partial can be pickled for DDP processes


@torch.no_grad()
def _update(decay: float, averages: list[Tensor], weights: list[Tensor], updates: Tensor | int) -> None:
    if averages[0].is_floating_point():
        steps = float(updates)
        torch._foreach_lerp_(averages, weights, 1 - min(decay, (1 + steps) / (10 + steps)))
    else:  # batch norm's counters
        torch._foreach_copy_(averages, weights)


class History(Callback):
    """Records the scores of every epoch and logs the smoothed one. Its rows are part of the checkpoint.

    Args:
        smooth: number of epochs whose scores are averaged.
        score: name of the score.
    """

    def __init__(self, smooth: int, score: str) -> None:
        self.rows: list[dict[str, float]] = []
        self._smooth, self._score = smooth, score

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """See class."""
        self._started = time.monotonic()

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """See class."""
        values = {name: float(value) for name, value in trainer.callback_metrics.items()}
        seconds = time.monotonic() - self._started
        self.rows.append({"epoch": trainer.current_epoch, "seconds": seconds, **values})
        scores = [row[self._score] for row in self.rows[-self._smooth :]]
        # In single precision, as ModelCheckpoint compares it: otherwise ties there could differ here.
        self.rows[-1][CHOICE] = torch.tensor(sum(scores) / len(scores), dtype=torch.float32).item()
        pl_module.log(CHOICE, self.rows[-1][CHOICE], sync_dist=True)

    def state_dict(self) -> dict[str, Any]:
        """See class."""
        return {"rows": self.rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """See class."""
        self.rows = state_dict["rows"]


class PhaseBar(Callback):
    """One progress bar for a whole phase; Lightning's own restarts every epoch, which floods a log."""

    def __init__(self, description: str) -> None:
        self._bar: tqdm[Any] | None = None  # until training starts
        self._description = description

    @rank_zero_only
    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """See class."""
        total = int(trainer.estimated_stepping_batches)
        self._bar = tqdm(total=total, initial=trainer.global_step, desc=self._description, unit="step", mininterval=1.0)

    def on_train_batch_end(self, *_: Any) -> None:
        """See class."""
        if self._bar is not None:
            self._bar.update()

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """See class."""
        if self._bar is not None:
            score = float(trainer.callback_metrics[SCORE])
            self._bar.set_postfix_str(f"validation {score:.3f}", refresh=False)

    def on_train_end(self, *_: Any) -> None:
        """See class."""
        self._close()

    def on_exception(self, *_: Any) -> None:
        """Close the bar, so that the error gets a line of its own."""
        self._close()

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None  # a bar can't be pickled
