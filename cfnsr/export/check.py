"""Compares the answers of an exported network with those of the network in PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from cfnsr.config.load import Settings
from cfnsr.config.sections import Modality
from cfnsr.errors import InputError
from cfnsr.export.quantize import Inputs
from cfnsr.features.cached import Features
from cfnsr.model.metadata import ModelMetadata, feature_settings, qualified
from cfnsr.predict.backend import Frames, Mfccs

CALIBRATION_CLIPS = 32
"""Number of clips that int8 is calibrated on, spread over the training speakers."""

Logits = Callable[[Frames | None, Mfccs | None], NDArray[np.float32]]
"""`cfnsr.predict.backend.Backend.logits`"""

_BATCH = 4


@dataclass(frozen=True)
class Agreement:
    """Results of both networks on the same clips."""

    clips: int
    speakers: int
    accuracy: float
    """Of the exported network."""
    reference: float
    """Accuracy of the network in PyTorch."""
    same: int
    """Number of clips with the same answer."""
    doubtful: bool
    """Whether the network may have been trained on these clips, because its provenance is unknown."""


class Clips:
    """The cached clips of a network's profile.

    Args:
        settings: the profile.
        metadata: of the network.

    Raises:
        InputError: a data stage has not run, or the profile's features or labels are not those the network was
            trained on.
    """

    def __init__(self, settings: Settings, metadata: ModelMetadata) -> None:
        params = settings.params
        for name in ("faces", "mfcc"):
            if feature_settings(getattr(params, name)) != getattr(metadata, name):
                raise InputError(
                    f"the section {name} of profile {settings.profile} differs from what the network was trained with; "
                    "name its profile with --profile, or skip the check with --no-check."
                )
        self._features = Features.load(settings)
        self._modality: Modality = metadata.network.modality
        if self._features.labels != metadata.labels:
            raise InputError(
                f"the clips of profile {settings.profile} have the labels {', '.join(self._features.labels)}, and the "
                f"network has {', '.join(metadata.labels)}; name its profile with --profile."
            )
        usable, provenance = self._features.having(self._modality), metadata.provenance
        self._doubtful = provenance.unknown
        names = usable["speaker"].map(partial(qualified, params.dataset.corpus))
        trained, selected = (names.isin(each) for each in (provenance.trained_on, provenance.selected_on))
        self.training, self.tested = usable[trained], usable[~trained & ~selected]

    def calibration(self) -> Iterator[Inputs]:
        """Yield training clips one by one, as the graph's inputs.

        Raises:
            InputError: there are no training clips.
        """
        if self.training.empty:
            raise InputError("int8 needs clips that the network was trained on, and the features have none of them.")
        spread = np.linspace(0, len(self.training) - 1, min(CALIBRATION_CLIPS, len(self.training))).round().astype(int)
        for clip in self.training["clip_id"].iloc[spread]:
            frames, mfcc = self._inputs([clip])
            inputs = {"frames": frames, "mfcc": mfcc}
            given: Inputs = {name: value for name, value in inputs.items() if value is not None}
            yield {**given, "present": np.ones((1, 2), bool)} if self._modality == "both" else given

    def compare(self, exported: Logits, network: Logits) -> Agreement:
        """Compare both on the clips of speakers that had no known part in training or in the choice of the epoch.

        Raises:
            InputError: there are no such clips.
        """
        if self.tested.empty:
            raise InputError(
                "the features have no clips of speakers without a part in training; skip the check with --no-check."
            )
        answers: list[list[NDArray[np.intp]]] = [[], []]
        for start in range(0, len(self.tested), _BATCH):
            inputs = self._inputs(self.tested["clip_id"].iloc[start : start + _BATCH].tolist())
            for rows, logits in zip(answers, (exported, network), strict=True):
                rows.append(logits(*inputs).argmax(axis=1))
        of_exported, of_network = map(np.concatenate, answers)
        labels = self._features.classes(self.tested)
        accuracy, reference = (float((answer == labels).mean()) for answer in (of_exported, of_network))
        speakers, same = self.tested["speaker"].nunique(), int((of_exported == of_network).sum())
        return Agreement(len(labels), speakers, accuracy, reference, same, self._doubtful)

    def _inputs(self, clips: Sequence[str]) -> tuple[Frames | None, Mfccs | None]:
        frames = np.stack([self._features.frames(clip) for clip in clips]) if self._modality != "audio" else None
        mfcc = np.stack([self._features.mfcc[clip] for clip in clips]) if self._modality != "video" else None
        return frames, mfcc


def difference(exported: Logits, network: Logits, inputs: Inputs, ways: Sequence[Modality]) -> float:
    """Compute the largest difference between the logits of both, relative to the largest logit.

    Args:
        exported: the network to check.
        network: the network in PyTorch.
        inputs: `frames` and `mfcc` of the graph.
        ways: the modalities to answer from, one after the other.
    """
    worst = np.float64(0)
    for way in ways:
        frames = inputs.get("frames") if way != "audio" else None
        mfcc = inputs.get("mfcc") if way != "video" else None
        expected = network(frames, mfcc)
        error = np.abs(exported(frames, mfcc) - expected).max() / np.abs(expected).max()
        worst = np.maximum(worst, error)  # keeps NaN
    return float(worst)
