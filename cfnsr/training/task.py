"""The training task: loss, optimizer and the scores logged every epoch.

Shapes: N clips.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any, Literal

import lightning
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR
from torchmetrics import MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassConfusionMatrix

from cfnsr.config.sections import FusionSettings, PhaseSettings
from cfnsr.errors import InputError
from cfnsr.model.network import CFNSR
from cfnsr.training.augment import drop_modalities, mixup
from cfnsr.training.dataset import Batch
from cfnsr.training.result import SCORE, TEST_SCORE


class UnweightedRecall(MulticlassConfusionMatrix):
    """UAR as in `cfnsr.evaluation.metrics.Scores`: the mean over the classes that occur.

    The macro average of torchmetrics also counts classes that are only predicted.
    """

    def compute(self) -> Tensor:
        """Compute the UAR of all batches since the last reset."""
        matrix = super().compute()  # (K, K)
        clips = matrix.sum(dim=1)
        return (matrix.diagonal() / clips)[clips > 0].mean()


def selection_score(
    logits: NDArray[np.floating], labels: NDArray[np.integer], score: Literal["accuracy", "uar"]
) -> float:
    """The score of logits (N, K) for labels (N,) by which a fold is chosen."""
    if score == "accuracy":
        return float((logits.argmax(axis=1) == labels).mean())
    return float(UnweightedRecall(logits.shape[1])(torch.from_numpy(logits), torch.from_numpy(labels)))


class EmotionTask(lightning.LightningModule):
    """Trains a `CFNSR` with the settings of one phase.

    Args:
        network: to train.
        phase: its settings.
        class_weights: (K,) of the training loss; None: all are 1.
    """

    class_weights: Tensor | None

    def __init__(self, network: CFNSR, phase: PhaseSettings, class_weights: Tensor | None = None) -> None:
        super().__init__()
        self.register_buffer("class_weights", class_weights, persistent=False)
        self.network, self._phase = network, phase
        classes = network.config.classes
        self.scores = MetricCollection(
            {SCORE: MulticlassAccuracy(classes, average="micro"), "validation/uar": UnweightedRecall(classes)}
        )
        self.test_score = MulticlassAccuracy(classes, average="micro")

    def training_step(self, batch: Batch) -> Tensor:
        """Cross-entropy of a batch.

        Raises:
            InputError: the loss is not finite.
        """
        phase, label, present = self._phase, batch["label"], None
        frames, mfcc = batch.get("frames"), batch.get("mfcc")
        mixed = None
        if phase.mixup:
            mixed = mixup(len(label), phase.mixup, label.device)
            frames = None if frames is None else mixed(frames)
            mfcc = None if mfcc is None else mixed(mfcc)
        if isinstance(phase, FusionSettings) and phase.modality_dropout:
            present = drop_modalities(len(label), phase.modality_dropout, label.device)
        logits = self.network(frames, mfcc, present)
        entropy = partial(F.cross_entropy, weight=self.class_weights, label_smoothing=phase.label_smoothing)
        loss = entropy(logits, label)
        if mixed is not None:
            own, partners = (entropy(logits, target, reduction="none") for target in (label, label[mixed.partner]))
            loss = (mixed.share * own + (1 - mixed.share) * partners).mean()
        if not torch.isfinite(loss):
            raise InputError(
                f"the training loss became {loss.item()} in epoch {self.current_epoch}; lower this phase's lr."
            )
        self.log("train/loss", loss, on_step=False, on_epoch=True, batch_size=len(logits), sync_dist=True)
        return loss

    def validation_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Score the speakers that choose the epoch; for the test speakers (second loader), log the accuracy only."""
        logits, label = self.network(batch.get("frames"), batch.get("mfcc")), batch["label"]
        clips, loss = len(label), F.cross_entropy(logits, label)
        if dataloader_idx == 1:
            self.test_score.update(logits, label)
            self.log(TEST_SCORE, self.test_score, batch_size=clips, add_dataloader_idx=False)
            return
        self.log("validation/loss", loss, batch_size=clips, add_dataloader_idx=False, sync_dist=True)
        self.scores.update(logits, label)
        self.log_dict(self.scores, batch_size=clips, add_dataloader_idx=False)

    def configure_optimizers(self) -> Any:
        """Adam or AdamW, with a warm-up, then a constant rate or a cosine decay to zero over the rest of the phase."""
        phase = self._phase
        kind = torch.optim.AdamW if phase.optimizer == "adamw" else torch.optim.Adam
        optimizer = kind(self.network.parameters(), lr=phase.lr, weight_decay=phase.weight_decay)
        if phase.schedule == "constant" and not phase.warmup:
            return optimizer
        steps = int(self.trainer.estimated_stepping_batches)
        rising = int(phase.warmup * steps)

        def factor(step: int) -> float:
            if step < rising:
                return (step + 1) / rising
            if phase.schedule == "constant":
                return 1.0
            return 0.5 * (1 + math.cos(math.pi * (step - rising) / (steps - rising)))

        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": LambdaLR(optimizer, factor), "interval": "step"}}
