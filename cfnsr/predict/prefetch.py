"""Making things in one thread while another uses them, with a bounded number of them waiting in between."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import TypeVar

Item = TypeVar("Item")

_POLL = 0.1  # s
_PATIENCE = 10.0  # s that whoever stops early waits for the thread to end


@dataclass(frozen=True)
class _End:
    error: BaseException | None


def overlapped(items: Iterator[Item], waiting: int, *, drop: bool = False) -> Generator[Item, None, None]:
    """Yield `items` in order while a thread makes the next ones.

    An error that making them raises is raised here in its place. When the caller stops early and closes this (as
    `contextlib.closing` does), the thread ends too.

    Args:
        items: a generator; it runs, and is closed, in the thread.
        waiting: how many finished ones may wait.
        drop: for a live source: what finds no room is lost, so that the caller never falls behind.
    """
    room: queue.Queue[Item | _End] = queue.Queue(waiting)
    stopped = threading.Event()

    def put(item: Item | _End) -> None:
        while not stopped.is_set():
            try:
                return room.put(item, timeout=_POLL)
            except queue.Full:
                continue

    def make() -> None:
        error: BaseException | None = None
        try:
            for item in items:
                if not drop:
                    put(item)
                elif not room.full():  # this thread alone fills it
                    room.put(item)
                if stopped.is_set():  # before the next one is made
                    break
            if close := getattr(items, "close", None):
                close()
        except BaseException as caught:  # it belongs to the caller, whatever it is
            error = caught
        put(_End(error))

    thread = threading.Thread(target=make, name="prepare", daemon=True)
    thread.start()
    try:
        while not isinstance(item := room.get(), _End):
            yield item
        if item.error is not None:
            raise item.error
    finally:
        stopped.set()
        # Not for ever: the garbage collector may close this in a thread that holds what the other one waits for.
        thread.join(_PATIENCE)
