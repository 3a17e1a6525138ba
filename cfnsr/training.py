"""Training one fold: each encoder alone, then the fused network from their weights (paper, section 4.2).

Everything a fold leaves behind lies in its folder: the weights, the history, the test actors' predictions and, as its
last act, `fold.json`. A killed run finds what is finished there and goes on from the last epoch of the rest.
"""

from __future__ import annotations

import logging
import shutil
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import pandas as pd
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.loggers import Logger
from numpy.typing import NDArray
from torch.utils.data import DataLoader
from tqdm import tqdm

from cfnsr.checkpoint import load_model, save_model
from cfnsr.config import Modality, PhaseSettings, Settings
from cfnsr.data import ClipDataset, Features, FoldData
from cfnsr.files import atomic_path
from cfnsr.folds import Fold
from cfnsr.model import CFNSR
from cfnsr.normalize import Normalization
from cfnsr.outcome import HISTORY, PREDICTIONS, WEIGHTS, FoldResult
from cfnsr.ravdess import EMOTIONS
from cfnsr.task import SCORE, EmotionTask

LoggerFactory = Callable[[str], Logger]
"""Makes the logger of a phase: `audio`, `video` or `fusion`."""

logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
# What Lightning warns of here is decided on purpose: loaders in the main process for small corpora, short epochs.
warnings.filterwarnings("ignore", ".*does not have many workers.*|.*number of training batches.*")
# Lightning calls a torch function that torch has renamed; nothing a user can do.
warnings.filterwarnings("ignore", ".*isinstance\\(treespec, LeafSpec\\).*")


class EpochSeed(Callback):
    """Seeds each epoch by its number, so that a resumed run draws the same dropout and augmentation."""

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """See class."""
        torch.manual_seed(self._seed * 1_000_003 + trainer.current_epoch)


