"""What an exported network answers, against the network in PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cfnsr.config.load import Settings
from cfnsr.config.sections import Modality
from cfnsr.errors import InputError
from cfnsr.export.quantize import Inputs
from cfnsr.features.cached import Features
from cfnsr.predict.backend import Frames, Mfccs

CALIBRATION_CLIPS = 32
"""That int8's scales are found on; spread over the training actors."""

Logits = Callable[[Frames | None, Mfccs | None], NDArray[np.float32]]
"""`cfnsr.predict.backend.Backend.logits`"""

_BATCH = 4


@dataclass(frozen=True)
class Agreement:
    """Both networks on the same clips."""

    clips: int
    actors: int
    accuracy: float
    """Of the exported network."""
    reference: float
    """Accuracy of the network in PyTorch."""
    same: int
    """Clips with the same answer."""
    doubtful: bool
    """The network may have been trained on them: its file does not say on whom its first weights were trained."""


class Clips:
    """The cached clips of a network's profile, as the network was given them.

    Args:
        settings: the profile.
        config: of the network.

    Raises:
        InputError: a data stage has not run, or the profile's features are not those the network was trained on.
    """

    def __init__(self, settings: Settings, config: dict[str, Any]) -> None:
        faces, mfcc = settings.params.faces, settings.params.mfcc
        for section, now, then in (("faces", faces, config["faces"]), ("mfcc", mfcc, config["mfcc"])):
            values = now.model_dump(mode="json")
            if {key: values[key] for key in then} != then:
                raise InputError(
                    f"the section {section} of profile {settings.profile} is not what the network was trained with; "
                    "name its profile with --profile, or leave the check out with --no-check."
                )
        self._features = Features.load(settings.layout)
        self._modality: Modality = config["network"]["modality"]
        usable = self._features.having(self._modality)
        known = config.get("actors", {"train": [], "selection": [], "unknown": True})
        self._doubtful = bool(known.get("unknown", False))
        trained, chose = usable["actor"].isin(known["train"]), usable["actor"].isin(known["selection"])
        self.training, self.tested = usable[trained], usable[~trained & ~chose]

    def calibration(self) -> Iterator[Inputs]:
        """Training clips one by one, as the graph's inputs.

        Raises:
            InputError: there are none.
        """
        if self.training.empty:
            raise InputError("int8 needs clips that the network was trained on, and the features hold none of them.")
        spread = np.linspace(0, len(self.training) - 1, min(CALIBRATION_CLIPS, len(self.training))).round().astype(int)
        for clip in self.training["clip_id"].iloc[spread]:
            frames, mfcc = self._inputs([clip])
            inputs = {"frames": frames, "mfcc": mfcc}
            given: Inputs = {name: value for name, value in inputs.items() if value is not None}
            yield {**given, "present": np.ones((1, 2), bool)} if self._modality == "both" else given

    def compare(self, exported: Logits, network: Logits) -> Agreement:
        """Both on the clips of actors that neither trained the network nor chose its epoch, as far as is known.

        Raises:
            InputError: there are none.
        """
        if self.tested.empty:
            raise InputError(
                "the features hold no clips of actors that had no part in training; leave the check out: --no-check"
            )
        answers: list[list[NDArray[np.intp]]] = [[], []]
        for start in range(0, len(self.tested), _BATCH):
            inputs = self._inputs(self.tested["clip_id"].iloc[start : start + _BATCH].tolist())
            for rows, logits in zip(answers, (exported, network), strict=True):
                rows.append(logits(*inputs).argmax(axis=1))
        theirs, ours = map(np.concatenate, answers)
        labels = self.tested["label"].to_numpy()
        accuracy, reference = (float((said == labels).mean()) for said in (theirs, ours))
        actors, same = self.tested["actor"].nunique(), int((theirs == ours).sum())
        return Agreement(len(labels), actors, accuracy, reference, same, self._doubtful)

    def _inputs(self, clips: Sequence[str]) -> tuple[Frames | None, Mfccs | None]:
        frames = np.stack([self._features.frames(clip) for clip in clips]) if self._modality != "audio" else None
        mfcc = np.stack([self._features.mfcc[clip] for clip in clips]) if self._modality != "video" else None
        return frames, mfcc


def difference(exported: Logits, network: Logits, inputs: Inputs, ways: Sequence[Modality]) -> float:
    """The largest difference between the logits of both, relative to the largest logit.

    Args:
        exported: the network that is checked.
        network: in PyTorch.
        inputs: of a graph: `frames` and `mfcc`.
        ways: what both are asked to answer from, one after the other.
    """
    worst = np.float64(0)
    for way in ways:
        frames = inputs.get("frames") if way != "audio" else None
        mfcc = inputs.get("mfcc") if way != "video" else None
        ours = network(frames, mfcc)
        worst = np.maximum(worst, np.abs(exported(frames, mfcc) - ours).max() / np.abs(ours).max())  # keeps NaN
    return float(worst)
