import threading

import pytest

from cfnsr.errors import ClipError
from cfnsr.predict.prefetch import overlapped


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
