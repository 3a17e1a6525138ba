"""What travels with a network's weights: its configuration, labels, preprocessing, calibration and provenance.

The same JSON is stored in the metadata of safetensors, ONNX and `torch.export` files. Reading it does not need PyTorch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import Field, PositiveFloat, ValidationError, field_validator, model_validator
from pydantic_core import from_json

from cfnsr.config.base import Section, first_problem
from cfnsr.config.corpus import EMOTIONS
from cfnsr.config.sections import FacesSettings, MfccSettings, Modality, ModelSettings
from cfnsr.errors import InputError
from cfnsr.model.normalize import Normalization

KEY = "cfnsr"
"""The key of the JSON in a file's metadata."""

FORMAT: Literal[3] = 3
"""Version of the JSON; raised whenever older files can no longer be read."""

_LONGEST = 1_000_000  # characters of the JSON, which has about 2,000

_Features = TypeVar("_Features", FacesSettings, MfccSettings)


class NetworkConfig(ModelSettings):
    """All arguments of `CFNSR`: section `model` of params.yaml, and the sizes of the input and output."""

    classes: int = Field(len(EMOTIONS), ge=1, le=1000)
    coefficients: int = Field(13, ge=1, le=1024)  # rows of the MFCC matrix
    mfcc_frames: int = Field(212, ge=64, le=10_000)  # columns of the MFCC matrix; they fix the number of audio tokens


_Label = Annotated[str, Field(pattern=r"^\w[\w -]*$")]  # a word or several: they are shown without escaping


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
    labels: tuple[_Label, ...]
    """Names of the classes, in the order of the logits."""
    faces: FacesSettings
    detector: Literal["haar", "yunet"]
    """The face detector of the training clips."""
    landmark_share: float = 0.0
    """Share of the training clips whose faces were located by OpenFace landmarks instead of the detector."""
    mfcc: MfccSettings
    normalization: Normalization
    temperatures: dict[Modality, PositiveFloat] = Field(min_length=1)
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

    @model_validator(mode="after")
    def _consistent(self) -> ModelMetadata:
        network, scale = self.network, self.normalization
        for found, wanted, of in (
            (len(set(self.labels)), network.classes, "different labels"),
            (self.mfcc.channels, network.coefficients, "MFCC coefficients"),
            (self.mfcc.frames, network.mfcc_frames, "MFCC frames"),
            (len(scale.mfcc_mean), network.coefficients, "means of the MFCC"),
            (len(scale.mfcc_std), network.coefficients, "standard deviations of the MFCC"),
            (len(scale.rgb_mean), 3, "means of RGB"),
            (len(scale.rgb_std), 3, "standard deviations of RGB"),
        ):
            if found != wanted:
                raise ValueError(f"there are {found} {of}, and the network needs {wanted}")
        if min(*scale.mfcc_std, *scale.rgb_std) <= 0:
            raise ValueError("a standard deviation of the normalization is not above 0")
        if network.modality != "both" and set(self.temperatures) != {network.modality}:
            raise ValueError(f"a network of modality {network.modality} needs the temperature of this input alone")
        return self

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
        size = len(entries[KEY])
        if size > _LONGEST:
            raise InputError(f"{path} is damaged: its metadata has {size} characters, more than cfnsr ever writes.")
        try:
            content = from_json(entries[KEY], allow_inf_nan=False)  # it refuses deep nesting, too
        except ValueError as error:
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
