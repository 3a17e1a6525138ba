"""What travels with a network's weights: its configuration, labels, preprocessing, calibration and provenance.

The same JSON is stored in the metadata of safetensors, ONNX and `torch.export` files. Reading it does not need PyTorch.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import Field, PositiveFloat, PositiveInt, ValidationError, field_validator

from cfnsr.config.base import Section, first_problem
from cfnsr.config.corpus import EMOTIONS
from cfnsr.config.sections import FacesSettings, MfccSettings, Modality, ModelSettings
from cfnsr.errors import InputError
from cfnsr.model.normalize import Normalization

KEY = "cfnsr"
"""The key of the JSON in a file's metadata."""

FORMAT: Literal[3] = 3
"""Version of the JSON; raised whenever older files can no longer be read."""

_Features = TypeVar("_Features", FacesSettings, MfccSettings)


class NetworkConfig(ModelSettings):
    """All arguments of `CFNSR`: section `model` of params.yaml, and the sizes of the input and output."""

    classes: PositiveInt = len(EMOTIONS)
    coefficients: PositiveInt = 13  # rows of the MFCC matrix
    mfcc_frames: int = Field(212, ge=64)  # columns of the MFCC matrix; they fix the number of audio tokens


class Provenance(Section):
    """Which speakers had a part in a network's weights."""

    trained_on: tuple[str, ...] = ()
    """Corpus and speaker, for example `RAVDESS/07`."""
    selected_on: tuple[str, ...] = ()
    """Speakers whose scores chose the epoch."""
    unknown: bool = False
    """Training started from weights that do not record their speakers, such as those of the published code."""

    @classmethod
    def of(cls, corpus: str, trained_on: Iterable[str], selected_on: Iterable[str]) -> Provenance:
        """The provenance of weights that were trained on speakers of one corpus."""
        return cls(
            trained_on=tuple(qualified(corpus, speaker) for speaker in trained_on),
            selected_on=tuple(qualified(corpus, speaker) for speaker in selected_on),
        )

    def merged(self, other: Provenance) -> Provenance:
        """The provenance of weights that descend from both."""
        return Provenance(
            trained_on=tuple(sorted({*self.trained_on, *other.trained_on})),
            selected_on=tuple(sorted({*self.selected_on, *other.selected_on})),
            unknown=self.unknown or other.unknown,
        )


def qualified(corpus: str, speaker: str) -> str:
    """A speaker's name that no other corpus has."""
    return f"{corpus}/{speaker}"


class ModelMetadata(Section):
    """Everything besides the weights that is needed to use a network."""

    format: Literal[3] = FORMAT
    network: NetworkConfig
    labels: tuple[str, ...]
    """Names of the classes, in the order of the logits."""
    faces: FacesSettings
    detector: Literal["haar", "yunet"]
    """The face detector of the training clips."""
    landmark_share: float = 0.0
    """Share of the training clips whose faces were located by OpenFace landmarks instead of the detector."""
    mfcc: MfccSettings
    normalization: Normalization
    temperatures: dict[Modality, PositiveFloat]
    """Divisor of the logits for each input that the network was trained to answer from; 1 if it was not calibrated."""
    provenance: Provenance
    profile: str
    """Profile of params.yaml."""
    corpus: str
    """Name of the corpus that the network was trained on."""
    synthetic: bool
    """Whether the network was trained on the synthetic sample corpus."""
    precision: Literal["fp32", "fp16", "int8"] = "fp32"

    @field_validator("faces", "mfcc")
    @classmethod
    def _portable(cls, section: _Features) -> _Features:
        return feature_settings(section)

    @property
    def inputs(self) -> tuple[Modality, ...]:
        """What the network was trained to answer from."""
        return tuple(self.temperatures)

    def to_file_metadata(self) -> dict[str, str]:
        """The entry to store in a file's metadata."""
        return {KEY: self.model_dump_json()}

    @classmethod
    def from_file_metadata(cls, entries: Mapping[str, str], path: Path) -> ModelMetadata:
        """Read a file's metadata.

        Args:
            entries: all metadata of the file.
            path: the file, named in errors.

        Raises:
            InputError: cfnsr did not write the file, a version with another format did, or the content is damaged.
        """
        if KEY not in entries:
            raise InputError(f"{path} was not written by cfnsr: it has no description of its network.")
        try:
            content = json.loads(entries[KEY])
        except json.JSONDecodeError as error:
            raise InputError(f"{path} is damaged: its metadata is not JSON ({error}).") from None
        written = content.get("format") if isinstance(content, dict) else None
        if written != FORMAT:
            raise InputError(
                f"{path} has format {written}, and this version of cfnsr reads format {FORMAT}; train or export the "
                "model again, or use the version that wrote it."
            )
        try:
            return cls.model_validate(content)
        except ValidationError as error:
            raise InputError(f"{path} is damaged: {first_problem(error, 'metadata', cls)}") from None


def feature_settings(section: _Features) -> _Features:
    """The settings with defaults for those that do not change the features: file locations and tolerances."""
    return type(section).model_validate(section.model_dump(exclude={"yunet", "max_bad_share"}))
