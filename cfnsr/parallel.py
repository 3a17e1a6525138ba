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
from multiprocessing.context import SpawnContext, SpawnProcess
from typing import Any, TypeVar

from tqdm import tqdm

from cfnsr.errors import ClipError, InputError

Task = TypeVar("Task")
Result = TypeVar("Result")


def default_workers() -> int:
    """Cores this process may use; `CFNSR_WORKERS` overrides it."""
    override = os.environ.get("CFNSR_WORKERS", "")
    if override:
        if not override.isdigit() or int(override) < 1:
            raise InputError(f"CFNSR_WORKERS is {override!r}; set it to a whole number from 1 on, or unset it.")
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
    """Yield `(task, function(task))` in the order of completion, from `workers` processes.

    A `ClipError` of a task is yielded in place of its result; errors of FFmpeg's and OpenCV's become one. A task whose
    process dies (a decoder that crashes on a damaged file) is tried once more in a process of its own; if that one dies
    too, its result is a `ClipError`.

    Args:
        function: importable (it is sent to other processes); raises ClipError for a clip that can't be used.
        tasks: picklable.
        workers: number of processes.
        description: what the progress bar says.
        done: clips finished by an earlier, interrupted run; the bar starts there.
        unit: what the progress bar counts.

    Raises:
        InputError: a process was killed from outside (SIGKILL), which is what Linux does when memory runs out; that is
            no clip's fault.
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
    """Run one task in a process of its own, to see whether it is the one that kills its process."""
    processes = _Processes()
    try:
        with _pool(1, processes) as pool:
            return _outcome(pool.submit(_work, function, task))
    except BrokenProcessPool:
        processes.check_not_killed()
        return ClipError("the decoder crashed on this file; it is damaged in a way FFmpeg can't handle")


def _work(function: Callable[[Task], Result], task: Task) -> Result:
    """In a worker: what the decoders complain of is the clip's fault; anything else is a bug and ends all."""
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
    """Starts the processes of one pool and remembers them: the pool itself doesn't tell how they ended.

    Not fork: the parent may hold threads (PyAV, OpenMP) whose locks a forked child would inherit locked.
    """

    def __init__(self) -> None:
        super().__init__()
        self._started: list[SpawnProcess] = []

    def Process(self, *args: Any, **kwargs: Any) -> SpawnProcess:  # type: ignore[override]  # noqa: N802
        process = SpawnProcess(*args, **kwargs)
        self._started.append(process)
        return process

    def check_not_killed(self) -> None:
        """Call it once the pool has shut down: only then every process has its exit code.

        Raises:
            InputError: one was killed.
        """
        # Of a pool whose one process died, the others are ended with SIGTERM; SIGKILL comes from outside.
        if any(process.exitcode == -signal.SIGKILL for process in self._started):
            workers = len(self._started)
            remedy = f"set CFNSR_WORKERS lower than {workers}" if workers > 1 else "free some memory"
            raise InputError(
                f"a worker process was killed, probably because memory ran out: {remedy} and run the command again."
            )


def _pool(workers: int, processes: _Processes) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(workers, mp_context=processes, initializer=_start_worker)


def end_with_parent() -> None:
    """Make this worker process end when the process that started it ends, however that happens.

    What is killed would otherwise leave workers behind that go on writing for nobody, beside those of its next start.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, which ends its workers
    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _start_worker() -> None:
    end_with_parent()
    # One process a core already: threads inside OpenCV, BLAS and Torch would only fight over the same cores.
    # The variables are for libraries loaded from now on, `threadpool_limits` for those that came with the main module.
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[variable] = "1"
    import cv2
    from threadpoolctl import threadpool_limits

    threadpool_limits(1)
    cv2.setNumThreads(1)
