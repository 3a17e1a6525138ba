"""Settings: what `params.yaml` may say, checked before anything runs.

`params.yaml` begins with `profile: NAME`; below it stand the training presets and one whole section a profile. A
misspelt key or an impossible value is refused with one sentence that names it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, PositiveFloat, PositiveInt, field_validator, model_validator

from cfnsr.config.base import Section
from cfnsr.config.corpus import DatasetSettings
from cfnsr.config.search import PromoteSettings, TuneSettings

Fusion = Literal["cfn_sr", "no_attention", "no_residual", "concat", "average"]
Modality = Literal["both", "audio", "video"]
AudioPooling = Literal["flatten", "attention"]

PITCH_TRACKS = 3
"""What `cfnsr.features.pitch` adds to the MFCC: pitch, pitch relative to the clip's own, harmonicity."""
LOWEST_PITCH = 70.0
"""Hz; deep voices lie above."""


class ManifestSettings(Section):
    """Stage `manifest`."""

    max_bad_share: float = Field(0.05, ge=0, le=1)  # more files than this left out: the stage fails


class FacesSettings(Section):
    """Stage `faces`: face crops over the clip."""

    frames: int = Field(30, ge=8)  # crops a clip, evenly over its time
    size: int = Field(224, ge=32)  # pixels, the crop's side
    margin: float = Field(0.2, ge=0, le=1)  # share of the face box added on each side
    square: bool = True  # widen the box to a square, so that the face keeps its proportions
    jpeg_quality: int = Field(95, ge=50, le=100)
    detections: PositiveInt = 5  # frames of a clip the detector sees; boxes are interpolated between them
    yunet: Path | None = None  # YuNet ONNX file; None: OpenCV's Haar cascade
    max_bad_share: float = Field(0.05, ge=0, le=1)


class MfccSettings(Section):
    """Stage `mfcc`. The defaults are the published feature: 13 x 212."""

    # rich: from where the speech begins, and with three tracks of pitch
    kind: Literal["published", "rich"] = "published"
    coefficients: PositiveInt = 13
    sample_rate: PositiveInt = 44100  # Hz
    offset: float = Field(0.5, ge=0)  # s of a clip that are left out; `rich` begins where the speech does instead
    duration: PositiveFloat = 2.45  # s
    n_fft: PositiveInt = 2048  # samples
    hop: PositiveInt = 512  # samples
    n_mels: PositiveInt = 128
    # For training with augment_audio, each clip is also kept as it sounds at these speeds (pitch and tempo together), a
    # little longer on both sides, so that a training clip can be cut from it with any shift.
    speeds: tuple[PositiveFloat, ...] = (1.0, 0.9, 1.1, 0.8, 1.2)
    shift: float = Field(0.25, ge=0)  # s
    max_bad_share: float = Field(0.05, ge=0, le=1)

    @property
    def channels(self) -> int:
        """Rows of the matrix: the coefficients and, for `rich`, the tracks of pitch."""
        return self.coefficients + (PITCH_TRACKS if self.kind == "rich" else 0)

    @property
    def shift_frames(self) -> int:
        """The shift in MFCC frames."""
        return round(self.shift * self.sample_rate / self.hop)

    @property
    def frames(self) -> int:
        """Columns of the MFCC matrix (frames are centred, so both edges count)."""
        return 1 + round(self.duration * self.sample_rate) // self.hop

    @model_validator(mode="after")
    def _consistent(self) -> MfccSettings:
        if self.frames < 64:
            raise ValueError(f"duration and hop give {self.frames} MFCC frames; the network needs at least 64")
        if self.coefficients > self.n_mels:
            raise ValueError(f"coefficients ({self.coefficients}) must not be more than n_mels ({self.n_mels})")
        if self.n_fft < self.hop:
            raise ValueError(f"n_fft ({self.n_fft}) must not be less than hop ({self.hop}), or samples are skipped")
        if self.kind == "rich" and self.n_fft * LOWEST_PITCH < 2 * self.sample_rate:
            shortest = math.ceil(2 * self.sample_rate / LOWEST_PITCH)
            raise ValueError(f"kind: rich needs n_fft of at least {shortest}, two periods of a low voice")
        if self.speeds and self.speeds[0] != 1.0:
            raise ValueError("speeds must begin with 1.0, the clip as it is, or be empty")
        return self


class ModelSettings(Section):
    """The network. The defaults are the paper's: 26,301,417 parameters."""

    layers: tuple[PositiveInt, PositiveInt, PositiveInt, PositiveInt] = (3, 4, 6, 3)
    width: int = Field(64, ge=8, multiple_of=8)  # channels of the video stem
    cardinality: PositiveInt = 32
    audio_width: int = Field(32, ge=8, multiple_of=8)
    audio_pooling: AudioPooling = "flatten"  # attention: weighted means over time, and the maximum
    transformer_layers: PositiveInt = 5
    fusion: Fusion = "cfn_sr"
    modality: Modality = "both"
    stem_relu: bool = True

    @model_validator(mode="after")
    def _divisible(self) -> ModelSettings:
        if (2 * self.width) % self.cardinality:
            raise ValueError(f"cardinality ({self.cardinality}) must divide twice the width ({2 * self.width})")
        return self


