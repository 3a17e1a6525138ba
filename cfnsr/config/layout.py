"""Where a profile's files lie, below the project's root."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Layout:
    """Where a profile's files lie, below the project's root."""

    root: Path
    profile: str
    variant: str = ""
    """Of the profile's settings; it shares the profile's data and has runs, figures and plots of its own."""
    data_name: str = ""
    """Of the folder below `data`; empty for the profile's."""
    mfcc_name: str = "mfcc.parquet"
    """A variant with another section `mfcc` needs a file of its own."""

    @property
    def data(self) -> Path:
        """All data of the profile."""
        return self.root / "data" / (self.data_name or self.profile)

    @property
    def raw(self) -> Path:
        """Files as published, in `Actor_NN` folders."""
        return self.data / "raw"

    @property
    def manifest(self) -> Path:
        """One row a take."""
        return self.data / "clips.csv"

    @property
    def faces(self) -> Path:
        """Folder of `Actor_NN.parquet`, a row group a clip."""
        return self.data / "faces"

    @property
    def mfcc(self) -> Path:
        """One Parquet file, a row a clip."""
        return self.data / self.mfcc_name

    @property
    def run(self) -> Path:
        """Checkpoints and predictions of the training run."""
        return self.root / "runs" / self._run_name

    @property
    def metrics(self) -> Path:
        """The run's figures."""
        return self.root / "metrics" / f"{self._run_name}.json"

    @property
    def plots(self) -> Path:
        """The run's plots."""
        return self.root / "plots" / self._run_name

    @property
    def model(self) -> Path:
        """The version that the run registered."""
        return self.root / "models" / f"{self._run_name}.json"

    @property
    def _run_name(self) -> str:
        return f"{self.profile}-{self.variant}" if self.variant else self.profile
