"""Step `train`: train every fold of a profile and leave weights, history and test predictions in runs/<profile>.

Folds that an interrupted run with the same settings, data and code has finished are not trained again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from contextvars import copy_context
from functools import partial
from multiprocessing import active_children, get_context
from typing import TYPE_CHECKING

from cfnsr.config.load import Settings
from cfnsr.corpus.folds import Fold
from cfnsr.corpus.manifest import dataset_digest
from cfnsr.errors import InputError, user_message
from cfnsr.files import locked, write_text
from cfnsr.parallel import default_workers, end_with_parent
from cfnsr.training.result import FoldResult
from components.run import KEY_FILE, Run, decisive_settings, recorded_key
from components.step import run_step
from components.tracking.runs import flatten

if TYPE_CHECKING:
    from lightning import Callback

FoldTrainer = Callable[[Run, Fold], FoldResult]

logger = logging.getLogger(__name__)


def train(run: Run) -> None:
    """Train all folds.

    Raises:
        InputError: folds failed, or another process is training the profile.
    """
    with exclusive(run.settings):
        prepare(run)
        train_folds(run)


@contextmanager
def exclusive(settings: Settings) -> Iterator[None]:
    """Keep other processes from training the same profile at the same time.

    Raises:
        InputError: another process does already.
    """
    run = settings.layout.run
    busy = f"another process is training the profile {settings.profile} in {run}; wait until it ends, or end it."
    with locked(run.with_name(f"{run.name}.lock"), busy):
        yield


def prepare(run: Run) -> None:
    """Make the run's folder its own, and describe the run to MLflow.

    What an earlier run with other settings, data or code left in the folder is moved to `runs/<profile>.<key>`.
    """
    if recorded_key(run.settings) != run.key:
        _move_aside(run)
        write_text(run.folder / KEY_FILE, run.key + "\n")
    params, features = run.settings.params, run.features
    run.tracker.describe(
        tags={
            "corpus": params.dataset.corpus,
            "protocol": params.train.protocol,
            "dataset_digest": dataset_digest(features.clips),
            "clips": str(len(features.having(params.model.modality))),
            "clips_excluded": str(len(features.excluded)),
        },
        params=flatten(decisive_settings(run.settings)),
    )
    for fold in run.folds:
        # Now, while the server is known to answer: training itself never waits for it.
        run.tracker.outbox(run.tracker.fold(fold.index)).deliver()
    if features.excluded:
        logger.warning("%d takes or files are excluded; `cfnsr clips` says why", len(features.excluded))


def train_folds(run: Run, wanted: Collection[int] | None = None, train_one: FoldTrainer | None = None) -> None:
    """Train folds, `train.fold_workers` at a time. One that fails does not keep the others from being trained.

    Args:
        run: prepared by `prepare`.
        wanted: numbers of the folds to train; None for all of them.
        train_one: trains a single fold, `train_fold_apart` unless a flow wraps it.

    Raises:
        InputError: folds failed.
    """
    work = partial(_outcome, train_one or train_fold_apart, run)
    folds = [fold for fold in run.folds if wanted is None or fold.index in wanted]
    with run.tracker.running(run.tracker.parent()):
        outcomes = _side_by_side(work, folds, run.settings.params.train.fold_workers)
        failed = {
            fold.index: outcome for fold, outcome in zip(folds, outcomes, strict=True) if isinstance(outcome, Exception)
        }
        if failed:
            reasons = [f"fold {index}: {user_message(error) or repr(error)}" for index, error in failed.items()]
            raise InputError(
                f"{len(failed)} of {len(folds)} folds failed: {' '.join(reasons)} The same command trains only these "
                "again."
            ) from next(iter(failed.values()))


def _outcome(train_one: FoldTrainer, run: Run, fold: Fold) -> FoldResult | Exception:
    try:
        return train_one(run, fold)
    except Exception as error:  # the other folds are trained first
        return error


def _side_by_side(
    work: Callable[[Fold], FoldResult | Exception], folds: Sequence[Fold], workers: int
) -> list[FoldResult | Exception]:
    """Call `work` for each fold, `workers` at a time. Ctrl-C ends it at once, with its processes."""
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


def train_fold_apart(run: Run, fold: Fold) -> FoldResult:
    """Train one fold like `train_fold`, in a process of its own if folds are trained side by side.

    Raises:
        InputError: the process was killed, or what `train_fold` raises.
    """
    workers = run.settings.params.train.fold_workers
    if workers == 1:
        return train_fold(run, fold)
    # Spawned, not forked: CUDA and running threads do not survive a fork.
    threads = max(1, default_workers() // workers)
    try:
        with ProcessPoolExecutor(1, get_context("spawn"), initializer=end_with_parent) as process:
            return process.submit(_train_with_threads, run.settings, run.key, fold, threads).result()
    except BrokenProcessPool:
        raise InputError(
            f"the process that trained fold {fold.index} was killed, perhaps for lack of memory; run the same command "
            "again to continue from its last epoch, with a lower train.fold_workers if it happens again."
        ) from None


def _train_with_threads(settings: Settings, key: str, fold: Fold, threads: int) -> FoldResult:
    import torch

    torch.set_num_threads(threads)  # folds that each use all cores slow each other down
    run = Run.open(settings)
    if run.key != key:
        raise InputError(f"data or code changed before fold {fold.index} was trained; restore them, or start again.")
    return train_fold(run, fold)


def train_fold(run: Run, fold: Fold, callbacks: Sequence[Callback] = ()) -> FoldResult:
    """Train one fold and log it to its child run in MLflow; a finished fold returns at once.

    Args:
        run: prepared by `prepare`.
        fold: one of the run's.
        callbacks: for the fold's last phase.

    Raises:
        InputError: see `cfnsr.training.fold.train_fold`.
    """
    from cfnsr.training import fold as training

    folder = run.fold_folder(fold.index)
    finished = FoldResult.load(folder)
    if finished is not None:
        return finished
    run_id = run.tracker.fold(fold.index)
    with run.tracker.running(run_id):
        loggers = partial(run.tracker.phase_logger, run_id)
        result = training.train_fold(run.features, fold, run.settings, folder, loggers, callbacks)
        figures = {"param_count": result.parameters, "selection_score": result.selection_score}
        run.tracker.outbox(run_id).metrics({**figures, "best_epoch": result.epoch, "seconds": result.seconds})
    return result


def _move_aside(run: Run) -> None:
    if not run.folder.exists():
        return
    run.tracker.abandon()
    base = run.folder.with_name(f"{run.folder.name}.{(recorded_key(run.settings) or 'unknown')[:8]}")
    aside, number = base, 1
    while aside.exists():
        number += 1
        aside = base.with_name(f"{base.name}-{number}")
    run.folder.rename(aside)
    print(f"train: settings, data or code have changed; the earlier run is kept in {aside}")


def step(settings: Settings) -> None:
    """The step as the command line runs it."""
    train(Run.open(settings))


if __name__ == "__main__":
    run_step(step, __doc__)
