"""Work on many clips at once: all cores, a progress bar in clips/s, one bad clip never stops the others."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from tqdm import tqdm

from cfnsr.errors import ClipError

Task = TypeVar("Task")
Result = TypeVar("Result")


def map_clips(
    function: Callable[[Task], Result],
    tasks: Sequence[Task],
    *,
    workers: int,
    description: str,
    done: int = 0,
    unit: str = "clip",
) -> Generator[tuple[Task, Result | ClipError]]:
    """Yield `(task, function(task))` in the order of completion, from `workers` processes.

    A `ClipError` of a task is yielded in place of its result. A task whose process dies (a decoder that crashes on a
    damaged file) is tried once more in a process of its own; if that one dies too, its result is a `ClipError`.

    Args:
        function: importable (it is sent to other processes); raises ClipError for a clip that can't be used.
        tasks: picklable.
        workers: number of processes.
        description: what the progress bar says.
        done: clips finished by an earlier, interrupted run; the bar starts there.
        unit: what the progress bar counts.
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
        # Few in flight at a time: when a process dies, only these can be to blame, and when the caller stops early,
        # only these are waited for.
        in_flight: dict[Future[Result], Task] = {}
        pool = _pool(min(workers, len(waiting)))
        try:
            while waiting or in_flight:
                while waiting and len(in_flight) < 2 * workers:
                    future = pool.submit(function, waiting[0])
                    in_flight[future] = waiting.popleft()
                for future in wait(in_flight, return_when=FIRST_COMPLETED).done:
                    outcome = _outcome(future)
                    yield in_flight.pop(future), outcome
        except BrokenProcessPool:
            pass
        finally:
            pool.shutdown(cancel_futures=True)
        for task in in_flight.values():
            yield task, _alone(function, task)


def _alone(function: Callable[[Task], Result], task: Task) -> Result | ClipError:
    """Run one task in a process of its own, to see whether it is the one that kills its process."""
    try:
        with _pool(1) as pool:
            return _outcome(pool.submit(function, task))
    except BrokenProcessPool:
        return ClipError("the decoder crashed on this file; it is damaged in a way FFmpeg can't handle")


def _outcome(future: Future[Result]) -> Result | ClipError:
    try:
        return future.result()
    except ClipError as error:
        return error


def _pool(workers: int) -> ProcessPoolExecutor:
    # Not fork: the parent may hold threads (PyAV, OpenMP) whose locks a forked child would inherit locked.
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker)


def _start_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, which ends the pool
    parent = multiprocessing.parent_process()

    def end_with_parent() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)  # the parent was killed: don't keep decoding for nobody

    threading.Thread(target=end_with_parent, daemon=True).start()
    # One process a core already: threads inside OpenCV, BLAS and Torch would only fight over the same cores.
    # The variables are for libraries loaded from now on, `threadpool_limits` for those that came with the main module.
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[variable] = "1"
    import cv2
    from threadpoolctl import threadpool_limits

    threadpool_limits(1)
    cv2.setNumThreads(1)
