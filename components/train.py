"""Step `train`: train every fold of a profile and leave weights, history and test predictions in runs/<profile>.

Folds that an earlier, interrupted run with the same settings, data and code finished are not trained again.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from contextvars import copy_context
from functools import partial
from multiprocessing import active_children, get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from cfnsr.config.layout import Layout
from cfnsr.config.load import Settings
from cfnsr.corpus.folds import Fold, actor_folds
from cfnsr.errors import InputError
from cfnsr.files import code_digest, file_digest, locked, write_text
from cfnsr.parallel import default_workers, end_with_parent
from components.step import run_step
from components.tracking.runs import RunTracker, flatten

if TYPE_CHECKING:
    from lightning import Callback

    from cfnsr.features.cached import Features
    from cfnsr.training.fold import FoldResult

CODE = (
    "cfnsr/training/augment.py",
    "cfnsr/model/calibration.py",
    "cfnsr/training/callbacks.py",
    "cfnsr/training/dataset.py",
    "cfnsr/training/distributed.py",
    "cfnsr/training/phase.py",
    "cfnsr/corpus/folds.py",
    "cfnsr/model",
    "cfnsr/model/normalize.py",
    "cfnsr/training/pretrained.py",
    "cfnsr/training/task.py",
    "cfnsr/training/fold.py",
)
"""What decides about the weights besides settings and features; dvc.yaml names the same, and what reports on them."""

KEY_FILE = "key.txt"
Result = TypeVar("Result")

logger = logging.getLogger(__name__)


def train(settings: Settings) -> None:
    """Train all folds, `train.fold_workers` at a time. One that fails does not keep the others from being trained.

    Raises:
        InputError: a data stage has not run, too few actors for the folds, the loss is not finite, or another process
            is training the profile.
    """
    with exclusive(settings):
        folds = plan(settings)
        tracker = RunTracker(settings)
        with tracker.running(tracker.parent()):
            for outcome in side_by_side(partial(_outcome, settings), folds, settings.params.train.fold_workers):
                if isinstance(outcome, Exception):
                    raise outcome


def _outcome(settings: Settings, fold: Fold) -> FoldResult | Exception:
    try:
        return train_apart(settings, fold)
    except Exception as error:  # the other folds are trained first
        return error


def side_by_side(work: Callable[[Fold], Result], folds: Sequence[Fold], workers: int) -> list[Result]:
    """Do something for each fold, `workers` at a time; Ctrl-C ends it at once, with the processes of `train_apart`."""
    if workers == 1:
        return [work(fold) for fold in folds]  # in the main thread, which Ctrl-C reaches
    pool = ThreadPoolExecutor(workers)
    try:
        return [future.result() for future in [pool.submit(copy_context().run, work, fold) for fold in folds]]
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        for process in active_children():
            process.terminate()
        raise
    finally:
        pool.shutdown()


@contextmanager
def exclusive(settings: Settings) -> Iterator[None]:
    """Keep other processes from training the same profile at the same time.

    Raises:
        InputError: one does already.
    """
    run = settings.layout.run
    busy = f"another process is training the profile {settings.profile} in {run}; wait for it or end it."
    with locked(run.with_name(f"{run.name}.lock"), busy):
        yield


def plan(settings: Settings) -> list[Fold]:
    """Check that the run is possible, open (or re-open) its MLflow run and say which folds it has.

    What an earlier run with other settings, data or code left is moved aside, to `runs/<profile>.<key>`.

    Raises:
        InputError: what `load_features` raises, or there are too few actors for the folds.
    """
    features = load_features(settings)
    folds = folds_of(settings, features)
    key, previous = run_key(settings), read_key(settings)
    if previous != key:
        _move_aside(settings, previous)
        write_text(settings.layout.run / KEY_FILE, key + "\n")
    tracker = describe_run(settings, features)
    for fold in folds:
        # Now, while the server is known to answer: training goes on without it. What a fold could not tell then may
        # be waiting, and a finished fold is not begun again.
        tracker.outbox(tracker.fold(fold.index)).deliver()
    if features.excluded:
        logger.warning("%d takes or files are left out; `cfnsr clips` says why", len(features.excluded))
    return folds


def load_features(settings: Settings) -> Features:
    """The profile's features, which must be of its present settings, clips and code.

    Raises:
        InputError: they are not, or a data stage has not run.
    """
    from cfnsr.features.cached import Features
    from components.features import check_features

    features = Features.load(settings.layout)
    check_features(settings)
    return features


def folds_of(settings: Settings, features: Features) -> list[Fold]:
    """The folds over the actors whose clips the network can use."""
    usable = features.having(settings.params.model.modality)
    return actor_folds(sorted(usable["actor"].unique().tolist()), settings.params.train)


def describe_run(settings: Settings, features: Features) -> RunTracker:
    """The run's tracker, its parent run described (again)."""
    from cfnsr.corpus.manifest import dataset_digest

    params = settings.params
    tracker = RunTracker(settings)
    tracker.describe(
        tags={
            "corpus": corpus_name(settings),
            "protocol": params.train.protocol,
            "dataset_digest": dataset_digest(features.clips),
            "clips": str(len(features.having(params.model.modality))),
            "clips_left_out": str(len(features.excluded)),
        },
        params=flatten(decisive_settings(settings)),
    )
    return tracker


