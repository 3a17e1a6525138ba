"""Weights that a phase begins with: of this project (safetensors) or of the published code (a state dict)."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cfnsr.config.load import Settings
from cfnsr.config.sections import MfccSettings
from cfnsr.corpus.folds import Fold
from cfnsr.errors import InputError
from cfnsr.model import CFNSR
from cfnsr.model.checkpoint import from_published, load_model
from cfnsr.model.normalize import Normalization

logger = logging.getLogger(__name__)


def checkpoint_of(path: Path, fold: int) -> Path:
    """The file of a fold: `{fold}` in the path stands for its number."""
    return Path(str(path).replace("{fold}", str(fold)))


@dataclass
class Ancestors:
    """Who the weights that a fold began with have seen."""

    train: set[int] = field(default_factory=set)
    """Actors they were trained on."""
    selection: set[int] = field(default_factory=set)
    """Actors who chose among them."""
    unknown: bool = False
    """Some do not say it, as those of the published code."""


def begin_with(
    network: CFNSR, path: Path, fold: Fold, ancestors: Ancestors, settings: Settings, trains_on: bool = True
) -> bool:
    """Load into a network what a file has of it.

    The encoders that both have must fit; a classifier of another size (other classes) is left as it is. Inputs that are
    made in another way than those the file was trained with are only good for something if training goes on.

    Args:
        network: changed in place.
        path: safetensors of this project, or a state dict of the published code (`from_published`).
        fold: that is about to be trained.
        ancestors: whom the file has seen is added.
        settings: the profile.
        trains_on: training goes on from there.

    Returns:
        Whether the file has the whole network, its classifier too.

    Raises:
        InputError: the file is missing or of another kind, shares no encoder with the network, an encoder is of another
            size, it was trained on actors that validate or test the fold, or chosen on those that test an honest one;
            or training does not go on, and it was trained with other inputs.
    """
    state, config = _read(path)
    actors = config.get("actors")
    if actors is None or actors.get("unknown"):
        logger.warning("%s does not say on which actors it was trained; if they are tested here, figures mislead", path)
        ancestors.unknown = True
    if actors is not None:
        ancestors.train.update(actors["train"])
        ancestors.selection.update(actors["selection"])
        trained_on = set(actors["train"]) & {*fold.validation, *fold.test}
        # As published, the test actors choose the epoch of the encoders too.
        seen = trained_on | (set(actors["selection"]) & set(fold.test) if fold.validation else set())
        if seen:
            raise InputError(
                f"{path} has seen the actors {', '.join(map(str, sorted(seen)))}, who validate or test fold "
                f"{fold.index}; begin with weights that have not (`{{fold}}` in the path names a file a fold)."
            )
    own = network.state_dict()
    encoders = {name.split(".")[0] for name in own} & {name.split(".")[0] for name in state} & {"audio", "video"}
    if not encoders:
        raise InputError(f"{path} has no encoder that a network of modality {network.modality} could begin with.")
    for name, value in own.items():
        if name.split(".")[0] in encoders and (name not in state or state[name].shape != value.shape):
            found = tuple(state[name].shape) if name in state else "missing"
            raise InputError(
                f"{path} does not fit the network: {name} is {found}, not {tuple(value.shape)}; set `model` in "
                "params.yaml to the sizes it was trained with."
            )
    for key, (theirs, ours) in _differences(config, encoders, settings).items():
        said = f"{path} was trained with {key} {theirs!r}, which is {ours!r} here"
        if not trains_on:
            raise InputError(f"{said}; set {key} in params.yaml to {theirs!r}, or train on (epochs).")
        logger.warning("%s; training starts from weights that expect other inputs", said)
    fitting = {name: value for name, value in state.items() if name in own and own[name].shape == value.shape}
    network.load_state_dict(fitting, strict=False)
    return set(fitting) == set(own)


def _differences(
    config: Mapping[str, Any], encoders: Collection[str], settings: Settings
) -> dict[str, tuple[Any, Any]]:
    """By key of params.yaml: what decides about the shared encoders' inputs, in the file and in the settings."""
    params = settings.params
    pairs: dict[str, tuple[Any, Any]] = {}
    if "audio" in encoders:
        ours = params.mfcc.model_dump(mode="json", exclude={"max_bad_share", "speeds", "shift"})
        theirs = config.get("mfcc", {})
        pairs |= {f"mfcc.{name}": (theirs.get(name, value), value) for name, value in ours.items()}
        if "normalization" in config:
            standardized = set(config["normalization"]["mfcc_std"]) != {1.0}
            pairs["train.standardize_mfcc"] = (standardized, params.train.standardize_mfcc)
    if "video" in encoders:
        pairs["model.stem_relu"] = (config["network"]["stem_relu"], params.model.stem_relu)
    return {key: pair for key, pair in pairs.items() if pair[0] != pair[1]}


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    if not path.exists():
        raise InputError(f"{path} is missing; set the phase's checkpoint to a file that is there, or to null.")
    if path.suffix == ".safetensors":
        network, config = load_model(path)
        return network.state_dict(), {**config, "network": network.arguments}
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise InputError(f"{path} is not a file of weights alone ({error}); convert it to safetensors.") from None
    state = content.get("state_dict", content) if isinstance(content, dict) else None
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise InputError(f"{path} holds no state dict; name a file of weights.")
    renamed = from_published(state)
    published = MfccSettings()
    config = {
        "mfcc": published.model_dump(mode="json"),
        "normalization": Normalization.fit([], published.coefficients, standardize=False).to_dict(),
        # The published fused network leaves out the ReLU that its video encoder alone has.
        "network": {"stem_relu": not any(name.startswith("audio.") for name in renamed)},
    }
    return renamed, config
