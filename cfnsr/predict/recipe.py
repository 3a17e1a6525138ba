"""How a network's inputs are prepared and its outputs calibrated."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cfnsr.config.corpus import RAVDESS
from cfnsr.config.sections import FacesSettings, MfccSettings, Modality
from cfnsr.errors import InputError
from cfnsr.model.metadata import ModelMetadata, Provenance

SYNTHETIC_NOTE = "Trained on synthetic faces and voices: a demonstration, not for real people."
LIMITS = "Not for decisions about people."
_SINGLE = 1.75
"""In windows: clips up to this length get one answer, longer ones a timeline. RAVDESS's longest take is 5.3 s; a window
of its network is 3.45 s."""


@dataclass(frozen=True)
class Recipe:
    """Preprocessing and calibration of one network; see `ModelMetadata` for the fields."""

    labels: tuple[str, ...]
    faces: FacesSettings
    mfcc: MfccSettings
    modality: Modality
    temperatures: dict[Modality, float]
    synthetic: bool
    landmark_share: float
    corpus: str
    provenance: Provenance

    @classmethod
    def from_metadata(cls, metadata: ModelMetadata, yunet: Path | None = None) -> Recipe:
        """Read a network's metadata.

        Args:
            metadata: of the network.
            yunet: the YuNet file, for a network that was trained on faces found by YuNet.

        Raises:
            InputError: the network needs `yunet`.
        """
        modality = metadata.network.modality
        if metadata.detector == "yunet" and yunet is None and modality != "audio":
            raise InputError("this network was trained on faces found by YuNet; name the same file with `yunet`.")
        return cls(
            labels=metadata.labels,
            faces=metadata.faces.model_copy(update={"yunet": yunet}),
            mfcc=metadata.mfcc,
            modality=modality,
            temperatures=metadata.temperatures,
            synthetic=metadata.synthetic,
            landmark_share=metadata.landmark_share,
            corpus=metadata.corpus,
            provenance=metadata.provenance,
        )

    @property
    def note(self) -> str:
        """What the network was trained on, and what it must not be used for; shown with every answer."""
        if self.synthetic:
            return SYNTHETIC_NOTE
        return f"Trained on {'acted emotion of 24 actors' if self.corpus == RAVDESS else self.corpus}. {LIMITS}"

    @property
    def inputs(self) -> tuple[Modality, ...]:
        """What the network was trained to answer from."""
        return tuple(self.temperatures)

    @property
    def uses_video(self) -> bool:
        """Whether the network can use faces."""
        return self.modality != "audio"

    @property
    def uses_audio(self) -> bool:
        """Whether the network can use voices."""
        return self.modality != "video"

    @property
    def window(self) -> float:
        """Length in seconds of a training clip: the part covered by the MFCC, plus its offset on both sides."""
        return self.mfcc.duration + 2 * self.mfcc.offset

    def longest_single(self, window: float | None) -> float:
        """Length in seconds up to which a clip gets one answer.

        It is measured in the network's own windows, or in the requested ones if they are shorter.
        """
        return _SINGLE * min(window or self.window, self.window)
