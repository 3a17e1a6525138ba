"""Training one fold: each encoder alone, then the fused network from their weights (paper, section 4.2).

Everything a fold leaves behind lies in its folder: the weights, the history, the test actors' predictions and, as its
last act, `fold.json`. A killed run finds what is finished there and goes on from the last epoch of the rest.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
from cfnsr.corpus.ravdess import EMOTIONS
from cfnsr.errors import InputError
from cfnsr.features.cached import Features
from cfnsr.model import CFNSR
from cfnsr.model.calibration import fit_temperature, softmax
from cfnsr.model.checkpoint import save_model
from cfnsr.model.normalize import Normalization
from cfnsr.training.dataset import ClipDataset
from cfnsr.training.loaders import FoldData, as_it_is
from cfnsr.training.phase import Phase, fit, write_csv
from cfnsr.training.pretrained import Ancestors, begin_with, checkpoint_of
from cfnsr.training.result import CHOICE, HISTORY, PHASES, PREDICTIONS, SCORE, TEST_SCORE, WEIGHTS, FoldResult

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
    """Train a fold, predict its test actors once, and leave everything in `folder`.

    Args:
        features: the cached features.
        fold: who is trained on, who chooses the epoch, who is tested.
        settings: the profile.
        folder: of this fold; what a killed run left there is used.
        logger_for: makes the logger of a phase.
        callbacks: for the last phase, for example to give a hopeless fold up.

    Raises:
        InputError: a group of the fold has no clips, a checkpoint to begin with can't be used, or the loss is not
            finite.
    """
    finished = FoldResult.load(folder)
    if finished is not None:
        return finished
    params = settings.params
    # Where the test actors choose, as published, it is their best single epoch that is reported.
    train = params.train if fold.validation else params.train.model_copy(update={"smooth_epochs": 1})
    normalization = normalization_of(features, fold, settings)
    phases = phases_of(settings)
    history = [pd.DataFrame(columns=["phase", "epoch", "seconds", SCORE, CHOICE])]
    trained: dict[str, CFNSR] = {}  # by phase
    ancestors = Ancestors()
    unfinished: set[str] = set()
    seed = fold.seed(params.train.seed)
    for modality, phase in phases.items():
        if phase.epochs == 0 and phase.checkpoint is None:
            continue
        name = "fusion" if modality == "both" else modality
        torch.manual_seed(seed)
        network = CFNSR.from_settings(params.model, params.mfcc, modality)
        if modality == "both":
            for encoder, pretrained in trained.items():
                getattr(network, encoder).load_state_dict(getattr(pretrained, encoder).state_dict())
        if phase.checkpoint is not None:
            path = checkpoint_of(phase.checkpoint, fold.index)
            if not begin_with(network, path, fold, ancestors, settings, phase.epochs > 0) and not phase.epochs:
                unfinished.add(name)
                if modality == params.model.modality:
                    raise InputError(f"{path} has no classifier for this network; train one (epochs from 1 on).")
        if phase.epochs:
            data = FoldData(features, fold, phase, modality, normalization, seed, params.train, params.mfcc)
            description = f"fold {fold.index} {name}"
            last = callbacks if modality == params.model.modality else ()
            named = Phase(name, phase, folder / name, seed, description)
            network = fit(network, data, named, train, logger_for(name), last)
            history.append(_history(folder / name, fold).assign(phase=name))
        trained[name] = network
        if name != "fusion" and params.model.modality == "both":
            save_model(
                folder / f"{name}.safetensors",
                network,
                model_config(settings, fold, normalization, {modality: 1.0}, ancestors, features.landmark_share),
            )

    # An encoder without a classifier of its own is good for the fused network, but has nothing to say alone.
    answering = {name: each for name, each in trained.items() if name not in unfinished}
    final = _score(answering, features, fold, settings, normalization)
    write_csv(folder / PREDICTIONS, final.predictions)
    write_csv(folder / HISTORY, pd.concat(history))
    config = model_config(settings, fold, normalization, final.temperatures, ancestors, features.landmark_share)
    save_model(folder / WEIGHTS, network, config)
    curve = history[-1][CHOICE] if phases[params.model.modality].epochs else pd.Series([final.selection_accuracy])
    result = FoldResult(
        fold.index, fold.train, fold.validation, fold.test, int(curve.argmax()), float(curve.max()),
        network.parameter_count, float(sum(epochs["seconds"].sum() for epochs in history)), ancestors.unknown,
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


def inputs_of(modality: Modality, settings: Settings) -> tuple[Modality, ...]:
    """What a network can answer from: a fused one also from one modality, if it was trained to do without the other."""
    if modality == "both" and settings.params.train.fusion.modality_dropout:
        return ("both", "audio", "video")
    return (modality,)


def model_config(
    settings: Settings,
    fold: Fold,
    normalization: Normalization,
    temperatures: Mapping[Modality, float],
    ancestors: Ancestors,
    landmark_share: float = 0.0,
) -> dict[str, Any]:
    """What must travel with the weights: labels, preprocessing, who was trained on, and whether it was synthetic.

    Args:
        settings: the profile.
        fold: that was trained.
        normalization: of its training actors.
        temperatures: by what the network can answer from; 1 where there was nobody to fit it on.
        ancestors: of the weights that it began with.
        landmark_share: of the clips whose faces were found by their OpenFace landmarks, among all.
    """
    return {
        "labels": list(EMOTIONS),
        "faces": settings.params.faces.model_dump(mode="json", exclude={"yunet", "max_bad_share"}),
        "landmark_share": landmark_share,
        "detector": "yunet" if settings.params.faces.yunet else "haar",
        "mfcc": settings.params.mfcc.model_dump(mode="json", exclude={"max_bad_share"}),
        "normalization": normalization.to_dict(),
        "inputs": list(temperatures),
        "temperature": dict(temperatures),
        "actors": {
            "train": sorted({*fold.train, *ancestors.train}),
            "selection": sorted({*fold.selection, *ancestors.selection}),
            "unknown": ancestors.unknown,
        },
        "profile": settings.profile,
        "synthetic": settings.params.dataset.source == "sample",
    }


@torch.no_grad()
def predict(network: CFNSR, dataset: ClipDataset, batch_size: int, inputs: Modality) -> NDArray[np.float32]:
    """Logits `(N, K)` of a dataset's clips, in its order, from both modalities or one of them."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network = network.eval().to(device)
    rows = []
    for batch in DataLoader(dataset, batch_size=batch_size, collate_fn=as_it_is):
        frames = batch["frames"].to(device) if inputs != "audio" else None
        mfcc = batch["mfcc"].to(device) if inputs != "video" else None
        rows.append(network(frames, mfcc).float().cpu().numpy())
    return np.concatenate(rows) if rows else np.zeros((0, network.arguments["classes"]), np.float32)


