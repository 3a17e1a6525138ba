"""One phase of a fold: fit a network, resumable after every epoch, and keep the weights of its best epoch."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import lightning
import pandas as pd
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.loggers import Logger
from lightning.pytorch.plugins.io import TorchCheckpointIO
from torch.multiprocessing.spawn import ProcessRaisedException

from cfnsr.config.sections import TrainSettings
from cfnsr.errors import InputError
from cfnsr.files import atomic_path
from cfnsr.model.network import CFNSR
from cfnsr.training.callbacks import EpochSeed, History, MovingAverage, PhaseBar
from cfnsr.training.loaders import FoldData
from cfnsr.training.result import CHOICE, HISTORY, SCORES
from cfnsr.training.task import EmotionTask

logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
# These warnings concern deliberate choices: small corpora are loaded in the main process, and epochs may be short.
warnings.filterwarnings("ignore", ".*does not have many workers.*|.*number of training batches.*")
# Lightning calls a function that PyTorch has deprecated; users can't change that.
warnings.filterwarnings("ignore", ".*isinstance\\(treespec, LeafSpec\\).*")


class _Checkpoint(ModelCheckpoint):
    """Keeps the best score when the folder has been moved; Lightning's own discards it if the path has changed."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict({**state_dict, "dirpath": self.dirpath})


class _AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint next to its destination and renames it.

    Lightning's own writes to TMPDIR. If that is on another disk, the file is then copied, and an interruption or a full
    disk leaves half of it.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        # Serialised in memory first: PyTorch does not report a full disk as an OSError.
        content = io.BytesIO()
        torch.save(checkpoint, content)
        with atomic_path(Path(path)) as temporary:
            temporary.write_bytes(content.getbuffer())


def fit(
    network: CFNSR,
    data: FoldData,
    folder: Path,
    train: TrainSettings,
    logger: Logger,
    callbacks: Sequence[Callback] = (),
) -> CFNSR:
    """Fit a network with the settings of `data.phase`.

    Args:
        network: to train.
        data: of the phase.
        folder: for the phase's files. A phase that is finished there is not trained again, and an interrupted one
            resumes after its last complete epoch.
        train: section `train`.
        logger: of the phase.
        callbacks: further ones.

    Returns:
        The network with the weights of its best epoch, in eval mode on the CPU.

    Raises:
        InputError: the loss is not finite, or `train.devices` is larger than the number of GPUs.
    """
    history, last, best = (folder / name for name in (HISTORY, "last.ckpt", "best.ckpt"))
    if not history.exists():
        folder.mkdir(parents=True, exist_ok=True)
        trainer = _trainer(data, folder, train, logger, callbacks)
        if train.channels_last:
            network = network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        if train.compile:
            network.compile()  # in place, which keeps the names of the weights
        try:
            checkpoint = last if last.exists() else None
            trainer.fit(
                EmotionTask(network, data.phase, data.class_weights), data, ckpt_path=checkpoint, weights_only=True
            )
        except ProcessRaisedException as error:
            # An exception of a DDP process arrives as the text of its traceback, whose last line names it.
            *_, last_line = str(error).strip().splitlines()
            name, _, message = last_line.partition(": ")
            if name.endswith("InputError"):
                raise InputError(message) from None
            raise
        # From the file, because DDP trains in other processes.
        write_csv(history, pd.DataFrame(_load(last)["callbacks"]["History"]["rows"]))
    prefix, state = "network.", _load(best)["state_dict"]
    trained = CFNSR(network.config)
    trained.load_state_dict({name.removeprefix(prefix): state[name] for name in state if name.startswith(prefix)})
    return trained.eval()


def write_csv(path: Path, table: pd.DataFrame) -> None:
    """Write a table, atomically."""
    with atomic_path(path) as temporary:
        table.to_csv(temporary, index=False)


def _trainer(
    data: FoldData, folder: Path, train: TrainSettings, logger: Logger, callbacks: Sequence[Callback]
) -> lightning.Trainer:
    settings, devices = data.phase, _devices(train)
    # Saved at the very end of an epoch, after its history, so that resuming neither loses nor repeats an epoch. The
    # last epoch has a callback of its own, because `save_last` skips epochs that are not the best.
    keep = partial(_Checkpoint, folder, save_on_train_epoch_end=True, enable_version_counter=False)
    checkpoints = [keep(filename="best", monitor=CHOICE, mode="max"), keep(filename="last")]
    averages = [MovingAverage(settings.ema)] if settings.ema else []
    recording = [
        EpochSeed(data.seed),
        *averages,
        History(data.smooth_epochs, SCORES[train.select_by]),
        PhaseBar(data.description),
    ]
    return lightning.Trainer(
        max_epochs=settings.epochs,
        accelerator="auto",
        devices=devices,
        strategy="ddp_spawn" if devices > 1 else "auto",
        sync_batchnorm=devices > 1 and torch.cuda.is_available(),  # PyTorch has it for GPUs only
        plugins=[_AtomicCheckpointIO()],
        use_distributed_sampler=False,  # FoldData splits the clips, so that none is drawn or scored twice
        precision=_precision(train),
        gradient_clip_val=settings.gradient_clip or None,
        logger=logger,
        callbacks=[*recording, *callbacks, *checkpoints],
        num_sanity_val_steps=0,
        log_every_n_steps=1,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


def _load(checkpoint: Path) -> dict[str, Any]:
    content: dict[str, Any] = torch.load(checkpoint, map_location="cpu", weights_only=True)
    return content


def _devices(train: TrainSettings) -> int:
    gpus = torch.cuda.device_count()
    if train.devices == "auto":
        return max(1, gpus)
    if gpus and train.devices > gpus:
        raise InputError(
            f"train.devices is {train.devices}, but this machine has {gpus} GPUs; lower it, or set it to auto."
        )
    return train.devices


def _precision(train: TrainSettings) -> Literal["bf16-mixed", "32-true"]:
    if train.precision == "auto":
        fast = torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)
        return "bf16-mixed" if fast else "32-true"
    return "bf16-mixed" if train.precision == "bf16" else "32-true"
