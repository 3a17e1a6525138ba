"""Step `train`: train every fold of a profile and leave weights, history and test predictions in runs/<profile>.

Folds that an earlier, interrupted run with the same settings, data and code finished are not trained again.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from cfnsr.config import Settings
from cfnsr.errors import InputError
from cfnsr.files import code_digest, file_digest, write_text
from cfnsr.folds import Fold, actor_folds
from components.runner import run_step
from components.tracking import RunTracker, flatten

if TYPE_CHECKING:
    from cfnsr.data import Features
    from cfnsr.training import FoldResult

CODE = (
    "cfnsr/augment.py",
    "cfnsr/data.py",
    "cfnsr/folds.py",
    "cfnsr/model",
    "cfnsr/normalize.py",
    "cfnsr/task.py",
    "cfnsr/training.py",
)
"""What decides about the weights besides settings and features; dvc.yaml names the same, and what reports on them."""

KEY_FILE = "key.txt"

logger = logging.getLogger(__name__)


def train(settings: Settings) -> None:
    """Train all folds, one after the other.

    Raises:
        InputError: a data stage has not run, too few actors for the folds, the loss is not finite, or another process
            is training the profile.
    """
    with exclusive(settings):
        folds = plan(settings)
        tracker = RunTracker(settings)
        with tracker.running(tracker.parent()):
            for fold in folds:
                train_one(settings, fold)


@contextmanager
def exclusive(settings: Settings) -> Iterator[None]:
    """Keep other processes from training the same profile at the same time.

    Raises:
        InputError: one does already.
    """
    run = settings.layout.run
    run.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(run.with_name(f"{run.name}.lock"), timeout=0):
            yield
    except Timeout:
        raise InputError(
            f"another process is training the profile {settings.profile} in {run}; wait for it or end it."
        ) from None


def plan(settings: Settings) -> list[Fold]:
    """Check that the run is possible, open (or re-open) its MLflow run and say which folds it has.

    What an earlier run with other settings, data or code left is moved aside, to `runs/<profile>.<key>`.
    """
    from cfnsr.data import Features

    features = Features.load(settings.layout)
    folds = folds_of(settings, features)
    key, previous = run_key(settings, features), read_key(settings)
    if previous != key:
        _move_aside(settings, previous)
        write_text(settings.layout.run / KEY_FILE, key + "\n")
    describe_run(settings, features)
    if features.left_out:
        logger.warning("%d takes or files are left out; `cfnsr clips` says why", len(features.left_out))
    return folds


def folds_of(settings: Settings, features: Features) -> list[Fold]:
    """The folds over the actors whose clips the network can use."""
    usable = features.having(settings.params.model.modality)
    return actor_folds(sorted(usable["actor"].unique().tolist()), settings.params.train)


def describe_run(settings: Settings, features: Features) -> RunTracker:
    """The run's tracker, its parent run described (again)."""
    from cfnsr.manifest import dataset_digest

    params = settings.params
    tracker = RunTracker(settings)
    tracker.describe(
        tags={
            "corpus": corpus_name(settings),
            "protocol": params.train.protocol,
            "dataset_digest": dataset_digest(features.clips),
            "clips": str(len(features.having(params.model.modality))),
            "clips_left_out": str(len(features.left_out)),
        },
        params=flatten(decisive_settings(settings)),
    )
    return tracker


def train_one(settings: Settings, fold: Fold) -> FoldResult:
    """Train one fold and log it to its child run."""
    from lightning.pytorch.loggers import MLFlowLogger

    from cfnsr.data import Features
    from cfnsr.training import FoldResult, train_fold
    from components.tracking import mlflow_at

    class PhaseLogger(MLFlowLogger):
        """Leaves the run open: the fold's next phase goes on in it, and the step ends it."""

        def finalize(self, status: str = "success") -> None:
            """See class."""

    folder = fold_folder(settings, fold.index)
    finished = FoldResult.load(folder)
    if finished is not None:
        return finished
    tracker = RunTracker(settings)
    run_id = tracker.fold(fold.index)
    with mlflow_at(settings.layout.root), tracker.running(run_id):  # Lightning's logger sets the URI for the process
        result = train_fold(
            Features.load(settings.layout),
            fold,
            settings,
            folder,
            lambda phase: PhaseLogger(run_id=run_id, tracking_uri=tracker.server, prefix=phase, log_model=False),
        )
        figures = {"param_count": result.parameters, "selection_accuracy": result.selection_accuracy}
        for name, value in {**figures, "best_epoch": result.epoch, "seconds": result.seconds}.items():
            tracker.client.log_metric(run_id, name, value)
    return result


def fold_folder(settings: Settings, index: int) -> Path:
    """Where a fold keeps its files."""
    return settings.layout.run / f"fold-{index}"


def corpus_name(settings: Settings) -> str:
    """What the numbers are of; synthetic figures are called synthetic wherever they are shown."""
    return "synthetic sample corpus" if settings.params.dataset.source == "sample" else "RAVDESS"


def decisive_settings(settings: Settings) -> dict[str, Any]:
    """The settings that decide about the weights, not those that only decide how fast or when to give up."""
    return settings.params.model_dump(
        mode="json",
        include={"faces", "mfcc", "model", "train"},
        exclude={"faces": {"max_bad_share"}, "mfcc": {"max_bad_share"}, "train": {"loader_workers"}},
    )


def run_key(settings: Settings, features: Features) -> str:
    """Digest of everything the weights depend on: settings, clips, features and code."""
    from cfnsr.manifest import dataset_digest

    packed = [*sorted(settings.layout.faces.glob("*.parquet")), settings.layout.mfcc]
    made_from = [
        decisive_settings(settings),
        dataset_digest(features.clips),
        [file_digest(path) for path in packed],
        code_digest(CODE),
    ]
    return hashlib.sha256(json.dumps(made_from, sort_keys=True).encode()).hexdigest()


def read_key(settings: Settings) -> str | None:
    """The key of the run that lies in the run's folder; None if there is none."""
    path = settings.layout.run / KEY_FILE
    return path.read_text().strip() if path.exists() else None


def _move_aside(settings: Settings, key: str | None) -> None:
    run = settings.layout.run
    if not run.exists():
        return
    RunTracker(settings).abandon()
    aside = run.with_name(f"{run.name}.{(key or 'unknown')[:8]}")
    number = 1
    while aside.exists():
        number += 1
        aside = aside.with_name(f"{run.name}.{(key or 'unknown')[:8]}-{number}")
    run.rename(aside)
    print(f"train: settings, data or code have changed; the earlier run is kept in {aside}")


if __name__ == "__main__":
    run_step(train, __doc__)
