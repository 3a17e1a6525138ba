import threading
import time

import pytest

from cfnsr.errors import ClipError
from cfnsr.predict import prefetch as overlap
from cfnsr.predict.prefetch import overlapped


def test_all_come_in_order():
    assert list(overlapped(iter(range(100)), 3)) == list(range(100))


def test_they_are_made_in_another_thread_no_more_than_may_wait():
    made, threads = [], set()

    def make():
        for number in range(50):
            made.append(number)
            threads.add(threading.current_thread())
            yield number

    for used, number in enumerate(overlapped(make(), 2)):
        assert number == used
        assert len(made) <= used + 4  # two wait, one is used, one is being handed over
    assert threads
    assert threading.current_thread() not in threads


def test_an_error_comes_in_its_place():
    def make():
        yield 1
        raise ClipError("this clip is bad")

    items = overlapped(make(), 2)
    assert next(items) == 1
    with pytest.raises(ClipError, match="this clip is bad"):
        next(items)


def test_whoever_stops_early_ends_the_thread_and_closes_the_source():
    closed = threading.Event()

    def endless():
        try:
            while True:
                yield 0
        finally:
            closed.set()

    items = overlapped(endless(), 2)
    next(items)
    items.close()
    assert closed.is_set()
    assert not [thread for thread in threading.enumerate() if thread.name == "prepare"]


def test_a_live_source_never_waits():
    """The caller takes one and is slow; the source goes on to its end, and most is lost."""
    ended = threading.Event()

    def camera():
        yield from range(1000)
        ended.set()

    items = overlapped(camera(), 1, drop=True)
    got = [next(items)]
    assert ended.wait(timeout=60)
    got += items
    assert got[0] == 0
    assert len(got) <= 4
    assert got == sorted(got)


def test_nothing_more_is_made_for_whoever_stopped():
    made = []

    def make():
        for number in range(100):
            made.append(number)
            yield number

    items = overlapped(make(), 2)
    next(items)
    deadline = time.monotonic() + 60
    while len(made) < 4:  # one is taken, two wait, and one more stands in front of the door
        assert time.monotonic() < deadline
        time.sleep(0.01)
    before = len(made)
    items.close()
    assert len(made) == before


def test_an_error_while_the_source_is_closed_is_the_callers():
    class Source:
        def __iter__(self):
            return self

        def __next__(self):
            raise StopIteration

        def close(self):
            raise ClipError("it can't be closed")

    with pytest.raises(ClipError, match="it can't be closed"):
        list(overlapped(Source(), 2))


def test_an_abandoned_one_does_not_wait_for_ever(monkeypatch):
    """The garbage collector may close it in a thread that holds what its own thread waits for."""
    monkeypatch.setattr(overlap, "_PATIENCE", 0.2)
    lock = threading.Lock()

    def make():
        yield 0
        with lock:
            yield 1

    items = overlapped(make(), 2)
    with lock:
        assert next(items) == 0
        items.close()
