"""Producing items in one thread while another consumes them, with a bounded queue in between."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import TypeVar

Item = TypeVar("Item")

_POLL = 0.1  # s
_PATIENCE = 10.0  # s that a consumer who stops early waits for the thread to end


@dataclass(frozen=True)
class _End:
    error: BaseException | None


def overlapped(items: Iterator[Item], waiting: int, *, drop: bool = False) -> Generator[Item, None, None]:
    """Yield `items` in order while a thread produces the next ones.

    An error in the thread is raised here, after the items before it. When the caller closes this generator early (as
    `contextlib.closing` does), the thread ends too.

    Args:
        items: a generator, which runs and is closed in the thread.
        waiting: maximum number of items that wait.
        drop: drop items while the queue is full, so that the consumer of a live source never falls behind.
    """
    room: queue.Queue[Item | _End] = queue.Queue(waiting)
    stopped = threading.Event()

    def put(item: Item | _End) -> None:
        while not stopped.is_set():
            try:
                return room.put(item, timeout=_POLL)
            except queue.Full:
                continue

    def produce() -> None:
        error: BaseException | None = None
        try:
            for item in items:
                if not drop:
                    put(item)
                elif not room.full():  # only this thread fills it
                    room.put(item)
                if stopped.is_set():  # before the next one is produced
                    break
            if close := getattr(items, "close", None):
                close()
        except BaseException as caught:  # raised in the calling thread
            error = caught
        put(_End(error))

    thread = threading.Thread(target=produce, name="prepare", daemon=True)
    thread.start()
    try:
        while not isinstance(item := room.get(), _End):
            yield item
        if item.error is not None:
            raise item.error
    finally:
        stopped.set()
        # With a timeout: the garbage collector may close this in a thread that holds a lock which the other one needs.
        thread.join(_PATIENCE)
