from __future__ import annotations

import errno
from threading import Event

import pytest

from cfnsr.corpus.download.threads import for_each
from cfnsr.corpus.download.transfer import Interrupted
from cfnsr.errors import InputError


def test_an_input_error_of_one_item_lets_the_others_finish() -> None:
    done = []

    def work(item: int, _stop: Event) -> None:
        if item == 2:
            raise InputError("Item 2 is bad.")
        done.append(item)

    with pytest.raises(InputError, match=r"^Item 2 is bad\.$"):
        for_each(work, [1, 2, 3, 4], threads=2)
    assert sorted(done) == [1, 3, 4]


def test_a_full_disk_ends_them_all() -> None:
    started, stopped = Event(), Event()

    def work(item: int, stop: Event) -> None:
        if item == 1:
            started.wait(10)
            raise OSError(errno.ENOSPC, "No space left on device")
        started.set()
        assert stop.wait(10)
        stopped.set()
        raise Interrupted

    with pytest.raises(OSError, match="No space left"):
        for_each(work, [1, 2], threads=2)
    assert stopped.wait(10)
