"""Sections of a profile in `params.yaml`: keys, defaults, units and valid ranges."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, PositiveFloat, PositiveInt, field_validator, model_validator

from cfnsr.config.base import Section
from cfnsr.config.corpus import DatasetSettings
from cfnsr.config.search import PromoteSettings, TuneSettings

Fusion = Literal["cfn_sr", "no_attention", "no_residual", "concat", "average"]
Modality = Literal["both", "audio", "video"]
AudioPooling = Literal["flatten", "attention"]

PITCH_TRACKS = 3
"""Rows that `cfnsr.features.pitch` adds to the MFCC: pitch, pitch relative to the clip's own, harmonicity."""
LOWEST_PITCH = 70.0
"""Hz; below the pitch of deep voices."""


class ManifestSettings(Section):
    """Stage `manifest`."""

    max_bad_share: float = Field(0.05, ge=0, le=1)  # the stage fails if a larger share of the files is excluded


class FacesSettings(Section):
    """Stage `faces`: face crops of each clip."""

    frames: int = Field(30, ge=8, le=256)  # crops per clip, evenly spaced in time
    size: int = Field(224, ge=32, le=512)  # pixels, side of a crop
    margin: float = Field(0.2, ge=0, le=1)  # added on each side, as a share of the face box
    square: bool = True  # extend the box to a square, which keeps the face's proportions
    jpeg_quality: int = Field(95, ge=50, le=100)
    detections: int = Field(5, ge=1, le=256)  # frames per clip that are searched; between them, boxes are interpolated
    yunet: Path | None = None  # YuNet ONNX file; None: the Haar cascade of OpenCV
    max_bad_share: float = Field(0.05, ge=0, le=1)


class MfccSettings(Section):
    """Stage `mfcc`. The defaults are the published feature, 13 x 212."""

    # rich: starts at the onset of speech and adds three tracks of pitch
    kind: Literal["published", "rich"] = "published"
    coefficients: PositiveInt = 13
    sample_rate: int = Field(44100, gt=0, le=192_000)  # Hz
    offset: float = Field(0.5, ge=0, le=60)  # s skipped at the start of a clip; `rich` starts at the onset of speech
    duration: float = Field(2.45, gt=0, le=60)  # s
    n_fft: int = Field(2048, gt=0, le=65_536)  # samples
    hop: PositiveInt = 512  # samples
    n_mels: int = Field(128, gt=0, le=1024)
    # For training with augment_audio, each clip is also stored at these speeds, which change pitch and tempo, and
    # longer by `shift` on both sides; training cuts clips from it at random positions.
    speeds: tuple[PositiveFloat, ...] = (1.0, 0.9, 1.1, 0.8, 1.2)
    shift: float = Field(0.25, ge=0)  # s
    max_bad_share: float = Field(0.05, ge=0, le=1)

    @property
    def channels(self) -> int:
        """Rows of the feature matrix: the coefficients and, for `rich`, the tracks of pitch."""
        return self.coefficients + (PITCH_TRACKS if self.kind == "rich" else 0)

    @property
    def shift_frames(self) -> int:
        """`shift` in MFCC frames."""
        return round(self.shift * self.sample_rate / self.hop)

    @property
    def frames(self) -> int:
        """Columns of the feature matrix; frames are centred, so both edges count."""
        return 1 + round(self.duration * self.sample_rate) // self.hop

    @model_validator(mode="after")
    def _consistent(self) -> MfccSettings:
        if self.frames < 64:
            raise ValueError(f"duration and hop give {self.frames} MFCC frames; the network needs at least 64")
        if self.coefficients > self.n_mels:
            raise ValueError(f"coefficients ({self.coefficients}) must not exceed n_mels ({self.n_mels})")
        if self.n_fft < self.hop:
            raise ValueError(f"n_fft ({self.n_fft}) must be at least hop ({self.hop}), or samples are skipped")
        if self.kind == "rich" and self.n_fft * LOWEST_PITCH < 2 * self.sample_rate:
            shortest = math.ceil(2 * self.sample_rate / LOWEST_PITCH)
            raise ValueError(f"kind: rich needs n_fft of at least {shortest}, two periods of a low voice")
        if self.speeds and self.speeds[0] != 1.0:
            raise ValueError("speeds must start with 1.0, the original speed, or be empty")
        return self


_Layers = Annotated[int, Field(ge=1, le=100)]


class ModelSettings(Section):
    """The network. The defaults are those of the paper: 26,301,417 parameters."""

    layers: tuple[_Layers, _Layers, _Layers, _Layers] = (3, 4, 6, 3)
    width: int = Field(64, ge=8, le=1024, multiple_of=8)  # channels of the video stem
    cardinality: PositiveInt = 32
    audio_width: int = Field(32, ge=8, le=1024, multiple_of=8)
    audio_pooling: AudioPooling = "flatten"  # attention: attention-weighted mean and maximum over time
    transformer_layers: _Layers = 5
    fusion: Fusion = "cfn_sr"
    modality: Modality = "both"
    stem_relu: bool = True

    @model_validator(mode="after")
    def _divisible(self) -> ModelSettings:
        if (2 * self.width) % self.cardinality:
            raise ValueError(f"cardinality ({self.cardinality}) must divide twice the width ({2 * self.width})")
        return self


