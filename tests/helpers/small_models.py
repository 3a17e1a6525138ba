"""Networks with seeded random weights, saved as training saves them: for tests that need a model and no training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from helpers.feature_files import PROFILE

from cfnsr import CFNSR
from cfnsr.config.corpus import EMOTIONS, SAMPLE_CORPUS
from cfnsr.config.layout import Layout
from cfnsr.config.load import Settings
from cfnsr.config.sections import ProfileSettings
from cfnsr.corpus.manifest import manifest_of
from cfnsr.features.cached import Features
from cfnsr.model.checkpoint import save_model
from cfnsr.model.metadata import Provenance
from cfnsr.model.normalize import Normalization
from cfnsr.training.fold import describe

EVERY_WAY = ("both", "audio", "video")


def small_settings(**sections: dict) -> Settings:
    """The small profile of `feature_files`; `sections` replace keys of its sections."""
    profile = {name: {**content, **sections.get(name, {})} for name, content in PROFILE.items()}
    return Settings("small", ProfileSettings.model_validate(profile), Layout(Path(), "small"), Path("params.yaml"))


def write_model(
    path: Path,
    *,
    modality: str = "both",
    inputs: tuple[str, ...] = EVERY_WAY,
    temperature: dict[str, float] | None = None,
    labels: tuple[str, ...] = EMOTIONS,
    **sections: dict,
) -> Path:
    """Write a network whose answers differ from clip to clip.

    Args:
        path: file to write.
        modality: of the network.
        inputs: what a network of both modalities was trained to answer from.
        temperature: by input; 1 for those that are not named.
        labels: of the network.
        sections: of the profile, see `small_settings`.
    """
    settings = small_settings(**sections)
    torch.manual_seed(3)
    network = CFNSR.from_settings(settings.params.model, settings.params.mfcc, len(labels), modality)
    for name, weight in network.named_parameters():  # fresh classifiers hardly tell clips apart
        if name.endswith("classifier.weight"):
            torch.nn.init.normal_(weight, std=0.5)
    rows = settings.params.mfcc.channels
    normalization = Normalization((0.0,) * rows, tuple(np.linspace(100, 10, rows).tolist()))
    ways = inputs if modality == "both" else (modality,)
    temperatures = {way: (temperature or {}).get(way, 1.0) for way in ways}
    provenance = Provenance.of(SAMPLE_CORPUS, ["01"], ["02"])
    features = Features(manifest_of([]), {}, {}, labels, settings.layout)
    save_model(path, network, describe(network, settings, features, normalization, temperatures, provenance))
    return path
