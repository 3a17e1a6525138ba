"""How a network's inputs are made and its outputs read: what its file says besides the weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from cfnsr.config.base import first_problem
from cfnsr.config.sections import FacesSettings, MfccSettings, Modality
from cfnsr.errors import InputError

Section = TypeVar("Section", bound=BaseModel)

_SINGLE = 1.75
"""Windows; clips up to this length get one answer, longer ones a timeline. RAVDESS's longest take is 5.3 s, a window of
its network 3.45 s."""


@dataclass(frozen=True)
class Recipe:
    """Preprocessing and calibration of one network."""

    labels: tuple[str, ...]
    faces: FacesSettings
    mfcc: MfccSettings
    modality: Modality
    inputs: tuple[Modality, ...]
    """What the network was trained to answer from."""
    temperature: dict[str, float]
    """By inputs; logits are divided by it."""
    synthetic: bool
    """It was trained on the synthetic sample corpus."""
    landmark_share: float = 0.0
    """Share of its clips whose faces were found by OpenFace landmarks; here the detector finds all."""

    @classmethod
    def from_config(cls, config: dict[str, Any], yunet: Path | None = None) -> Recipe:
        """Read what `cfnsr.model.checkpoint.load_model` gives beside the network.

        Args:
            config: of the network.
            yunet: the detector's file, for a network that was trained on faces that YuNet had found.

        Raises:
            InputError: something is missing in it or impossible, or it needs `yunet`.
        """
        missing = {"labels", "faces", "detector", "mfcc", "normalization", "network"} - set(config)
        if missing:
            raise InputError(f"the model's file lacks {', '.join(sorted(missing))}; use the one a finished fold wrote.")
        modality: Modality = config["network"]["modality"]
        if config["detector"] == "yunet" and yunet is None and modality != "audio":
            raise InputError("this network was trained on faces that YuNet had found; name the same file with `yunet`.")
        return cls(
            labels=tuple(config["labels"]),
            faces=_section(FacesSettings, "faces", {**config["faces"], "yunet": yunet}),
            mfcc=_section(MfccSettings, "mfcc", config["mfcc"]),
            modality=modality,
            inputs=tuple(config.get("inputs", [modality])),
            temperature=config.get("temperature", {}),
            synthetic=config.get("synthetic", False),
            landmark_share=config.get("landmark_share", 0.0),
        )

    @property
    def looks(self) -> bool:
        """The network can use faces."""
        return self.modality != "audio"

    @property
    def listens(self) -> bool:
        """The network can use voices."""
        return self.modality != "video"

    @property
    def window(self) -> float:
        """Seconds of a window as the network knows them: the MFCC's part of a clip, and its offset on both sides."""
        return self.mfcc.duration + 2 * self.mfcc.offset

    def longest_single(self, window: float | None) -> float:
        """Seconds up to which a clip gets one answer: by the network's own window, or the one asked for if shorter."""
        return _SINGLE * min(window or self.window, self.window)


def _section(kind: type[Section], name: str, content: Mapping[str, Any]) -> Section:
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        raise InputError(f"the model's file is damaged: {first_problem(error, name, kind)}") from None