class PhaseSettings(Section):
    """One training phase: an encoder alone, or the fused network."""

    epochs: int = Field(70, ge=0)  # 0 skips the phase
    checkpoint: Path | None = None  # initial weights, or with 0 epochs the final ones; `{fold}`: the fold's number
    batch_size: int = Field(16, ge=2)
    optimizer: Literal["adam", "adamw"] = "adam"
    lr: PositiveFloat = 1e-3
    weight_decay: float = Field(0.0, ge=0)
    schedule: Literal["constant", "cosine"] = "constant"
    warmup: float = Field(0.0, ge=0, lt=1)  # share of all steps during which the learning rate rises from near 0
    gradient_clip: float = Field(0.0, ge=0)  # maximum gradient norm; 0: no clipping
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    ema: float = Field(0.0, ge=0, lt=1)  # decay per step of the weights' moving average, which is saved; 0: off
    mixup: float = Field(0.0, ge=0)  # alpha of the Beta distribution of the mixing weight; 0: off
    augment_video: bool = False  # flip, rotation, crop and colour, drawn once per clip
    augment_audio: bool = False  # speed, shift, colour and SpecAugment; needs train.standardize_mfcc and mfcc.speeds


class FusionSettings(PhaseSettings):
    """The phase of the fused network."""

    modality_dropout: float = Field(0.0, ge=0, lt=1)  # share of clips without face or without voice, half each


class PretrainSettings(Section):
    """The two encoders, each pretrained alone with its own head."""

    audio: PhaseSettings = PhaseSettings()
    video: PhaseSettings = PhaseSettings()

    @model_validator(mode="after")
    def _augmentable(self) -> PretrainSettings:
        if self.audio.augment_video or self.video.augment_audio:
            raise ValueError("audio can't use augment_video, and video can't use augment_audio")
        return self


class TrainSettings(Section):
    """Stage `train`: folds, phases, devices."""

    preset: str | None = None  # name of an entry of `presets`, which gives the values of missing keys
    protocol: Literal["honest", "published"] = "honest"
    # A number of folds of consecutive speakers; the test speakers of each fold; or `split`, the column of the table.
    folds: PositiveInt | tuple[tuple[str, ...], ...] | Literal["split"] = 6
    speakers_per_fold: PositiveInt = 4  # test speakers, where `folds` is a number
    validation_speakers: PositiveInt = 4  # protocol honest only; they select the epoch
    seed: int = Field(0, ge=0, lt=2**26)  # the seeds of the epochs are derived from it and have 64 bits
    select_by: Literal["accuracy", "uar"] = "accuracy"  # score that selects the epoch; uar suits unbalanced corpora
    # For unbalanced corpora: `loss` weighs each clip by the inverse frequency of its label among the training clips,
    # `sampling` draws all labels equally often.
    balance: Literal["none", "loss", "sampling"] = "none"
    # Length of the moving average of the validation score that selects the epoch: that of a single epoch is noisy
    # with few speakers. Protocol `published` always compares single epochs.
    smooth_epochs: PositiveInt = 1
    tuned: bool = False  # whether the settings were tuned on the validation speakers of these folds; reports say so
    watch_test: bool = True  # report the test accuracy after each epoch; it never selects anything
    standardize_mfcc: bool = (
        False  # by mean and standard deviation of the training speakers; not in the published recipe
    )
    fold_workers: PositiveInt = 1  # folds trained in parallel, each in its own process
    loader_workers: int = Field(2, ge=0)  # data loader processes per fold, device and group of speakers
    devices: PositiveInt | Literal["auto"] = 1  # GPUs or CPU processes per fold; auto: all GPUs
    precision: Literal["auto", "32", "bf16"] = "auto"  # auto: bf16 on GPUs that support it
    channels_last: bool = True  # memory layout of the video network
    compile: bool = False  # torch.compile
    pretrain: PretrainSettings = PretrainSettings()
    fusion: FusionSettings = FusionSettings()

    @field_validator("folds", mode="before")
    @classmethod
    def _speakers_as_text(cls, value: Any) -> Any:
        """YAML reads a speaker such as 05 as a number."""
        if not isinstance(value, list | tuple):
            return value
        return [
            [f"{each:02d}" if type(each) is int else each for each in test] if isinstance(test, list | tuple) else test
            for test in value
        ]

    @field_validator("precision", mode="before")
    @classmethod
    def _precision_as_text(cls, value: Any) -> Any:
        return str(value) if type(value) is int else value  # YAML reads 32 as a number

    @model_validator(mode="after")
    def _standardized(self) -> TrainSettings:
        phases = (self.pretrain.audio, self.fusion)
        if any(phase.augment_audio for phase in phases) and not self.standardize_mfcc:
            raise ValueError("augment_audio needs standardize_mfcc: true, because masks have the value 0, the mean")
        return self


class ProfileSettings(Section):
    """All sections of a profile."""

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
            raise ValueError(
                f"the phase that trains model.modality {self.model.modality} has 0 epochs and no checkpoint"
            )
        return self


UNUSED_KEYS: Mapping[str, tuple[str, ...]] = {
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
"""Keys or sections without effect, by `model.modality`."""


def is_unused(key: str, modality: Modality) -> bool:
    """Whether a dotted key below the profile has no effect on networks of this modality."""
    return any(key == section or key.startswith(section + ".") for section in UNUSED_KEYS[modality])
