"""Several transfers at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from threading import Event
from typing import TypeVar

from tqdm.contrib.logging import logging_redirect_tqdm

from cfnsr.errors import InputError
from cfnsr.fetch.transfer import Interrupted

Item = TypeVar("Item")


def for_each(work: Callable[[Item, Event], None], items: Sequence[Item], threads: int) -> None:
    """Run `work(item, stop)` for all items; log lines don't tear the progress bars.

    An item that fails with an InputError does not stop the others: what they bring is kept, and the next run has less
    to do. Anything else (a full disk, Ctrl-C, a bug) sets `stop` and ends them all.

    Raises:
        InputError: the first one of an item, with the number of the others.
    """
    stop = Event()
    failures = []

    def guarded(item: Item) -> None:
        if stop.is_set():
            return
        try:
            work(item, stop)
        except InputError:
            raise
        except BaseException:
            stop.set()
            raise

    with logging_redirect_tqdm(), ThreadPoolExecutor(threads) as pool:
        futures = [pool.submit(guarded, item) for item in items]
        try:
            for future in as_completed(futures):
                error = future.exception()
                if isinstance(error, InputError):
                    failures.append(error)
                elif error is not None and not isinstance(error, Interrupted):  # those only follow another one
                    raise error
        except BaseException:
            stop.set()  # for Ctrl-C, which arrives here
            raise
    if failures:
        more = f" ({len(failures) - 1} more failed.)" if len(failures) > 1 else ""
        raise InputError(f"{failures[0]}{more}")
