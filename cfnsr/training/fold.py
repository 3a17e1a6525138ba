"""Training one fold: each encoder alone, then the fused network from their weights (paper, section 4.2).

All files of a fold are in its folder: the weights, the history, the test speakers' predictions and, written last,
`fold.json`. A run that was interrupted skips what is finished and resumes the rest after its last complete epoch.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import lightning
import numpy as np
import pandas as pd
import torch
from lightning.pytorch.loggers import Logger
from numpy.typing import NDArray
from torch.utils.data import DataLoader

from cfnsr.config.load import Settings
from cfnsr.config.sections import Modality, PhaseSettings
from cfnsr.corpus.folds import Fold
from cfnsr.errors import InputError
from cfnsr.features.cached import Features
from cfnsr.model.calibration import fit_temperature, scaled_softmax
from cfnsr.model.checkpoint import save_model
from cfnsr.model.metadata import ModelMetadata, Provenance
from cfnsr.model.network import CFNSR
from cfnsr.model.normalize import Normalization
from cfnsr.training.dataset import ClipDataset
from cfnsr.training.loaders import FoldData
from cfnsr.training.phase import fit, write_csv
from cfnsr.training.pretrained import checkpoint_of, load_pretrained
from cfnsr.training.result import (
    CHOICE,
    GROUPS,
    HISTORY,
    PHASE_OF,
    PHASES,
    PREDICTIONS,
    SCORE,
    TEST_SCORE,
    WEIGHTS,
    FoldResult,
)
from cfnsr.training.task import selection_score

LoggerFactory = Callable[[str], Logger]
"""Makes the logger of a phase: `audio`, `video` or `fusion`."""


def train_fold(
    features: Features,
    fold: Fold,
    settings: Settings,
    folder: Path,
    logger_for: LoggerFactory,
    callbacks: Sequence[lightning.Callback] = (),
) -> FoldResult:
    """Train a fold and predict its test speakers once.

    Args:
        features: the cached features.
        fold: the speakers to train on, to choose the epoch by and to test on.
        settings: the profile.
        folder: for the fold's files. An interrupted fold resumes there.
        logger_for: makes the logger of a phase.
        callbacks: for the last phase, such as a pruning callback.

    Raises:
        InputError: a group of the fold has no clips, a checkpoint to start from can't be used, or the loss is not
            finite.
    """
    params = settings.params
    normalization = normalization_of(features, fold, settings)
    history = [pd.DataFrame(columns=["phase", "epoch", "seconds", SCORE, CHOICE])]
    trained: dict[str, CFNSR] = {}  # by phase
    with_classifier: dict[str, CFNSR] = {}
    provenance = Provenance.of(params.dataset.corpus, fold.train, fold.selection)
    for modality, phase in phases_of(settings).items():
        if phase.epochs == 0 and phase.checkpoint is None:
            continue
        name, last = PHASE_OF[modality], modality == params.model.modality
        torch.manual_seed(fold.seed(params.train.seed))
        network = CFNSR.from_settings(params.model, params.mfcc, len(features.labels), modality)
        if modality == "both":
            for encoder, pretrained in trained.items():
                getattr(network, encoder).load_state_dict(getattr(pretrained, encoder).state_dict())
        whole = False
        if phase.checkpoint is not None:
            path = checkpoint_of(phase.checkpoint, fold.index)
            inherited, whole = load_pretrained(network, path, fold, settings, phase.epochs > 0)
            provenance = provenance.merged(inherited)
            if last and not whole and not phase.epochs:
                raise InputError(f"{path} has no classifier for this network; train one (epochs: 1 or more).")
        if phase.epochs:
            data = FoldData(features, fold, settings, modality, phase, normalization)
            extra = callbacks if last else ()
            network = fit(network, data, folder / name, params.train, logger_for(name), extra)
            history.append(_history(folder / name, fold).assign(phase=name))
        trained[name] = network
        if phase.epochs or whole:  # an encoder without a trained classifier can't be scored
            with_classifier[name] = network
        if not last:
            uncalibrated: dict[Modality, float] = {modality: 1.0}
            metadata = describe(network, settings, features, normalization, uncalibrated, provenance)
            save_model(folder / f"{name}.safetensors", network, metadata)

    scored = _score(with_classifier, features, fold, settings, normalization)
    write_csv(folder / PREDICTIONS, scored.predictions)
    write_csv(folder / HISTORY, pd.concat(history))
    metadata = describe(network, settings, features, normalization, scored.temperatures, provenance)
    save_model(folder / WEIGHTS, network, metadata)
    curve = history[-1][CHOICE] if phase.epochs else pd.Series([scored.selection_score])
    result = FoldResult(
        fold.index, fold.train, fold.validation, fold.test, int(curve.argmax()), float(curve.max()),
        network.parameter_count, float(sum(epochs["seconds"].sum() for epochs in history)), provenance.unknown,
    )  # fmt: skip
    result.save(folder)
    for each in PHASES:
        shutil.rmtree(folder / each, ignore_errors=True)
    return result


def phases_of(settings: Settings) -> dict[Modality, PhaseSettings]:
    """The phases that lead to the profile's network, in order, by the modality they train."""
    train, modality = settings.params.train, settings.params.model.modality
    phases: dict[Modality, PhaseSettings] = {"audio": train.pretrain.audio, "video": train.pretrain.video}
    return phases | {"both": train.fusion} if modality == "both" else {modality: phases[modality]}


