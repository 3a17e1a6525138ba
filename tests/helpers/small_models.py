"""Networks with seeded random weights, saved as training saves them: for tests that need a model and no training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from helpers.feature_files import PROFILE

from cfnsr import CFNSR
from cfnsr.config.layout import Layout
from cfnsr.config.load import Settings
from cfnsr.config.sections import ProfileSettings
from cfnsr.corpus.folds import Fold
from cfnsr.model.checkpoint import save_model
from cfnsr.model.normalize import Normalization
from cfnsr.training.fold import model_config
from cfnsr.training.pretrained import Ancestors

EVERY_WAY = ("both", "audio", "video")


def small_settings(**sections: dict) -> Settings:
    """The small profile of `feature_files`; `sections` replace keys of its sections."""
    profile = {name: {**content, **sections.get(name, {})} for name, content in PROFILE.items()}
    return Settings("small", ProfileSettings.model_validate(profile), Layout(Path(), "small"), Path("params.yaml"))


def write_model(
    path: Path,
    *,
    modality: str = "both",
    inputs: tuple[str, ...] | None = EVERY_WAY,
    temperature: dict[str, float] | None = None,
    **sections: dict,
) -> Path:
    """A network whose answers differ from clip to clip.

    Args:
        path: file to write.
        modality: of the network.
        inputs: what a network of both modalities was trained to answer from; None: its file does not say, as old ones.
        temperature: by inputs; None: 1.
        sections: of the profile, see `small_settings`.
    """
    settings = small_settings(**sections)
    torch.manual_seed(3)
    network = CFNSR.from_settings(settings.params.model, settings.params.mfcc, modality)
    for name, weight in network.named_parameters():  # fresh classifiers hardly tell clips apart
        if name.endswith("classifier.weight"):
            torch.nn.init.normal_(weight, std=0.5)
    rows = settings.params.mfcc.channels
    statistics = Normalization((0.0,) * rows, tuple(np.linspace(100, 10, rows).tolist()))
    temperatures = temperature or dict.fromkeys(EVERY_WAY if modality == "both" else (modality,), 1.0)
    config: dict[str, Any] = model_config(settings, Fold(0, (1,), (2,), (3,)), statistics, temperatures, Ancestors())
    if inputs is None:
        del config["inputs"], config["temperature"]
    elif modality == "both":
        config["inputs"] = list(inputs)
    save_model(path, network, config)
    return path