class PhaseSettings(Section):
    """One phase of training: an encoder alone, or the fused network."""

    epochs: int = Field(70, ge=0)  # 0 skips the phase
    checkpoint: Path | None = None  # weights to begin with (or, with 0 epochs, to use); `{fold}` is the fold's number
    batch_size: int = Field(16, ge=2)
    optimizer: Literal["adam", "adamw"] = "adam"
    lr: PositiveFloat = 1e-3
    weight_decay: float = Field(0.0, ge=0)
    schedule: Literal["constant", "cosine"] = "constant"
    warmup: float = Field(0.0, ge=0, lt=1)  # share of all steps in which the rate rises from near 0
    gradient_clip: float = Field(0.0, ge=0)  # norm above which gradients are scaled down; 0: never
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    ema: float = Field(0.0, ge=0, lt=1)  # decay a step of the weights' moving average, which is what is kept; 0: none
    mixup: float = Field(0.0, ge=0)  # alpha of the Beta distribution that mixes clips; 0: none
    augment_video: bool = False  # mirror, rotation, crop and colour, one draw a clip
    augment_audio: bool = False  # speed, shift, colour and SpecAugment; needs train.standardize_mfcc and mfcc.speeds


class FusionSettings(PhaseSettings):
    """The phase of the fused network."""

    modality_dropout: float = Field(0.0, ge=0, lt=1)  # share of clips that lose their face or their voice, half each


class PretrainSettings(Section):
    """The two encoders, each trained alone with its own head."""

    audio: PhaseSettings = PhaseSettings()
    video: PhaseSettings = PhaseSettings()

    @model_validator(mode="after")
    def _augmented_as_it_can_be(self) -> PretrainSettings:
        if self.audio.augment_video or self.video.augment_audio:
            raise ValueError("audio has nothing for augment_video to change, and video nothing for augment_audio")
        return self


class TrainSettings(Section):
    """Stage `train`: folds by actor, the phases, the seed."""

    preset: str | None = None  # of `presets`: values for the keys that the profile leaves out
    protocol: Literal["honest", "published"] = "honest"
    folds: PositiveInt = 6
    actors_per_fold: PositiveInt = 4
    validation_actors: PositiveInt = 4  # honest only: they choose the epoch
    seed: int = Field(0, ge=0, lt=2**26)  # a seed of each epoch is made of it, which has 64 bits
    # Epochs whose mean validation accuracy is compared, because few actors judge one epoch by chance; protocol
    # `published` always compares single epochs.
    smooth_epochs: PositiveInt = 1
    tuned: bool = False  # the settings were searched on the validation actors of these folds; figures say so
    watch_test: bool = True  # score the test actors after each epoch, to report it; it chooses nothing
    standardize_mfcc: bool = False  # by the training actors' mean and deviation; the published recipe does not
    fold_workers: PositiveInt = 1  # folds trained side by side, each in a process of its own
    loader_workers: int = Field(2, ge=0)  # processes that prepare batches, for each fold, device and group of actors
    devices: PositiveInt | Literal["auto"] = 1  # GPUs (or CPU processes) for each fold; auto: every GPU there is
    precision: Literal["auto", "32", "bf16"] = "auto"  # auto: bf16 on a GPU that has it
    channels_last: bool = True  # memory layout of the video network
    compile: bool = False  # torch.compile
    pretrain: PretrainSettings = PretrainSettings()
    fusion: FusionSettings = FusionSettings()

    @field_validator("precision", mode="before")
    @classmethod
    def _named(cls, value: Any) -> Any:
        return str(value) if type(value) is int else value  # YAML's 32 is a number

    @model_validator(mode="after")
    def _masked_with_the_mean(self) -> TrainSettings:
        phases = (self.pretrain.audio, self.fusion)
        if any(phase.augment_audio for phase in phases) and not self.standardize_mfcc:
            raise ValueError("augment_audio needs standardize_mfcc: true, because it masks with 0, the mean")
        return self


class ProfileSettings(Section):
    """Everything below a profile's name."""

    dataset: DatasetSettings
    manifest: ManifestSettings = ManifestSettings()
    faces: FacesSettings = FacesSettings()
    mfcc: MfccSettings = MfccSettings()
    model: ModelSettings = ModelSettings()
    train: TrainSettings = TrainSettings()
    tune: TuneSettings = TuneSettings()
    promote: PromoteSettings = PromoteSettings()

    @model_validator(mode="after")
    def _trainable(self) -> ProfileSettings:
        train = self.train
        phases = {"audio": train.pretrain.audio, "video": train.pretrain.video, "both": train.fusion}
        if (train.pretrain.audio.augment_audio or train.fusion.augment_audio) and not self.mfcc.speeds:
            raise ValueError("augment_audio needs mfcc.speeds: at least [1.0]")
        last = phases[self.model.modality]
        if last.epochs == 0 and last.checkpoint is None:
            raise ValueError(f"the phase that trains model.modality {self.model.modality} has 0 epochs")
        return self


IDLE: Mapping[str, tuple[str, ...]] = {
    "audio": (
        *("train.fusion", "train.pretrain.video", "model.fusion", "model.transformer_layers"),
        *("model.stem_relu", "model.layers", "model.width", "model.cardinality"),
    ),
    "video": (
        *("train.fusion", "train.pretrain.audio", "model.fusion", "model.transformer_layers"),
        *("model.audio_width", "model.audio_pooling"),
    ),
    "both": (),
}
"""Keys, or sections of them, that do nothing, by `model.modality`."""


def is_idle(key: str, modality: Modality) -> bool:
    """Whether a dotted key below the profile changes nothing about networks of this modality."""
    return any(key == section or key.startswith(section + ".") for section in IDLE[modality])