def describe(
    network: CFNSR,
    settings: Settings,
    features: Features,
    normalization: Normalization,
    temperatures: Mapping[Modality, float],
    provenance: Provenance,
) -> ModelMetadata:
    """Build the metadata of a trained network; see `ModelMetadata` for the arguments."""
    params = settings.params
    return ModelMetadata(
        network=network.config,
        labels=features.labels,
        faces=params.faces,
        detector="yunet" if params.faces.yunet else "haar",
        landmark_share=features.landmark_share,
        mfcc=params.mfcc,
        normalization=normalization,
        temperatures=dict(temperatures),
        provenance=provenance,
        profile=settings.profile,
        corpus=params.dataset.corpus,
        synthetic=params.dataset.synthetic,
    )


@torch.no_grad()
def predict(network: CFNSR, dataset: ClipDataset, batch_size: int, inputs: Modality) -> NDArray[np.float32]:
    """Compute the logits `(N, K)` of a dataset's clips, in its order, from both modalities or one of them."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network = network.eval().to(device)
    rows = []
    for batch in DataLoader(dataset, batch_size=batch_size, collate_fn=dict):
        frames = batch["frames"].to(device) if inputs != "audio" else None
        mfcc = batch["mfcc"].to(device) if inputs != "video" else None
        rows.append(network(frames, mfcc).float().cpu().numpy())
    return np.concatenate(rows) if rows else np.zeros((0, network.config.classes), np.float32)


@dataclass(frozen=True)
class _Scored:
    """The predictions and scores of a fold's networks."""

    predictions: pd.DataFrame
    """See `cfnsr.training.result.PREDICTIONS`."""
    temperatures: dict[Modality, float]
    """Of the last network, by input."""
    selection_score: float
    """Of the last network."""


def _score(
    trained: Mapping[str, CFNSR], features: Features, fold: Fold, settings: Settings, normalization: Normalization
) -> _Scored:
    """Predict the test speakers, and calibrate on the validation speakers."""
    params, tables = settings.params, []
    batch_size = params.train.fusion.batch_size
    temperatures: dict[Modality, float] = {}
    score = float("nan")
    # All networks are tested on the same clips: those that the last one can use.
    test, selection = (
        ClipDataset(features, speakers, params.model.modality, normalization)
        for speakers in (fold.test, fold.selection)
    )
    labels = features.classes(selection.clips)
    for name, network in trained.items():
        temperatures = {}
        # A fused network also answers from one modality if it was trained to work without the other.
        alone = network.modality == "both" and params.train.fusion.modality_dropout
        ways: tuple[Modality, ...] = ("both", "audio", "video") if alone else (network.modality,)
        for inputs in ways:
            selection_logits = predict(network, selection, batch_size, inputs)
            temperature = fit_temperature(selection_logits, labels) if fold.validation else None
            probabilities = scaled_softmax(predict(network, test, batch_size, inputs))
            tables.append(
                _table(test, features.labels, probabilities).assign(
                    network=name, inputs=inputs, temperature=temperature
                )
            )
            temperatures[inputs] = temperature or 1.0
            if inputs == network.modality:
                score = selection_score(selection_logits, labels, params.train.select_by)
    return _Scored(pd.concat(tables), temperatures, score)


def normalization_of(features: Features, fold: Fold, settings: Settings) -> Normalization:
    """Fit the scaling of the inputs to the fold's training speakers."""
    voices = features.having("audio")
    voices = voices[voices["speaker"].isin(fold.train)]
    mfccs = (features.mfcc[clip] for clip in voices["clip_id"])
    return Normalization.fit(mfccs, settings.params.mfcc.channels, settings.params.train.standardize_mfcc)


def _history(folder: Path, fold: Fold) -> pd.DataFrame:
    history = pd.read_csv(folder / HISTORY)
    if not fold.validation:
        history[TEST_SCORE] = history[SCORE]  # as published, the test speakers choose
    return history


def _table(dataset: ClipDataset, labels: Sequence[str], probabilities: NDArray[np.float64]) -> pd.DataFrame:
    table = dataset.clips[["clip_id", "speaker", *GROUPS, "label"]].copy()
    for index, label in enumerate(labels):
        table[label] = probabilities[:, index]
    return table
