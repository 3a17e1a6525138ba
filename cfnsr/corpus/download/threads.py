"""Several transfers at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from multiprocessing.pool import ThreadPool
from threading import Event
from typing import TypeVar

from tqdm.contrib.logging import logging_redirect_tqdm

from cfnsr.errors import InputError

Item = TypeVar("Item")


def for_each(work: Callable[[Item, Event], None], items: Sequence[Item], threads: int) -> None:
    """Run `work(item, stop)` for all items; log lines do not tear the progress bars.

    An item that fails with an InputError does not stop the others, so the next run has less to do. Any other error (a
    full disk, a bug) sets `stop` and ends them all, as does Ctrl-C. Neither waits for the threads that still run: a
    `ThreadPoolExecutor` would keep the process alive until a silent server times out, a `ThreadPool` does not.

    Raises:
        InputError: the first one of an item, with the number of the others.
    """
    stop = Event()

    def attempt(item: Item) -> InputError | None:
        try:
            work(item, stop)
        except InputError as error:
            return error
        return None

    with logging_redirect_tqdm(), ThreadPool(max(1, min(threads, len(items)))) as pool:
        try:
            failures = [error for error in pool.imap_unordered(attempt, items) if error is not None]
        finally:
            stop.set()
    if failures:
        more = f" ({len(failures) - 1} more failed.)" if len(failures) > 1 else ""
        raise InputError(f"{failures[0]}{more}")
