"""Weights that a phase starts from: of this project (safetensors) or of the published code (a state dict)."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cfnsr.config.load import Settings
from cfnsr.config.sections import MfccSettings
from cfnsr.corpus.folds import Fold
from cfnsr.errors import InputError
from cfnsr.model.checkpoint import from_published, load_model
from cfnsr.model.metadata import Provenance, qualified
from cfnsr.model.network import CFNSR

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Source:
    """The weights of a file, and the inputs they were trained with."""

    state: dict[str, Tensor]
    provenance: Provenance
    mfcc: MfccSettings
    standardize_mfcc: bool
    stem_relu: bool


def checkpoint_of(path: Path, fold: int) -> Path:
    """The checkpoint of a fold: `{fold}` in the path is replaced by its number."""
    return Path(str(path).replace("{fold}", str(fold)))


def load_pretrained(
    network: CFNSR, path: Path, fold: Fold, settings: Settings, trained_further: bool = True
) -> tuple[Provenance, bool]:
    """Load the weights that a file and a network have in common.

    Encoders that both have must be of the same size; a classifier of another size keeps its own weights. Weights that
    were trained with other inputs are accepted only if they are trained further.

    Args:
        network: changed in place.
        path: safetensors file of this project, or state dict of the published code (see `from_published`).
        fold: about to be trained.
        settings: the profile.
        trained_further: whether the network is trained after this.

    Returns:
        Whose clips the weights have seen, and whether the file has the whole network, including its classifier.

    Raises:
        InputError: the file is missing or of another kind; it has no encoder of the network, or one of another size;
            it was trained on validation or test speakers of the fold, or selected on test speakers under the honest
            protocol; it was trained with other inputs and is not trained further.
    """
    source = _read(path)
    if source.provenance.unknown:
        logger.warning(
            "%s does not record the speakers it was trained on; if they are tested here, figures are too high", path
        )
    corpus = settings.params.dataset.corpus
    trained, selected = source.provenance.trained_on, source.provenance.selected_on
    seen = {speaker for speaker in (*fold.validation, *fold.test) if qualified(corpus, speaker) in trained}
    if fold.validation:  # as published, the test speakers choose the epoch of the encoders too
        seen |= {speaker for speaker in fold.test if qualified(corpus, speaker) in selected}
    if seen:
        raise InputError(
            f"{path} has seen the speakers {', '.join(sorted(seen))}, who validate or test fold {fold.index}; "
            "start from weights that have not (`{fold}` in the path stands for the number of the fold)."
        )
    own, state = network.state_dict(), source.state
    encoders = _modules(own) & _modules(state) & {"audio", "video"}
    if not encoders:
        raise InputError(f"{path} has no encoder for a network of modality {network.modality}; name another file.")
    for name, value in own.items():
        if name.split(".")[0] in encoders and (name not in state or state[name].shape != value.shape):
            found = tuple(state[name].shape) if name in state else "missing"
            raise InputError(
                f"{path} does not fit the network: {name} is {found}, not {tuple(value.shape)}; set `model` in "
                "params.yaml to the sizes it was trained with."
            )
    for key, (theirs, ours) in _differences(source, encoders, settings).items():
        message = f"{path} was trained with {key} {theirs!r}, but params.yaml has {ours!r}"
        if not trained_further:
            raise InputError(f"{message}; set it to {theirs!r}, or train further (epochs).")
        logger.warning("%s; training starts from weights that expect other inputs", message)
    fitting = {name: value for name, value in state.items() if name in own and own[name].shape == value.shape}
    network.load_state_dict(fitting, strict=False)
    return source.provenance, set(fitting) == set(own)


def _modules(state: Collection[str]) -> set[str]:
    return {name.split(".")[0] for name in state}


def _differences(source: _Source, encoders: Collection[str], settings: Settings) -> dict[str, tuple[Any, Any]]:
    """By key of params.yaml: the value in the file and in the settings, where the inputs of the encoders differ."""
    params = settings.params
    pairs: dict[str, tuple[Any, Any]] = {}
    if "audio" in encoders:
        for name, ours in params.mfcc.model_dump(exclude={"max_bad_share", "speeds", "shift"}).items():
            pairs[f"mfcc.{name}"] = getattr(source.mfcc, name), ours
        pairs["train.standardize_mfcc"] = source.standardize_mfcc, params.train.standardize_mfcc
    if "video" in encoders:
        pairs["model.stem_relu"] = source.stem_relu, params.model.stem_relu
    return {key: pair for key, pair in pairs.items() if pair[0] != pair[1]}


def _read(path: Path) -> _Source:
    if not path.exists():
        raise InputError(f"{path} is missing; set the phase's checkpoint to an existing file, or to null.")
    if path.suffix == ".safetensors":
        network, metadata = load_model(path)
        standardized = set(metadata.normalization.mfcc_std) != {1.0}
        return _Source(
            network.state_dict(), metadata.provenance, metadata.mfcc, standardized, metadata.network.stem_relu
        )
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise InputError(f"{path} is not a file of weights alone ({error}); convert it to safetensors.") from None
    state = content.get("state_dict", content) if isinstance(content, dict) else None
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise InputError(f"{path} holds no state dict; name a file of weights.")
    renamed = from_published(state)
    fused = any(name.startswith("audio.") for name in renamed)  # only the stand-alone video encoder has the stem's ReLU
    return _Source(renamed, Provenance(unknown=True), MfccSettings(), standardize_mfcc=False, stem_relu=not fused)