@dataclass(frozen=True)
class _Scored:
    """What the trained networks of a fold say."""

    predictions: pd.DataFrame
    """See `cfnsr.training.result.PREDICTIONS`."""
    temperatures: dict[Modality, float]
    """Of the last network, by what it was given."""
    selection_accuracy: float
    """Of the last network."""


def _score(
    trained: Mapping[str, CFNSR], features: Features, fold: Fold, settings: Settings, normalization: Normalization
) -> _Scored:
    """Predict the test actors; calibrate on the validation actors."""
    params, tables = settings.params, []
    temperatures: dict[Modality, float] = {}
    accuracy = float("nan")
    # All networks are tested on the same clips, those that the last one can use.
    test, selection = (
        ClipDataset(features, actors, params.model.modality, normalization) for actors in (fold.test, fold.selection)
    )
    labels = selection.clips["label"].to_numpy()
    for name, network in trained.items():
        temperatures = {}
        for inputs in inputs_of(network.modality, settings):
            chosen_on = predict(network, selection, params.train.fusion.batch_size, inputs)
            temperature = fit_temperature(chosen_on, labels) if fold.validation else None
            logits = predict(network, test, params.train.fusion.batch_size, inputs)
            tables.append(_table(test, softmax(logits)).assign(network=name, inputs=inputs, temperature=temperature))
            temperatures[inputs] = temperature or 1.0
            if inputs == network.modality:
                accuracy = float((chosen_on.argmax(axis=1) == labels).mean())
    return _Scored(pd.concat(tables), temperatures, accuracy)


def normalization_of(features: Features, fold: Fold, settings: Settings) -> Normalization:
    """Scaling of the inputs, by the fold's training actors."""
    voices = features.having("audio")
    voices = voices[voices["actor"].isin(fold.train)]
    mfccs = (features.mfcc[clip] for clip in voices["clip_id"])
    return Normalization.fit(mfccs, settings.params.mfcc.channels, settings.params.train.standardize_mfcc)


def _history(folder: Path, fold: Fold) -> pd.DataFrame:
    history = pd.read_csv(folder / HISTORY)
    if not fold.validation:
        history[TEST_SCORE] = history[SCORE]  # as published, it is the test actors who choose
    return history


def _table(dataset: ClipDataset, probabilities: NDArray[np.float64]) -> pd.DataFrame:
    table = dataset.clips[["clip_id", "actor", "sex", "label"]].copy()
    for index, emotion in enumerate(EMOTIONS):
        table[emotion] = probabilities[:, index]
    return table