class History(Callback):
    """Keeps the scores of every epoch; part of the checkpoint, so a resumed run has them all."""

    def __init__(self) -> None:
        self.rows: list[dict[str, float]] = []

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """See class."""
        self._started = time.monotonic()

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """See class."""
        values = {name: float(value) for name, value in trainer.callback_metrics.items()}
        seconds = time.monotonic() - self._started
        self.rows.append({"epoch": trainer.current_epoch, "seconds": seconds, **values})

    def state_dict(self) -> dict[str, Any]:
        """See class."""
        return {"rows": self.rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """See class."""
        self.rows = state_dict["rows"]


class PhaseBar(Callback):
    """One progress bar for a whole phase; Lightning's own starts anew each epoch, which floods a log."""

    def __init__(self, description: str) -> None:
        self._bar = tqdm(disable=True)  # until training starts
        self._description = description

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """See class."""
        total = int(trainer.estimated_stepping_batches)
        self._bar = tqdm(total=total, initial=trainer.global_step, desc=self._description, unit="step", mininterval=1.0)

    def on_train_batch_end(self, *_: Any) -> None:
        """See class."""
        self._bar.update()

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """See class."""
        self._bar.set_postfix_str(f"validation {float(trainer.callback_metrics[SCORE]):.3f}", refresh=False)

    def on_train_end(self, *_: Any) -> None:
        """See class."""
        self._bar.close()

    def on_exception(self, *_: Any) -> None:
        """So that the error stands on a line of its own."""
        self._bar.close()


def train_fold(
    features: Features, fold: Fold, settings: Settings, folder: Path, logger_for: LoggerFactory
) -> FoldResult:
    """Train a fold, predict its test actors once, and leave everything in `folder`.

    Args:
        features: the cached features.
        fold: who is trained on, who chooses the epoch, who is tested.
        settings: the profile.
        folder: of this fold; what a killed run left there is used.
        logger_for: makes the logger of a phase.

    Raises:
        InputError: a group of the fold has no clips, or the loss is not finite.
    """
    finished = FoldResult.load(folder)
    if finished is not None:
        return finished
    train, model_settings, mfcc = settings.params.train, settings.params.model, settings.params.mfcc
    voices = features.having("audio")
    voices = voices[voices["actor"].isin(fold.train)]
    normalization = Normalization.fit(
        (features.mfcc[clip] for clip in voices["clip_id"]), mfcc.coefficients, train.standardize_mfcc
    )
    phases: list[tuple[Modality, PhaseSettings]] = [("audio", train.pretrain.audio), ("video", train.pretrain.video)]
    if model_settings.modality == "both":
        phases.append(("both", train.fusion))
    else:
        phases = [phase for phase in phases if phase[0] == model_settings.modality]

    history: list[pd.DataFrame] = []
    trained: dict[str, CFNSR] = {}  # by phase
    seed = train.seed * 101 + fold.index
    for modality, phase in phases:
        if phase.epochs == 0:
            continue
        name = "fusion" if modality == "both" else modality
        torch.manual_seed(seed)
        network = CFNSR.from_settings(model_settings, mfcc, modality)
        if modality == "both":
            for encoder, pretrained in trained.items():
                getattr(network, encoder).load_state_dict(getattr(pretrained, encoder).state_dict())
        data = FoldData(features, fold, phase, modality, normalization, seed, train.loader_workers)
        phase_folder = folder / name
        network = _train_phase(network, data, phase, phase_folder, seed, logger_for(name), f"fold {fold.index} {name}")
        trained[name] = network
        history.append(pd.read_csv(phase_folder / HISTORY).assign(phase=name))

    # All networks are tested on the same clips, those that the last one can use.
    test = ClipDataset(features, fold.test, model_settings.modality, normalization)
    predictions = [
        _predictions(test, predict(each, test, train.fusion.batch_size)).assign(network=name)
        for name, each in trained.items()
    ]
    _write_csv(folder / PREDICTIONS, pd.concat(predictions))
    _write_csv(folder / HISTORY, pd.concat(history))
    save_model(folder / WEIGHTS, network, model_config(settings, normalization))
    curve = history[-1][SCORE].to_numpy()
    result = FoldResult(
        fold.index, fold.train, fold.validation, fold.test, int(curve.argmax()), float(curve.max()),
        network.parameter_count, float(sum(epochs["seconds"].sum() for epochs in history)),
    )  # fmt: skip
    result.save(folder)
    for name in ("audio", "video", "fusion"):
        shutil.rmtree(folder / name, ignore_errors=True)
    return result


def model_config(settings: Settings, normalization: Normalization) -> dict[str, Any]:
    """What must travel with the weights: labels, preprocessing, and whether the corpus was synthetic."""
    return {
        "labels": list(EMOTIONS),
        "faces": settings.params.faces.model_dump(mode="json", exclude={"yunet", "max_bad_share"}),
        "detector": "yunet" if settings.params.faces.yunet else "haar",
        "mfcc": settings.params.mfcc.model_dump(mode="json", exclude={"max_bad_share"}),
        "normalization": normalization.to_dict(),
        "profile": settings.profile,
        "synthetic": settings.params.dataset.source == "sample",
    }


@torch.no_grad()
def predict(network: CFNSR, dataset: ClipDataset, batch_size: int) -> NDArray[np.float32]:
    """Class probabilities `(N, K)` of a dataset's clips, in its order."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network = network.eval().to(device)
    rows = []
    for batch in DataLoader(dataset, batch_size=batch_size):
        inputs = [value if value is None else value.to(device) for value in (batch.get("frames"), batch.get("mfcc"))]
        rows.append(network(*inputs).float().softmax(dim=1).cpu().numpy())
    return np.concatenate(rows) if rows else np.zeros((0, network.arguments["classes"]), np.float32)


def _train_phase(
    network: CFNSR, data: FoldData, phase: PhaseSettings, folder: Path, seed: int, logger: Logger, description: str
) -> CFNSR:
    """Fit a network and return it with the weights of its best epoch; a finished phase is read from its folder."""
    weights = folder / WEIGHTS
    if weights.exists():
        return load_model(weights)[0]
    folder.mkdir(parents=True, exist_ok=True)
    history = History()
    # Saved at the very end of an epoch, after its history: a run resumed from there has lost and repeats nothing.
    keep = ModelCheckpoint(
        folder,
        filename="best",
        monitor=SCORE,
        mode="max",
        save_last=True,
        save_on_train_epoch_end=True,
        enable_version_counter=False,
    )
    trainer = lightning.Trainer(
        max_epochs=phase.epochs,
        accelerator="auto",
        devices=1,
        precision="bf16-mixed" if torch.cuda.is_available() and torch.cuda.is_bf16_supported() else "32-true",
        logger=logger,
        callbacks=[EpochSeed(seed), history, PhaseBar(description), keep],
        num_sanity_val_steps=0,
        log_every_n_steps=1,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    task = EmotionTask(network, phase)
    last = folder / "last.ckpt"
    trainer.fit(task, data, ckpt_path=str(last) if last.exists() else None, weights_only=True)
    best = torch.load(keep.best_model_path, map_location="cpu", weights_only=True)["state_dict"]
    network.load_state_dict(
        {name.removeprefix("network."): value for name, value in best.items() if name.startswith("network.")}
    )
    _write_csv(folder / HISTORY, pd.DataFrame(history.rows))
    save_model(weights, network, {})
    return network.cpu()


def _predictions(dataset: ClipDataset, probabilities: NDArray[np.float32]) -> pd.DataFrame:
    table = dataset.clips[["clip_id", "actor", "sex", "label"]].copy()
    for index, emotion in enumerate(EMOTIONS):
        table[emotion] = probabilities[:, index]
    return table


def _write_csv(path: Path, table: pd.DataFrame) -> None:
    with atomic_path(path) as temporary:
        table.to_csv(temporary, index=False)
