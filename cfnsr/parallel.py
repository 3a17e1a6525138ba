"""Parallel processing of clips in worker processes; one bad clip never stops the others."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.context import SpawnContext, SpawnProcess
from typing import Any, TypeVar

from tqdm import tqdm

from cfnsr.errors import ClipError, InputError

Task = TypeVar("Task")
Result = TypeVar("Result")


def default_workers() -> int:
    """Number of cores that this process may use; the environment variable `CFNSR_WORKERS` overrides it.

    Raises:
        InputError: `CFNSR_WORKERS` is not a positive integer.
    """
    override = os.environ.get("CFNSR_WORKERS", "")
    if override:
        if not override.isdigit() or int(override) < 1:
            raise InputError(f"CFNSR_WORKERS is {override!r}; set it to a positive integer, or unset it.")
        return int(override)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def map_clips(
    function: Callable[[Task], Result],
    tasks: Sequence[Task],
    *,
    workers: int,
    description: str,
    done: int = 0,
    unit: str = "clip",
) -> Generator[tuple[Task, Result | ClipError]]:
    """Yield `(task, function(task))` in order of completion, computed in `workers` processes.

    If a task raises a `ClipError`, or an error of FFmpeg or OpenCV, a `ClipError` is yielded in place of its result. A
    task whose process dies (a decoder that crashes on a damaged file) is repeated in a process of its own; if that
    process dies, too, the result is a `ClipError`.

    Args:
        function: importable, since it is sent to other processes; raises ClipError for an unusable clip.
        tasks: picklable.
        workers: number of processes.
        description: label of the progress bar.
        done: number of clips finished by an earlier run, where the progress bar starts.
        unit: unit of the progress bar.

    Raises:
        InputError: a process was killed from outside (SIGKILL), as Linux does when memory runs out.
    """
    with tqdm(total=done + len(tasks), initial=done, desc=description, unit=unit, smoothing=0.1) as bar:
        for outcome in _outcomes(function, tasks, workers):
            bar.update()
            yield outcome


def _outcomes(
    function: Callable[[Task], Result], tasks: Sequence[Task], workers: int
) -> Generator[tuple[Task, Result | ClipError]]:
    waiting = deque(tasks)
    while waiting:
        # Only few tasks are in flight: when a process dies, only these can be the cause, and when the caller stops
        # early, only these are waited for.
        in_flight: dict[Future[Result], Task] = {}
        processes = _Processes()
        pool = _pool(min(workers, len(waiting)), processes)
        try:
            while waiting or in_flight:
                while waiting and len(in_flight) < 2 * workers:
                    future = pool.submit(_work, function, waiting[0])
                    in_flight[future] = waiting.popleft()
                for future in wait(in_flight, return_when=FIRST_COMPLETED).done:
                    outcome = _outcome(future)
                    yield in_flight.pop(future), outcome
        except BrokenProcessPool:
            pass
        finally:
            pool.shutdown(cancel_futures=True)
        processes.check_not_killed()
        for task in in_flight.values():
            yield task, _alone(function, task)


def _alone(function: Callable[[Task], Result], task: Task) -> Result | ClipError:
    """Run one task in a process of its own, to find out whether it crashes its process."""
    processes = _Processes()
    try:
        with _pool(1, processes) as pool:
            return _outcome(pool.submit(_work, function, task))
    except BrokenProcessPool:
        processes.check_not_killed()
        return ClipError("the decoder crashed on this file, which is damaged in a way that FFmpeg can't handle")


def _work(function: Callable[[Task], Result], task: Task) -> Result:
    """Run in a worker: errors of the decoders become a ClipError; any other error is a bug and stops the run."""
    import av
    import cv2

    try:
        return function(task)
    except (av.FFmpegError, cv2.error) as error:
        raise ClipError(f"it can't be decoded ({' '.join(str(error).split())})") from None


def _outcome(future: Future[Result]) -> Result | ClipError:
    try:
        return future.result()
    except ClipError as error:
        return error


class _Processes(SpawnContext):
    """Starts the processes of one pool and keeps them, because the pool does not expose their exit codes.

    Processes are spawned, not forked: a forked child would inherit locks held by threads of PyAV or OpenMP.
    """

    def __init__(self) -> None:
        super().__init__()
        self._started: list[SpawnProcess] = []

    def Process(self, *args: Any, **kwargs: Any) -> SpawnProcess:  # type: ignore[override]  # noqa: N802
        process = SpawnProcess(*args, **kwargs)
        self._started.append(process)
        return process

    def check_not_killed(self) -> None:
        """Check the exit codes; call it after the shutdown of the pool, when every process has one.

        Raises:
            InputError: a process was killed.
        """
        # When a process dies, the pool ends the others with SIGTERM; SIGKILL always comes from outside.
        if any(process.exitcode == -signal.SIGKILL for process in self._started):
            raise InputError(
                "a worker process was killed, probably because memory ran out: free some memory or set CFNSR_WORKERS "
                f"lower than {len(self._started)}, and run the command again."
            )


def _pool(workers: int, processes: _Processes) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(workers, mp_context=processes, initializer=_start_worker)


def end_with_parent() -> None:
    """Make this worker process end with its parent, even if the parent is killed.

    Otherwise, orphaned workers would keep writing beside those of the next run.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C and ends its workers
    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _start_worker() -> None:
    end_with_parent()
    # There is one process per core, so threads inside OpenCV, BLAS and Torch would only compete for the cores. The
    # variables limit libraries that are loaded from now on, `threadpool_limits` those that are already loaded.
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[variable] = "1"
    import cv2
    from threadpoolctl import threadpool_limits

    threadpool_limits(1)
    cv2.setNumThreads(1)
