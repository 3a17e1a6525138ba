"""Settings of stage `download`: the source of the clips."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, PositiveInt, field_validator, model_validator

from cfnsr.config.base import Section
from cfnsr.text import without_passwords

ACTORS = tuple(range(1, 25))
"""Actors of RAVDESS."""

SAMPLE_CORPUS, RAVDESS = "synthetic sample corpus", "RAVDESS"
"""Names of the corpora in figures, tags of MLflow and model cards."""

SYNTHETIC = "synthetic sample, not RAVDESS"
"""Title and comment in every file of the synthetic corpus."""


class SampleSettings(Section):
    """The synthetic corpus (`dataset.source: sample`)."""

    seed: int = Field(7, ge=0)
    repetitions: Literal[1, 2] = 1  # of each statement: 30 or 60 takes per actor
    width: int = Field(320, ge=160, multiple_of=16)  # pixels
    height: int = Field(240, ge=120, multiple_of=16)  # pixels
    fps: PositiveInt = 25
    seconds: float = Field(2.0, ge=1.0, le=10.0)


class DatasetSettings(Section):
    """Stage `download`: the source of the clips."""

    source: Literal["sample", "local", "zenodo", "s3"]
    actors: tuple[int, ...] = ACTORS
    sample: SampleSettings = SampleSettings()
    path: Path | None = None  # source local: folder of RAVDESS files, searched recursively
    zenodo_url: str = "https://zenodo.org"
    audio_zip: bool = False  # also fetch Audio_Speech_Actors_01-24.zip
    landmarks_zip: bool = False  # also fetch FacialTracking_Actors_01-24.zip (OpenFace landmarks)
    s3_bucket: str = ""  # for source s3 and `cfnsr mirror`
    s3_prefix: str = ""
    s3_endpoint: str | None = None  # None: AWS. boto3 finds the credentials
    parallel_downloads: PositiveInt = 3

    @field_validator("zenodo_url", "s3_endpoint")
    @classmethod
    def _without_password(cls, url: str | None) -> str | None:
        if url and url != without_passwords(url):  # the settings are kept in Git, in dvc.lock and in MLflow
            raise ValueError("a URL here must not contain a user, a password or a token; use ~/.netrc or AWS_PROFILE")
        return url

    @property
    def synthetic(self) -> bool:
        """Whether the clips are those of the synthetic sample corpus."""
        return self.source == "sample"

    @property
    def corpus(self) -> str:
        """What the figures are measured on. Synthetic figures are called synthetic wherever they are shown."""
        return SAMPLE_CORPUS if self.synthetic else RAVDESS

    @model_validator(mode="after")
    def _complete(self) -> DatasetSettings:
        if not self.actors or len(set(self.actors)) != len(self.actors) or not set(self.actors) <= set(ACTORS):
            raise ValueError("actors must be different numbers from 1 to 24, at least one")
        if self.source == "local" and self.path is None:
            raise ValueError("source: local needs path: the folder that holds the RAVDESS files")
        if self.source == "s3" and not self.s3_bucket:
            raise ValueError("source: s3 needs s3_bucket: the mirror's bucket")
        return self
