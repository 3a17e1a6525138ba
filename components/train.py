"""Step `train`: train every fold of a profile and leave weights, history and test predictions in runs/<profile>.

Folds that an earlier, interrupted run with the same settings, data and code finished are not trained again.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from cfnsr.config import Settings
from cfnsr.files import code_digest, file_digest, write_text
from cfnsr.folds import Fold, actor_folds
from components.runner import run_step
from components.tracking import RunTracker, flatten, mlflow_at, tracking_uri

if TYPE_CHECKING:
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
        InputError: a data stage has not run, too few actors for the folds, or the loss is not finite.
    """
    for fold in plan(settings):
        train_one(settings, fold)


def plan(settings: Settings) -> list[Fold]:
    """Check that the run is possible, open (or re-open) its MLflow run and say which folds it has.

    What an earlier run with other settings, data or code left in the run's folder is removed.
    """
    from cfnsr.data import Features
    from cfnsr.manifest import dataset_digest

    features = Features.load(settings.layout)
    usable = features.having(settings.params.model.modality)
    folds = actor_folds(sorted(usable["actor"].unique().tolist()), settings.params.train)
    digest = dataset_digest(features.clips)
    key = _key(settings, digest)
    key_file = settings.layout.run / KEY_FILE
    if not key_file.exists() or key_file.read_text().strip() != key:
        shutil.rmtree(settings.layout.run, ignore_errors=True)
        write_text(key_file, key + "\n")
    params = settings.params
    RunTracker(settings).parent(
        tags={
            "corpus": corpus_name(settings),
            "protocol": params.train.protocol,
            "dataset_digest": digest,
            "clips": str(len(usable)),
            "clips_left_out": str(len(features.left_out)),
        },
        params=flatten(params.model_dump(mode="json", include={"faces", "mfcc", "model", "train"})),
    )
    if features.left_out:
        logger.warning("%d takes or files are left out; `cfnsr clips` says why", len(features.left_out))
    return folds


def train_one(settings: Settings, fold: Fold) -> FoldResult:
    """Train one fold and log it to its child run."""
    from lightning.pytorch.loggers import MLFlowLogger

    from cfnsr.data import Features
    from cfnsr.training import FoldResult, train_fold

    folder = fold_folder(settings, fold.index)
    finished = FoldResult.load(folder)
    if finished is not None:
        return finished
    tracker = RunTracker(settings)
    run_id = tracker.fold(fold.index)
    root = settings.layout.root
    with mlflow_at(root):  # Lightning's logger sets the tracking URI for the whole process
        result = train_fold(
            Features.load(settings.layout),
            fold,
            settings,
            folder,
            lambda phase: MLFlowLogger(run_id=run_id, tracking_uri=tracking_uri(root), prefix=phase, log_model=False),
        )
    figures = {"param_count": result.parameters, "selection_accuracy": result.selection_accuracy}
    tracker.finish(run_id, {**figures, "best_epoch": result.epoch, "seconds": result.seconds})
    return result


def fold_folder(settings: Settings, index: int) -> Path:
    """Where a fold keeps its files."""
    return settings.layout.run / f"fold-{index}"


def corpus_name(settings: Settings) -> str:
    """What the numbers are of; synthetic figures are called synthetic wherever they are shown."""
    return "synthetic sample corpus" if settings.params.dataset.source == "sample" else "RAVDESS"


def _key(settings: Settings, digest: str) -> str:
    """Digest of everything the weights depend on: settings, clips, features and code."""
    content = settings.params.model_dump(mode="json", include={"faces", "mfcc", "model", "train"})
    features = [file_digest(path) for path in (*sorted(settings.layout.faces.glob("*.parquet")), settings.layout.mfcc)]
    made_from = json.dumps([content, digest, features, code_digest(CODE)], sort_keys=True)
    return hashlib.sha256(made_from.encode()).hexdigest()


if __name__ == "__main__":
    run_step(train, __doc__)
