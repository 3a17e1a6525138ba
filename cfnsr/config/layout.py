"""Paths of a profile's files below the project's root."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Layout:
    """Paths of a profile's files below the project's root."""

    root: Path
    profile: str
    variant: str = ""
    """Name of a variant of the profile; it shares the profile's data and has its own run, metrics and plots."""
    data_name: str = ""
    """Name of the folder below `data`; empty: the profile's name."""
    mfcc_name: str = "mfcc.parquet"
    """Name of the MFCC file; a variant with another `mfcc` section needs its own."""

    @property
    def data(self) -> Path:
        """All data of the profile."""
        return self.root / "data" / (self.data_name or self.profile)

    @property
    def raw(self) -> Path:
        """Files as published."""
        return self.data / "raw"

    @property
    def manifest(self) -> Path:
        """Manifest, with one row per clip."""
        return self.data / "clips.csv"

    @property
    def faces(self) -> Path:
        """Folder of one Parquet file per speaker, with one row group per clip."""
        return self.data / "faces"

    @property
    def mfcc(self) -> Path:
        """Parquet file with one row per clip."""
        return self.data / self.mfcc_name

    @property
    def run(self) -> Path:
        """Folder of the run's checkpoints and predictions."""
        return self.root / "runs" / self._run_name

    @property
    def metrics(self) -> Path:
        """JSON file of the run's metrics."""
        return self.root / "metrics" / f"{self._run_name}.json"

    @property
    def plots(self) -> Path:
        """Folder of the run's plots."""
        return self.root / "plots" / self._run_name

    @property
    def model(self) -> Path:
        """The version that the run registered."""
        return self.root / "models" / f"{self._run_name}.json"

    @property
    def _run_name(self) -> str:
        return f"{self.profile}-{self.variant}" if self.variant else self.profile
