"""One phase of a fold: fit a network, resumable at every epoch, and keep the weights of its best epoch."""

from __future__ import annotations

import io
import logging
import warnings
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
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

from cfnsr.config.sections import PhaseSettings, TrainSettings
from cfnsr.errors import InputError
from cfnsr.files import atomic_path
from cfnsr.model import CFNSR
from cfnsr.model.checkpoint import load_model, save_model
from cfnsr.training.callbacks import EpochSeed, History, MovingAverage, PhaseBar
from cfnsr.training.distributed import BatchNormSync
from cfnsr.training.loaders import FoldData
from cfnsr.training.result import CHOICE, HISTORY, WEIGHTS
from cfnsr.training.task import EmotionTask

logger = logging.getLogger(__name__)
logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
# What Lightning warns of here is decided on purpose: loaders in the main process for small corpora, short epochs.
warnings.filterwarnings("ignore", ".*does not have many workers.*|.*number of training batches.*")
# Lightning calls a torch function that torch has renamed; nothing a user can do.
warnings.filterwarnings("ignore", ".*isinstance\\(treespec, LeafSpec\\).*")


class _Checkpoint(ModelCheckpoint):
    """Knows the best score also where the run's folder has been moved; Lightning's own would forget it, with a warning,
    and take the first epoch that follows for the best."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        def here(path: str) -> str:
            return str(Path(str(self.dirpath), Path(path).name)) if path else path

        paths = ("best_model_path", "kth_best_model_path", "last_model_path")
        super().load_state_dict(
            {**state_dict, "dirpath": self.dirpath}
            | {name: here(state_dict[name]) for name in paths}
            | {"best_k_models": {here(path): score for path, score in state_dict["best_k_models"].items()}}
        )


class _WholeFiles(TorchCheckpointIO):
    """Writes a checkpoint beside its place and renames it. Lightning's own would write it into TMPDIR; on another disk
    it is then copied into its place, and a kill or a full disk leaves half of it there."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        # In memory first, as Lightning does: PyTorch tells a full disk in words of its own.
        content = io.BytesIO()
        torch.save(checkpoint, content)
        with atomic_path(Path(path)) as temporary:
            temporary.write_bytes(content.getbuffer())


@dataclass(frozen=True)
class Phase:
    """What a phase is called, how it is trained, and where its files lie."""

    name: str
    """`audio`, `video` or `fusion`."""
    settings: PhaseSettings
    folder: Path
    seed: int
    description: str
    """For the progress bar."""


def fit(
    network: CFNSR,
    data: FoldData,
    phase: Phase,
    train: TrainSettings,
    logger: Logger,
    callbacks: Sequence[Callback] = (),
) -> CFNSR:
    """Fit a network and return it with the weights of its best epoch; a finished phase is read from its folder.

    One whose checkpoints are damaged starts again.

    Raises:
        InputError: the loss is not finite, or `train.devices` is more than there are.
    """
    weights, last, best = (phase.folder / name for name in (WEIGHTS, "last.ckpt", "best.ckpt"))
    if weights.exists():
        return load_model(weights)[0]
    phase.folder.mkdir(parents=True, exist_ok=True)
    settings = phase.settings
    # Saved at the very end of an epoch, after its history: a run resumed from there has lost and repeats nothing. The
    # last one has a callback of its own, because `save_last` leaves out epochs that are not the best.
    keep = partial(_Checkpoint, phase.folder, save_on_train_epoch_end=True, enable_version_counter=False)
    checkpoints = [keep(filename="best", monitor=CHOICE, mode="max"), keep(filename="last")]
    averages = [MovingAverage(settings.ema)] if settings.ema else []
    recording = [EpochSeed(phase.seed), *averages, History(train.smooth_epochs), PhaseBar(phase.description)]
    devices = _devices(train)
    trainer = lightning.Trainer(
        max_epochs=settings.epochs,
        accelerator="auto",
        devices=devices,
        strategy="ddp_spawn" if devices > 1 else "auto",
        plugins=[_WholeFiles(), *([BatchNormSync()] if devices > 1 else [])],
        use_distributed_sampler=False,  # FoldData does it, so that no clip is drawn or scored twice
        precision=_precision(train),
        gradient_clip_val=settings.gradient_clip or None,
        logger=logger,
        callbacks=[*recording, *callbacks, *checkpoints],
        num_sanity_val_steps=0,
        log_every_n_steps=1,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    if train.channels_last:
        network = network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    if train.compile:
        network.compile()  # in place, so that the names of the weights stay
    resumed = str(last) if _can_go_on(last, best) else None
    try:
        trainer.fit(EmotionTask(network, settings), data, ckpt_path=resumed, weights_only=True)
    except ProcessRaisedException as error:
        # What a process of DDP raises comes here as the text of its traceback, whose last line names it.
        *_, last_line = str(error).strip().splitlines()
        name, _, said = last_line.partition(": ")
        if name.endswith("InputError"):
            raise InputError(said) from None
        raise
    # From the files, not from the objects: with several processes they were trained in another one.
    write_csv(phase.folder / HISTORY, pd.DataFrame(_saved(last)["callbacks"]["History"]["rows"]))
    state = _saved(best)["state_dict"]
    names = {name: name.removeprefix("network.") for name in state if name.startswith("network.")}
    network.load_state_dict({short: state[name] for name, short in names.items()})
    save_model(weights, network, {})
    return load_model(weights)[0]


def write_csv(path: Path, table: pd.DataFrame) -> None:
    """Write a table; a kill leaves the whole file or none."""
    with atomic_path(path) as temporary:
        table.to_csv(temporary, index=False)


def _can_go_on(last: Path, best: Path) -> bool:
    """Whether a phase has an epoch to go on from, and its best one; what can't be read is removed."""
    if not last.exists():
        return False
    damaged = [path for path in (last, best) if not _whole(path)]
    if damaged:
        logger.warning("%s is damaged: this phase starts again", damaged[0])
        for path in (last, best):
            path.unlink(missing_ok=True)
    return not damaged


def _whole(checkpoint: Path) -> bool:
    """Whether a file is there and is a zip file, as PyTorch writes it, all of whose sums are right."""
    if not checkpoint.exists():
        return False
    with checkpoint.open("rb") as file:  # one that may not be read is not damaged
        try:
            with zipfile.ZipFile(file) as archive:
                return archive.testzip() is None
        except Exception:  # whatever zipfile stumbles over in what is none
            return False


def _saved(checkpoint: Path) -> dict[str, Any]:
    content: dict[str, Any] = torch.load(checkpoint, map_location="cpu", weights_only=True)
    return content


def _devices(train: TrainSettings) -> int:
    there = torch.cuda.device_count()
    if train.devices == "auto":
        return max(1, there)
    if there and train.devices > there:
        raise InputError(f"train.devices is {train.devices}, but GPUs here: {there}; lower it, or set it to auto.")
    return train.devices


def _precision(train: TrainSettings) -> Literal["bf16-mixed", "32-true"]:
    if train.precision == "auto":
        fast = torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)
        return "bf16-mixed" if fast else "32-true"
    return "bf16-mixed" if train.precision == "bf16" else "32-true"
