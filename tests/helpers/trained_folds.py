"""A fold trained on a small set of features, for tests of what training leaves."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pandas as pd
from helpers.feature_files import write_features, write_params
from lightning.pytorch.loggers import CSVLogger

from cfnsr.config.load import Settings
from cfnsr.corpus.folds import make_folds
from cfnsr.corpus.manifest import read_manifest, write_manifest
from cfnsr.evaluation.report import read_table
from cfnsr.features.cached import Features
from cfnsr.training.fold import train_fold
from cfnsr.training.result import FoldResult

PHASE = {"epochs": 2, "batch_size": 8, "optimizer": "adamw", "lr": 0.003}


def train_first_fold(root: Path, write: bool = True, callbacks=(), **train) -> tuple[Settings, FoldResult]:
    """Train fold 0 of the small profile in `root`; `train` replaces keys of its section."""
    root.mkdir(exist_ok=True)
    sections = {"pretrain": {"audio": PHASE, "video": PHASE}, "fusion": PHASE, **train}
    settings = write_params(root, train=sections)
    if write:
        write_features(settings)
    features = Features.load(settings)
    fold = make_folds(features.clips, settings.params.train)[0]
    loggers = partial(CSVLogger, root / "log")
    return settings, train_fold(features, fold, settings, root / "fold", loggers, callbacks)


def write_changed_features(root: Path, change: Callable[[pd.DataFrame], pd.DataFrame]) -> Settings:
    """Write the features with a changed manifest for `train_first_fold(write=False)`."""
    settings = write_params(root, train={"pretrain": {"audio": PHASE, "video": PHASE}, "fusion": PHASE})
    write_features(settings)
    write_manifest(change(read_manifest(settings.layout.manifest)), settings.layout.manifest)
    return settings


def predictions(root: Path) -> pd.DataFrame:
    """The predictions for the test speakers."""
    return read_table(root / "fold" / "predictions.csv")
