"""Measurements are written to disk first and delivered to MLflow from there, so that an outage loses nothing.

One file per run, `runs/.outbox/<run id>.jsonl`, one entry per line. Delivering an entry twice does no harm (MLflow
keeps one of two metrics with equal key, step, time and value), so entries are dropped only after the server has them.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock

from cfnsr.config.layout import Layout
from cfnsr.files import write_text
from cfnsr.registry import home
from cfnsr.text import printable

INTERVAL = 5.0
"""Seconds between deliveries while a run is active."""
BATCH = 1000  # metrics, the most that MLflow accepts at once

logger = logging.getLogger(__name__)


def outbox_folder(layout: Layout) -> Path:
    """Where the runs of a project keep what is not delivered yet."""
    return home(layout.root) / "runs" / ".outbox"


class Outbox:
    """The undelivered measurements of one MLflow run.

    Args:
        folder: see `outbox_folder`.
        server: tracking URI of the server that has the run.
        run_id: the MLflow run.
    """

    def __init__(self, folder: Path, server: str, run_id: str) -> None:
        self._server, self._run_id = server, run_id
        self._file = folder / f"{run_id}.jsonl"

    def metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        """Add metrics, measured now."""
        self._append({"metrics": dict(values), "step": step, "time": _now()})

    def status(self, status: str) -> None:
        """Add the run's status: RUNNING, or how it ended."""
        self._append({"status": status, "time": _now()})

    def deliver(self) -> bool:
        """Send what has been added.

        Returns:
            Whether nothing is left; False if the server does not answer or does not know the run, or the disk is full.
        """
        from mlflow.exceptions import MlflowException

        try:
            content = self._content()
            if not content:
                return True
            self._send([*self._entries(content)])
            return self._drop(content)
        except (MlflowException, OSError) as error:  # OSError: the disk is too full to write what is left
            logger.debug("run %s: not delivered: %s", self._run_id, printable(error))
            return False

    @contextmanager
    def delivering(self) -> Iterator[None]:
        """Deliver in the background while the block runs, and once more at its end."""
        done = threading.Event()

        def work() -> None:
            while not done.wait(INTERVAL):
                self.deliver()

        thread = threading.Thread(target=work, name="outbox", daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()
            if not self.deliver():
                logger.warning(
                    "the MLflow server does not answer, or the disk is full: measurements are kept in %s; the next "
                    "start of the run or `python -m components.deliver` sends them later",
                    self._file,
                )

    def _locked(self) -> FileLock:
        """Held briefly, never while waiting for the server."""
        return FileLock(self._file.with_name(".lock"))

    def _content(self) -> bytes:
        with self._locked():  # no half-written line
            return self._file.read_bytes() if self._file.exists() else b""

    def _append(self, entry: Mapping[str, Any]) -> None:
        line = f"\n{json.dumps(entry)}\n".encode()  # the first line break ends what a full disk left of another line
        with self._locked(), self._file.open("ab", buffering=0) as file:
            if file.write(line) < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._file))

    def _entries(self, content: bytes) -> Iterator[dict[str, Any]]:
        for line in filter(None, content.splitlines()):
            try:
                yield json.loads(line)
            except ValueError:  # the machine crashed or the disk was full while it was written
                logger.warning("run %s: a damaged line is skipped: %r", self._run_id, line)

    def _drop(self, delivered: bytes) -> bool:
        with self._locked():
            content = self._file.read_bytes() if self._file.exists() else b""
            if not content.startswith(delivered):  # another process has delivered and dropped it
                return not content
            rest = content[len(delivered) :]
            if rest:
                write_text(self._file, rest.decode())
            else:
                self._file.unlink()
            return not rest

    def _send(self, entries: list[dict[str, Any]]) -> None:
        from mlflow import MlflowClient
        from mlflow.entities import Metric

        client = MlflowClient(self._server)
        figures = [
            Metric(name, value, entry["time"], entry["step"])
            for entry in entries
            for name, value in entry.get("metrics", {}).items()
        ]
        for start in range(0, len(figures), BATCH):
            client.log_batch(self._run_id, metrics=figures[start : start + BATCH])
        for entry in entries:
            if entry.get("status") == "RUNNING":
                client.update_run(self._run_id, status="RUNNING")
            elif "status" in entry:
                client.set_terminated(self._run_id, entry["status"], entry["time"])


def deliver_all(layout: Layout, server: str) -> tuple[int, int]:
    """Deliver the measurements of all runs of a project.

    Returns:
        The number of runs that were delivered, and of those that were not.
    """
    outboxes = [Outbox(path.parent, server, path.stem) for path in sorted(outbox_folder(layout).glob("*.jsonl"))]
    delivered = [outbox.deliver() for outbox in outboxes]
    return sum(delivered), len(delivered) - sum(delivered)


def _now() -> int:
    return time.time_ns() // 1_000_000
