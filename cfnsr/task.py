"""The training task: loss, optimizer and the scores logged each epoch."""

from __future__ import annotations

from typing import Any

import lightning
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.optim.lr_scheduler import CosineAnnealingLR
from torchmetrics import MetricCollection
from torchmetrics.classification import MulticlassAccuracy

from cfnsr.config import PhaseSettings
from cfnsr.data import Batch
from cfnsr.errors import InputError
from cfnsr.model import CFNSR

SCORE = "validation/accuracy"
"""What chooses the epoch."""


class EmotionTask(lightning.LightningModule):
    """Trains a `CFNSR` with the settings of one phase."""

    def __init__(self, network: CFNSR, phase: PhaseSettings) -> None:
        super().__init__()
        self.network, self._phase = network, phase
        classes = network.arguments["classes"]
        self.scores = MetricCollection(
            {
                SCORE: MulticlassAccuracy(classes, average="micro"),
                "validation/uar": MulticlassAccuracy(classes, average="macro"),
            }
        )

    def training_step(self, batch: Batch) -> Tensor:
        """Cross-entropy of a batch.

        Raises:
            InputError: the loss is not finite; going on would only write useless checkpoints.
        """
        logits = self.network(batch.get("frames"), batch.get("mfcc"))
        loss = F.cross_entropy(logits, batch["label"], label_smoothing=self._phase.label_smoothing)
        if not torch.isfinite(loss):
            raise InputError(
                f"the training loss became {loss.item()} in epoch {self.current_epoch}; lower this phase's lr."
            )
        self.log("train/loss", loss, on_step=False, on_epoch=True, batch_size=len(logits))
        return loss

    def validation_step(self, batch: Batch) -> None:
        """Loss and scores of the selection actors."""
        logits = self.network(batch.get("frames"), batch.get("mfcc"))
        self.log("validation/loss", F.cross_entropy(logits, batch["label"]), batch_size=len(logits))
        self.scores.update(logits, batch["label"])
        self.log_dict(self.scores, batch_size=len(logits))

    def configure_optimizers(self) -> Any:
        """Adam or AdamW; constant rate or a cosine to zero over the whole phase."""
        phase = self._phase
        kind = torch.optim.AdamW if phase.optimizer == "adamw" else torch.optim.Adam
        optimizer = kind(self.network.parameters(), lr=phase.lr, weight_decay=phase.weight_decay)
        if phase.schedule == "constant":
            return optimizer
        schedule = CosineAnnealingLR(optimizer, T_max=int(self.trainer.estimated_stepping_batches))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
