"""The lock of several machines, on a real PostgreSQL server."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator

import psycopg
import pytest
from helpers.paths import PROJECT
from helpers.postgres_server import Postgres, needs_postgres, postgres_server
from helpers.running_programs import kill, running, wait_for

from cfnsr.config.search import TuneSettings
from components.search.database_lock import DatabaseLock

pytestmark = [pytest.mark.services, needs_postgres]

HOLDER = """
import sys, time
from components.search.database_lock import DatabaseLock
with DatabaseLock(sys.argv[1], "lock"):
    time.sleep(600)
"""


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    with postgres_server() as running_server:
        yield running_server


@pytest.fixture
def url(server, request) -> str:
    return server.create(request.node.name)


def held(url: str) -> int:
    """Locks that somebody holds."""
    with psycopg.connect(url.replace("+psycopg", "")) as database:
        row = database.execute(
            "SELECT count(*) FROM pg_locks JOIN pg_database ON pg_database.oid = pg_locks.database "
            "WHERE locktype = 'advisory' AND granted AND datname = current_database()"
        ).fetchone()
    return row[0]


def wait_until_held(url: str, count: int) -> None:
    """The server lets go a moment after the client has left."""
    deadline = time.monotonic() + 60
    while held(url) != count:
        assert time.monotonic() < deadline, f"{held(url)} locks are held"
        time.sleep(0.05)


def test_one_at_a_time_has_it_and_the_next_gets_it_when_it_is_let_go(url):
    lock, order = DatabaseLock(url, "lock"), []

    def other() -> None:
        with DatabaseLock(url, "lock"):
            order.append("other")

    with lock:
        waiting = threading.Thread(target=other)
        waiting.start()
        with lock, DatabaseLock(url, "another"):  # again, and another one beside it
            assert held(url) == 2
        wait_until_held(url, 1)
        order.append("first")
    waiting.join()
    assert order == ["first", "other"]
    wait_until_held(url, 0)
    lock.release()  # not held: nothing happens


def test_the_server_takes_it_back_from_who_is_killed(url):
    with running([sys.executable, "-c", HOLDER, url], cwd=PROJECT) as holder:
        wait_for(holder, lambda: held(url) == 1)
        kill(holder)
        with DatabaseLock(url, "lock"):
            assert held(url) == 1


def test_workers_of_several_machines_run_as_many_trials_as_asked_for(url, tmp_path, monkeypatch):
    """Each has a folder of its own, as on machines that share nothing but the database."""
    from components.search.study import SharedStudy

    monkeypatch.setenv("OPTUNA_STORAGE", url)
    workers = [SharedStudy(tmp_path / str(number) / "study", TuneSettings(trials=9)) for number in range(3)]
    draw = [threading.Thread(target=one.work, args=(lambda trial: trial.suggest_float("x", 0, 1),)) for one in workers]
    for thread in draw:
        thread.start()
    for thread in draw:
        thread.join()
    assert len({trial.params["x"] for trial in workers[0].study.trials}) == len(workers[0].study.trials) == 9
