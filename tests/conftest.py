"""The order of the tests, and what they all must leave as it was: processes and priorities of threads."""

import os
from collections.abc import Iterator
from multiprocessing import resource_tracker
from pathlib import Path

import psutil
import pytest

GRACE = 10  # s; for child processes that are about to end
LONGEST = ("test_demo.py", "test_whole_demo.py", "test_services.py", "test_scaling.py")
"""Files that take minutes."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the longest files first, so that no process is left alone with one of them at the end."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: (item.path.name not in LONGEST, item.path not in slow))


@pytest.fixture(autouse=True, scope="module")
def _leaves_no_process() -> Iterator[None]:
    """Fail the last test of a file that leaves child processes running."""
    before = _children()
    yield
    _, left = psutil.wait_procs(_children() - before, GRACE)
    assert not left, f"child processes were left running: {left}"


@pytest.fixture(autouse=True)
def _leaves_priorities() -> Iterator[None]:
    """Fail a test that leaves a thread with another scheduling policy or priority."""
    before = _scheduling()
    yield
    assert _scheduling() <= before, "a thread was left with another scheduling policy or priority"


def _scheduling() -> set[tuple[int, int]]:
    """Scheduling policy and nice value of each thread of this process."""
    found = set()
    tasks = Path("/proc/self/task")
    for thread in (int(task.name) for task in tasks.iterdir()) if tasks.exists() else ():
        try:
            found.add((os.sched_getscheduler(thread), os.getpriority(os.PRIO_PROCESS, thread)))
        except ProcessLookupError:  # it ended in the meantime
            continue
    return found


def _children() -> set[psutil.Process]:
    """Child processes, without the one that multiprocessing keeps for itself as long as Python runs."""
    tracker = resource_tracker._resource_tracker._pid
    return {child for child in psutil.Process().children() if child.pid != tracker}
