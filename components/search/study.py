"""The Optuna study behind a search: its storage, its workers, and the trials of workers that were killed.

The storage is `studies/<name>/journal.log`, which several processes of one machine may use, or the PostgreSQL database
that OPTUNA_STORAGE names, for several machines. A trial whose worker was killed is queued again with the same
parameters. With the file, such a trial is recognised by a lock that a worker holds while it runs a trial and that the
system releases when the worker ends; with a database, by Optuna's heartbeat.
"""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import optuna
from filelock import FileLock, Timeout
from optuna.storages import JournalStorage, RDBStorage, RetryHeartbeatStaleTrialCallback
from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock
from optuna.trial import FrozenTrial, Trial, TrialState

from cfnsr.config.search import TuneSettings
from cfnsr.errors import InputError
from components.search.database_lock import DatabaseLock
from components.search.pruning import MedianOfStep

HEARTBEAT = 30  # seconds; after three missed ones, a trial in a database counts as killed
RETRIES = 3  # of a trial whose worker was killed: its parameters may be the cause
WAIT = 2.0  # seconds between two checks of the other workers

Objective = Callable[[Trial], float]

optuna.logging.set_verbosity(optuna.logging.WARNING)
warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)

# With the values reported so far, with which other trials are compared: finished folds are not trained again.
_RETRY = RetryHeartbeatStaleTrialCallback(max_retry=RETRIES, inherit_intermediate_values=True)


class HopelessTrialError(Exception):
    """A trial's settings can't be trained; the search continues with other trials."""


class TrialSeededSampler(optuna.samplers.TPESampler):
    """TPE whose draws depend on the seed and on how many trials were started before, retries not counted.

    A sampler that is seeded once per process would repeat its first draws in every worker and after every restart; one
    that counts retries would draw other settings after a kill than without it.

    Args:
        settings: `seed` and `startup_trials` are used.
    """

    def __init__(self, settings: TuneSettings) -> None:
        self._settings = settings
        self._start(0)

    def _start(self, number: int) -> None:
        seed = (self._settings.seed * 1_000_003 + number) % 2**32
        super().__init__(seed=seed, n_startup_trials=self._settings.startup_trials, multivariate=True)

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """See class."""
        earlier = study.get_trials(deepcopy=False)[: first_number(trial)]
        self._start(sum(not _history(each) for each in earlier))


class SharedStudy:
    """A study that several workers may share, as one of them sees it.

    Args:
        folder: where the study is kept; its name is the study's.
        settings: the search.

    Raises:
        InputError: the database that OPTUNA_STORAGE names can't be reached.
    """

    def __init__(self, folder: Path, settings: TuneSettings) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self._settings = folder, settings
        try:
            # Held from the decision to start a trial until the trial's own lock is held.
            self._turn = _lock(folder, "turn")
            self.once = _lock(folder, "finish")
            """Held for what a single worker does, before and after the trials."""
            with self._turn:
                self.study = optuna.create_study(
                    storage=_storage(folder),
                    study_name=folder.name,
                    sampler=TrialSeededSampler(settings),
                    pruner=MedianOfStep(settings.startup_trials),
                    direction="maximize",
                    load_if_exists=True,
                )
        except Exception as error:  # of SQLAlchemy or the driver, with many classes for one cause
            if not os.environ.get("OPTUNA_STORAGE"):
                raise
            raise InputError(
                f"OPTUNA_STORAGE can't be used ({type(error).__name__}): check the URL and that the database runs."
            ) from error

    def work(self, objective: Objective) -> None:
        """Run trials until the study has enough of them and those of other workers have ended too.

        A trial that ends with `HopelessTrialError` counts as failed; any other error queues it again, up to `RETRIES`
        times, and ends this worker.
        """
        while True:
            with self._turn:
                self._revive()
                if self._wanted():
                    self.study.optimize(
                        lambda trial: self._run(trial, objective), n_trials=1, catch=(HopelessTrialError,)
                    )
                    continue
                if not self._in(TrialState.RUNNING):
                    return
            time.sleep(WAIT)

    def _run(self, trial: Trial, objective: Objective) -> float:
        with self._lock_of(trial.number):
            self._turn.release()
            try:
                return objective(trial)
            except (optuna.TrialPruned, HopelessTrialError):
                raise
            except BaseException:  # Ctrl-C too
                _RETRY(self.study, self._frozen(trial.number))
                raise
            finally:
                self._turn.acquire()  # for the `with` in `work`; Optuna also ends the trial before others see it

    def _wanted(self) -> bool:
        replaced = self._replaced()
        counted = [trial for trial in self.study.trials if trial.number not in replaced]
        return bool(self._in(TrialState.WAITING)) or len(counted) < self._settings.trials

    def _replaced(self) -> set[int]:
        """Numbers of the trials that have been queued again."""
        return {number for trial in self.study.trials for number in _history(trial)}

    def _revive(self) -> None:
        """Queue the trials of killed workers again."""
        if os.environ.get("OPTUNA_STORAGE"):
            optuna.storages.fail_stale_trials(self.study)
            return
        for trial in self._in(TrialState.RUNNING):
            try:
                with self._lock_of(trial.number).acquire(timeout=0):
                    if trial.number not in self._replaced():  # a worker was killed between these two steps
                        _RETRY(self.study, self._frozen(trial.number))
                    self.study.tell(trial.number, state=TrialState.FAIL)
            except Timeout:
                continue  # its worker is alive

    def _in(self, state: TrialState) -> list[FrozenTrial]:
        return self.study.get_trials(deepcopy=False, states=(state,))

    def _frozen(self, number: int) -> FrozenTrial:
        return self.study.get_trials(deepcopy=True)[number]

    def _lock_of(self, number: int) -> FileLock:
        return FileLock(self.folder / f"trial-{number}.lock")


def first_number(trial: FrozenTrial) -> int:
    """The number of a trial, or of the first attempt if it is a retry."""
    return _history(trial)[0] if _history(trial) else trial.number


def _history(trial: FrozenTrial) -> list[int]:
    return RetryHeartbeatStaleTrialCallback.retry_history(trial)


def _lock(folder: Path, name: str) -> FileLock | DatabaseLock:
    """A lock that all workers on a study share: across machines with a database, on this machine with a file."""
    url = os.environ.get("OPTUNA_STORAGE", "")
    if url.startswith("postgresql"):
        return DatabaseLock(url, f"{folder.name}/{name}")
    return FileLock(folder / f"{name}.lock")


def _storage(folder: Path) -> optuna.storages.BaseStorage:
    url = os.environ.get("OPTUNA_STORAGE")
    if not url:
        return _journal(folder / "journal.log")
    return RDBStorage(
        url,
        engine_kwargs={"pool_pre_ping": True},
        heartbeat_interval=HEARTBEAT,
        grace_period=3 * HEARTBEAT,
        heartbeat_stale_trial_callback=_RETRY,
    )


def _journal(path: Path) -> JournalStorage:
    """A study in a file. A line that a full disk or a power failure left unfinished is dropped: the study could not be
    read past it, and nobody relies on it, as it was never confirmed."""
    lock = JournalFileSymlinkLock(str(path))  # the backend's own, so that no process is writing
    lock.acquire()
    try:
        if path.exists() and not (content := path.read_bytes()).endswith(b"\n"):
            os.truncate(path, content.rfind(b"\n") + 1)
    finally:
        lock.release()
    return JournalStorage(JournalFileBackend(str(path), lock))
