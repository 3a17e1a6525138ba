"""Settings of stage `download`: the source of the clips, and their labels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal

from pydantic import Field, PositiveInt, field_validator, model_validator

from cfnsr.config.base import Section
from cfnsr.errors import InputError
from cfnsr.text import without_passwords

ACTORS = tuple(range(1, 25))
"""Actors of RAVDESS."""

EMOTIONS = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")
"""The labels of RAVDESS, in the order of the third field of its file names."""

SAMPLE_CORPUS, RAVDESS = "synthetic sample corpus", "RAVDESS"
"""Names of the corpora in figures, tags of MLflow and model cards."""


def in_a_sentence(corpus: str) -> str:
    """The name of a corpus within a sentence: the description of the synthetic one needs an article."""
    return f"the {corpus}" if corpus == SAMPLE_CORPUS else corpus


SYNTHETIC = "synthetic sample, not RAVDESS"
"""Title and comment in every file of the synthetic corpus."""

RESERVED = frozenset(
    {
        *("clip", "clip_id", "speaker", "sex", "group", "language", "label", "predicted", "fold", "network", "inputs"),
        *("temperature", "emotion", "confidence", "flags", "duration", "error", "start", "end", "track"),
        *("x", "y", "width", "height", "path", "url", "content"),
    }
)
"""Columns that stand beside one column per label in tables, so that no label can have their names."""


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

    source: Literal["sample", "local", "zenodo", "s3", "table"]
    name: str = ""  # of the corpus in reports; source table only, where the default is the name of the table's file
    licence: str = ""  # of the clips, for the model card; source table only
    # Which labels are used, in this order; other clips are not selected. A mapping gives the label's names in the
    # corpus: {anger: [angry, W]}. Default: all labels, RAVDESS's in its own order, those of a table sorted.
    labels: dict[str, tuple[str, ...]] | None = None
    actors: tuple[int, ...] = ACTORS  # of RAVDESS
    vocal: Literal["speech", "song", "both"] = "speech"  # vocal channels of RAVDESS
    sample: SampleSettings = SampleSettings()
    path: Path | None = (
        None  # source local: folder of RAVDESS files, searched recursively; source table: CSV or Parquet
    )
    zenodo_url: str = "https://zenodo.org"
    audio_zip: bool = False  # also fetch Audio_Speech_Actors_01-24.zip
    landmarks_zip: bool = False  # also fetch FacialTracking_Actors_01-24.zip (OpenFace landmarks)
    s3_bucket: str = ""  # for source s3 and `cfnsr mirror`
    s3_prefix: str = ""
    s3_endpoint: str | None = None  # None: AWS. boto3 finds the credentials
    parallel_downloads: PositiveInt = 3

    @field_validator("labels", mode="before")
    @classmethod
    def _names_by_label(cls, value: object) -> object:
        """A plain list names labels that are called so in the corpus too."""
        if isinstance(value, list):
            return {label: (label,) for label in value}
        if isinstance(value, Mapping):
            return {label: (names,) if isinstance(names, str) else names for label, names in value.items()}
        return value

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
        if self.source == "table":
            assert self.path is not None, "checked by _complete"
            return self.name or self.path.stem
        return SAMPLE_CORPUS if self.synthetic else RAVDESS

    def label_of(self, name: str) -> str | None:
        """The label of a clip that has this name in the corpus; None for a clip that is not selected."""
        if self.labels is None:
            return name
        return next((label for label, names in self.labels.items() if name in names), None)

    def classes(self, present: Iterable[str]) -> tuple[str, ...]:
        """The labels in the order of the network's outputs.

        Args:
            present: labels of the clips.

        Raises:
            InputError: there are fewer than two, or one has a name that tables use for another column.
        """
        if self.labels is not None:
            classes = tuple(self.labels)
        else:
            classes = tuple(sorted(set(present))) if self.source == "table" else EMOTIONS
        if len(classes) < 2:
            raise InputError(
                f"the corpus has {len(classes)} label{'s' * (len(classes) != 1)} ({', '.join(classes)}), and two or "
                "more are needed; check the column `label` of the table, and dataset.labels."
            )
        if taken := sorted(RESERVED & set(classes)):
            raise InputError(f"a label can't be called {taken[0]!r}; rename it by dataset.labels in params.yaml.")
        return classes

    @model_validator(mode="after")
    def _complete(self) -> DatasetSettings:
        if not self.actors or len(set(self.actors)) != len(self.actors) or not set(self.actors) <= set(ACTORS):
            raise ValueError("actors must be different numbers from 1 to 24, at least one")
        if self.source == "local" and self.path is None:
            raise ValueError("source: local needs path: the folder that holds the RAVDESS files")
        if self.source == "table" and self.path is None:
            raise ValueError("source: table needs path: a CSV or Parquet file with the columns path, label and speaker")
        if self.vocal != "speech" and self.source != "local":
            raise ValueError("vocal must be speech unless source is local: the archives of songs are not downloaded")
        if self.source == "s3" and not self.s3_bucket:
            raise ValueError("source: s3 needs s3_bucket: the mirror's bucket")
        if self.labels is not None:
            names = [name for each in self.labels.values() for name in each]
            if len(set(names)) != len(names):
                raise ValueError("labels has the same name of a label twice")
        return self
