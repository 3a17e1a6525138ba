"""A PostgreSQL server on a free port of the loopback, its data in a temporary folder, gone at the end of a block."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from helpers.running_programs import free_ports

DEBIAN = Path("/usr/lib/postgresql")  # Debian keeps every version's programs out of PATH
USER = "cfnsr"
DEADLINE = 60  # s


def _programs() -> Path | None:
    found = shutil.which("initdb")
    if found:
        return Path(found).resolve().parent
    versions = sorted(DEBIAN.glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    return versions[-1].parent if versions else None


PROGRAMS = _programs()
needs_postgres = pytest.mark.skipif(
    PROGRAMS is None, reason="PostgreSQL is not installed; on Debian: apt-get install postgresql"
)


@dataclass(frozen=True)
class Postgres:
    """A running server whose user `cfnsr` may do everything without a password."""

    port: int

    @property
    def address(self) -> str:
        """Host and port."""
        return f"127.0.0.1:{self.port}"

    def url(self, database: str) -> str:
        """For SQLAlchemy."""
        return f"postgresql+psycopg://{USER}@{self.address}/{database}"

    def create(self, database: str) -> str:
        """Make a database. Returns its URL."""
        with psycopg.connect(f"postgresql://{USER}@{self.address}/postgres", autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{database}"')
        return self.url(database)


@contextmanager
def postgres_server() -> Iterator[Postgres]:
    """Make a cluster, start its server, and end exactly that server at the end of the block."""
    assert PROGRAMS is not None
    # Not pytest's folder, which other users can't enter: root may not run the server, so another user does.
    with tempfile.TemporaryDirectory(prefix="cfnsr-postgres-") as folder:
        user = _unprivileged()
        if user:
            shutil.chown(folder, user["user"])
        data = Path(folder) / "data"
        init = [PROGRAMS / "initdb", "--no-sync", "--auth=trust", f"--username={USER}", "--encoding=UTF8", data]
        subprocess.run(init, cwd=folder, capture_output=True, check=True, **user)
        (port,) = free_ports(1)
        options = ["-c", "listen_addresses=127.0.0.1", "-c", "fsync=off", "-k", folder, "-p", str(port)]
        with (Path(folder) / "log").open("wb") as log:
            server = subprocess.Popen(
                [PROGRAMS / "postgres", "-D", data, *options], cwd=folder, stdout=log, stderr=log, **user
            )
        try:
            _await(server, port, Path(folder) / "log")
            yield Postgres(port)
        finally:
            server.send_signal(signal.SIGINT)  # a fast shutdown: clients are cut off
            server.wait(DEADLINE)


def _unprivileged() -> dict[str, Any]:
    """For subprocess: who runs the server when this process is root's."""
    if os.geteuid() != 0:
        return {}
    account = pwd.getpwnam("postgres")  # Debian's package makes it
    return {"user": account.pw_name, "group": account.pw_gid, "extra_groups": []}


def _await(server: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + DEADLINE
    while True:
        assert server.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        try:
            psycopg.connect(f"postgresql://{USER}@127.0.0.1:{port}/postgres", connect_timeout=5).close()
            return
        except psycopg.OperationalError:
            time.sleep(0.1)
