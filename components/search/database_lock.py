"""A lock that processes on several machines share; a file lock works within one machine only."""

from __future__ import annotations

from sqlalchemy import Connection, NullPool, create_engine, text

KEEPALIVE = {"tcp_keepalives_idle": 30, "tcp_keepalives_interval": 10, "tcp_keepalives_count": 6}
"""Seconds, seconds and number of the server's keepalive probes; without an answer it releases the lock."""


class DatabaseLock:
    """An advisory lock of PostgreSQL, held by a connection of its own.

    The server releases it when the process ends, however that ends, and after a minute and a half when its machine is
    cut off. It is re-entrant, as `FileLock` is.

    Args:
        url: SQLAlchemy URL of the database.
        name: name of the lock in that database.
    """

    def __init__(self, url: str, name: str) -> None:
        self._engine = create_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
        self._name = name
        self._connection: Connection | None = None
        self._entered = 0

    def acquire(self) -> None:
        """Wait for the lock.

        Raises:
            sqlalchemy.exc.OperationalError: the database does not answer.
        """
        if self._connection is None:
            connection = self._engine.connect()
            for setting, value in KEEPALIVE.items():
                connection.execute(text(f"SET {setting} = {value}"))
            connection.execute(text("SELECT pg_advisory_lock(hashtextextended(:name, 0))"), {"name": self._name})
            self._connection = connection
        self._entered += 1

    def release(self) -> None:
        """Release the lock, or do nothing if it is not held."""
        self._entered = max(0, self._entered - 1)
        if self._connection is not None and not self._entered:
            self._connection.close()
            self._connection = None

    def __enter__(self) -> None:
        self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()
