"""One training run, opened once and handed from step to step: its settings, key, features, folds and MLflow runs."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from cfnsr.config.load import Settings
from cfnsr.corpus.folds import Fold, make_folds
from cfnsr.corpus.manifest import dataset_digest
from cfnsr.errors import InputError
from cfnsr.features.cached import Features
from cfnsr.features.packed import read_key
from cfnsr.files import file_digest
from cfnsr.training.result import FoldResult
from components import faces, mfcc
from components.step import code_of
from components.tracking.runs import RunTracker

KEY_FILE = "key.txt"


@dataclass(frozen=True)
class Run:
    """A training run of a profile. `Run.open` makes one."""

    settings: Settings
    key: str
    """Digest of everything that the weights depend on: settings, clips, features and code."""
    features: Features
    folds: tuple[Fold, ...]

    @classmethod
    def open(cls, settings: Settings) -> Run:
        """Read the features of a profile and divide its speakers into folds.

        Raises:
            InputError: a data stage has not run, its output is out of date, there are too few speakers for the folds,
                or a checkpoint to start from is missing.
        """
        features = Features.load(settings)
        keys = _feature_keys(settings)
        usable = features.having(settings.params.model.modality)
        folds = make_folds(usable, settings.params.train)
        made_from = [
            decisive_settings(settings),
            dataset_digest(features.clips),
            keys,
            [file_digest(path) for path in _checkpoints(settings, len(folds))],
            code_of("train"),
        ]
        key = hashlib.sha256(json.dumps(made_from, sort_keys=True).encode()).hexdigest()
        return cls(settings, key, features, tuple(folds))

    @cached_property
    def tracker(self) -> RunTracker:
        """The MLflow runs of this training run."""
        return RunTracker(self.settings)

    @property
    def folder(self) -> Path:
        """Where the folds keep their files."""
        return self.settings.layout.run

    def fold_folder(self, index: int) -> Path:
        """Where a fold keeps its files."""
        return fold_folder(self.settings, index)

    def missing_folds(self) -> list[int]:
        """Numbers of the folds that are not trained yet."""
        return [fold.index for fold in self.folds if FoldResult.load(self.fold_folder(fold.index)) is None]

    def results(self) -> list[FoldResult]:
        """The results of all folds, in their order.

        Raises:
            InputError: a fold is not trained, or not with the present settings, data and code.
        """
        loaded = [FoldResult.load(self.fold_folder(fold.index)) for fold in self.folds]
        results = [result for result in loaded if result is not None]
        if len(results) < len(loaded):
            missing = self.fold_folder(self.missing_folds()[0])
            raise InputError(f"{missing} holds no trained fold; run `python -m components.train` first.")
        if recorded_key(self.settings) != self.key:
            raise InputError(
                f"{self.folder} was trained with other settings, data or code than the present ones; train again "
                "(`dvc repro`), or restore them."
            )
        return results


def fold_folder(settings: Settings, index: int) -> Path:
    """Where a fold keeps its files."""
    return settings.layout.run / f"fold-{index}"


def recorded_key(settings: Settings) -> str | None:
    """The key of the run that lies in the profile's run folder; None if there is none."""
    path = settings.layout.run / KEY_FILE
    return path.read_text().strip() if path.exists() else None


def read_figures(settings: Settings) -> dict[str, Any]:
    """The content of metrics/<profile>.json.

    Raises:
        InputError: the file is missing, or belongs to another run than the one in the run's folder.
    """
    path = settings.layout.metrics
    content: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    if content.get("run") is None or content["run"] != recorded_key(settings):
        raise InputError(f"{path} has no figures of the present run; run `python -m components.evaluate` first.")
    return content


def decisive_settings(settings: Settings) -> dict[str, Any]:
    """The settings that decide about the results; the others decide how fast they come, or when to give up."""
    return settings.params.model_dump(
        mode="json",
        include={"faces", "mfcc", "model", "train"},
        exclude={
            "faces": {"max_bad_share"},
            "mfcc": {"max_bad_share"},
            "train": {"preset", "loader_workers", "fold_workers"},
        },
    )


def _feature_keys(settings: Settings) -> list[str]:
    """The keys of the feature files, which say what each was made from.

    Raises:
        InputError: a file was made from other settings, clips or code than the present ones, or belongs to a speaker
            who is no longer in the corpus.
    """
    wanted = {**faces.keys(settings), **mfcc.keys(settings)}
    present = {*settings.layout.faces.glob("*.parquet"), settings.layout.mfcc}
    for path in sorted(present | set(wanted)):
        if path not in wanted or read_key(path) != wanted[path]:
            raise InputError(
                f"{path} was not made with the present settings, clips and code; run `dvc repro faces mfcc`, or "
                "restore the settings. If DVC takes it for up to date, add `--force`."
            )
    return [wanted[path] for path in sorted(wanted)]


def _checkpoints(settings: Settings, folds: int) -> list[Path]:
    """The files that phases start from, of all folds.

    Raises:
        InputError: one is missing.
    """
    from cfnsr.training.fold import phases_of
    from cfnsr.training.pretrained import checkpoint_of

    patterns = [phase.checkpoint for phase in phases_of(settings).values() if phase.checkpoint is not None]
    files = [checkpoint_of(pattern, fold) for pattern in patterns for fold in range(folds)]
    for path in files:
        if not path.exists():
            raise InputError(f"{path} is missing; set the phase's checkpoint to an existing file, or to null.")
    return files