def train_apart(settings: Settings, fold: Fold) -> FoldResult:
    """Train one fold like `train_one`; in a process of its own if folds are trained side by side.

    Raises:
        InputError: the process was killed, or what `train_one` raises.
    """
    workers = settings.params.train.fold_workers
    if workers == 1:
        return train_one(settings, fold)
    # Spawned, not forked: CUDA and running threads don't survive a fork.
    threads = max(1, default_workers() // workers)
    try:
        with ProcessPoolExecutor(1, get_context("spawn"), initializer=end_with_parent) as process:
            return process.submit(_train_with_threads, settings, fold, threads).result()
    except BrokenProcessPool:
        raise InputError(
            f"the process that trained fold {fold.index} was killed, perhaps for want of memory; the same command goes "
            "on from its last epoch; lower train.fold_workers if it happens again."
        ) from None


def _train_with_threads(settings: Settings, fold: Fold, threads: int) -> FoldResult:
    import torch

    torch.set_num_threads(threads)  # folds that each want all cores make each other slower
    return train_one(settings, fold)


def train_one(settings: Settings, fold: Fold, callbacks: Sequence[Callback] = ()) -> FoldResult:
    """Train one fold and log it to its child run.

    Args:
        settings: the profile.
        fold: one of `plan`.
        callbacks: for the fold's last phase.

    Raises:
        InputError: settings, data or code are not those that the run was begun with, the data changed meanwhile, or
            what `train_fold` raises.
    """
    from cfnsr.training.fold import FoldResult, train_fold

    folder = fold_folder(settings, fold.index)
    finished = FoldResult.load(folder)
    if finished is not None:
        return finished
    features = load_features(settings)
    if run_key(settings) != read_key(settings):
        raise InputError(
            f"settings, data or code have changed since the run in {settings.layout.run} was begun, and fold "
            f"{fold.index} would not fit the others; bring them back, or start anew with `dvc repro`."
        )
    data = data_digest(settings.layout)
    tracker = RunTracker(settings)
    run_id = tracker.fold(fold.index)
    with tracker.running(run_id):
        result = train_fold(
            features,
            fold,
            settings,
            folder,
            partial(tracker.phase_logger, run_id),
            callbacks,
        )
        if data_digest(settings.layout) != data:
            shutil.rmtree(folder)  # nobody can say what it was trained on
            raise InputError(
                f"the features of {settings.layout.data} were replaced while fold {fold.index} was trained on them, so "
                "it is dropped; run the command again when nothing else makes features."
            )
        figures = {"param_count": result.parameters, "selection_accuracy": result.selection_accuracy}
        tracker.outbox(run_id).metrics({**figures, "best_epoch": result.epoch, "seconds": result.seconds})
    return result


def fold_folder(settings: Settings, index: int) -> Path:
    """Where a fold keeps its files."""
    return settings.layout.run / f"fold-{index}"


def corpus_name(settings: Settings) -> str:
    """What the numbers are of; synthetic figures are called synthetic wherever they are shown."""
    return "synthetic sample corpus" if settings.params.dataset.source == "sample" else "RAVDESS"


def decisive_settings(settings: Settings) -> dict[str, Any]:
    """The settings that decide about the results, not those that only decide how fast or when to give up."""
    return settings.params.model_dump(
        mode="json",
        include={"faces", "mfcc", "model", "train"},
        exclude={
            "faces": {"max_bad_share"},
            "mfcc": {"max_bad_share"},
            "train": {"preset", "loader_workers", "fold_workers"},
        },
    )


def data_digest(layout: Layout) -> str:
    """Digest of the clips and of the files of their features.

    Raises:
        InputError: a data stage has not run.
    """
    from cfnsr.corpus.manifest import dataset_digest, read_manifest

    clips = dataset_digest(read_manifest(layout.manifest))
    try:
        packed = [file_digest(path) for path in [*sorted(layout.faces.glob("*.parquet")), layout.mfcc]]
    except FileNotFoundError as error:
        raise InputError(f"{error.filename} is missing; run `dvc repro faces mfcc`, which makes it.") from None
    return hashlib.sha256(json.dumps([clips, packed]).encode()).hexdigest()


def run_key(settings: Settings) -> str:
    """Digest of everything the weights depend on: settings, clips, features and code.

    Raises:
        InputError: a data stage has not run, or a file that a phase begins with is missing.
    """
    made_from = [
        decisive_settings(settings),
        data_digest(settings.layout),
        [file_digest(path) for path in _checkpoints(settings)],
        code_digest(CODE),
    ]
    return hashlib.sha256(json.dumps(made_from, sort_keys=True).encode()).hexdigest()


def check_current(settings: Settings) -> None:
    """Look whether the finished run is of the present settings, data and code, which are what is reported of it.

    Raises:
        InputError: it is not.
    """
    if read_key(settings) != run_key(settings):
        raise InputError(
            f"{settings.layout.run} was trained with other settings, data or code than there are now; train again "
            "(`dvc repro`), or bring those back."
        )


def _checkpoints(settings: Settings) -> list[Path]:
    """The files that phases begin with, of all folds."""
    from cfnsr.training.fold import phases_of
    from cfnsr.training.pretrained import checkpoint_of

    patterns = [phase.checkpoint for phase in phases_of(settings).values() if phase.checkpoint is not None]
    files = [checkpoint_of(pattern, fold) for pattern in patterns for fold in range(settings.params.train.folds)]
    missing = [path for path in files if not path.exists()]
    if missing:
        raise InputError(f"{missing[0]} is missing; set the phase's checkpoint to a file that is there, or to null.")
    return files


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
