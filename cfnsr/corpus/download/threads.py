"""Several transfers at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from threading import Event, Thread
from typing import TypeVar

from tqdm.contrib.logging import logging_redirect_tqdm

from cfnsr.errors import InputError

Item = TypeVar("Item")


def for_each(work: Callable[[Item, Event], None], items: Sequence[Item], threads: int) -> None:
    """Run `work(item, stop)` for all items; log lines don't tear the progress bars.

    An item that fails with an InputError does not stop the others: what they bring is kept, and the next run has less
    to do. Anything else (a full disk, a bug) sets `stop` and ends them all. So does Ctrl-C, without waiting for them:
    a silent server would take its time, and what is on disk can be continued anyway. A ThreadPoolExecutor would wait.

    Raises:
        InputError: the first one of an item, with the number of the others.
    """
    waiting: SimpleQueue[Item] = SimpleQueue()
    outcomes: SimpleQueue[BaseException | None] = SimpleQueue()
    stop = Event()

    def serve() -> None:
        while not stop.is_set():
            try:
                item = waiting.get_nowait()
            except Empty:
                return
            outcome = _outcome(work, item, stop)
            outcomes.put(outcome)  # before `stop`, so that nobody's Interrupted comes first
            if outcome is not None and not isinstance(outcome, InputError):
                stop.set()

    for item in items:
        waiting.put(item)
    crew = [Thread(target=serve, daemon=True) for _ in range(min(threads, len(items)))]
    with logging_redirect_tqdm():
        for thread in crew:
            thread.start()
        try:
            failures = [error for _ in items if (error := _raise_unless_input(outcomes.get())) is not None]
        except Exception:
            for thread in crew:
                thread.join()
            raise
        except BaseException:
            stop.set()
            raise
    if failures:
        more = f" ({len(failures) - 1} more failed.)" if len(failures) > 1 else ""
        raise InputError(f"{failures[0]}{more}")


def _outcome(work: Callable[[Item, Event], None], item: Item, stop: Event) -> BaseException | None:
    try:
        work(item, stop)
    except BaseException as error:
        return error
    return None


def _raise_unless_input(outcome: BaseException | None) -> InputError | None:
    if outcome is None or isinstance(outcome, InputError):
        return outcome
    raise outcome
