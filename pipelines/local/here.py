"""Flows in this process, without a server or a worker: what they need of Prefect ends with them, however they end."""

from __future__ import annotations

import atexit
import logging
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType

import pipelines.local.prefect_setup  # isort: skip  # noqa: F401  before Prefect
import requests
from prefect.settings import (
    PREFECT_API_URL,
    PREFECT_SERVER_EPHEMERAL_ENABLED,
    PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS,
    temporary_settings,
)

from cfnsr.errors import InputError
from pipelines.local.prefect_setup import prefect_server_needed

HOST = "127.0.0.1"
STOPPED = 128 + signal.SIGTERM
"""Exit code, as a shell gives it."""
PATIENCE = 10.0  # s that the server has to end
SERVER = [
    *("-m", "prefect", "server", "start", "--no-services", "--no-ui", "--log-level", "ERROR"),
    *("--host", HOST, "--port"),
]

# A pipe's end comes even when this process is killed with SIGKILL.
WATCH = """
import sys, psutil
server = psutil.Process(int(sys.argv[1]))  # knows its time of creation, so it ends no other process with this number
sys.stdin.read()
try:
    server.terminate()
    server.wait(5)
except psutil.TimeoutExpired:
    server.kill()
except psutil.NoSuchProcess:
    pass
"""

_kept = ExitStack()
"""What nobody keeps is closed at once; this lasts as long as the program."""


@contextmanager
def flow_here() -> Iterator[None]:
    """Inside, flows run in this process, and SIGTERM ends it as Ctrl-C does. For programs that end with the block.

    Raises:
        InputError: a Prefect server is set, but does not answer, or a temporary one does not start.
    """
    with prefect_server_needed():
        _obey_sigterm()
        try:
            _start_temporary_server()
            yield
        except SystemExit:  # of SIGTERM, or of Ctrl-C, which Lightning turns into one
            print("\nstopped: run the same command again, it goes on from there.", file=sys.stderr)
            raise


def _obey_sigterm() -> None:
    """Let SIGTERM unwind the stack, so that runs are closed and the server is ended.

    Prefect has a handler of its own while a flow runs, which does its part and then calls this one. It stays until the
    program ends: what comes a second time must not interrupt what the first has begun.
    """
    stopping = threading.Event()

    def stop(*_: int | FrameType | None) -> None:
        if not stopping.is_set():
            stopping.set()
            sys.exit(STOPPED)

    signal.signal(signal.SIGTERM, stop)


def _start_temporary_server() -> None:
    """Start a Prefect server for the rest of the program, unless one is set.

    The one that Prefect would start itself gets Ctrl-C in a terminal, and SIGTERM to the whole group, as of `timeout`
    and systemd, at the same time as the flow, which would then try for minutes to tell it how it ended.
    """
    if PREFECT_API_URL.value() or not PREFECT_SERVER_EPHEMERAL_ENABLED.value():
        return
    with socket.create_server((HOST, 0)) as free:
        port = free.getsockname()[1]
    url = f"http://{HOST}:{port}/api"
    with tempfile.TemporaryFile("w+") as log:
        server = subprocess.Popen(
            [sys.executable, *SERVER, str(port)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        # When Python ends, and not before: Prefect's threads send what they still have until then.
        atexit.register(_end, server)
        watcher = subprocess.Popen(
            [sys.executable, "-c", WATCH, str(server.pid)],
            stdin=subprocess.PIPE,  # kept open by this process alone, and by those it forks, which end with it
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        _kept.callback(watcher.wait)
        if not _answers(server, url):
            log.seek(0)
            raise InputError(f"Prefect's temporary server did not start: {' '.join(log.read().split()[-60:])}")
    _kept.enter_context(temporary_settings({PREFECT_API_URL: url}))
    logging.getLogger("prefect.flow_runs").addFilter(_no_address)


def _no_address(record: logging.LogRecord) -> bool:
    """There is no page to look at: the server has none, and ends with the program."""
    return not str(record.msg).startswith("View at ")


def _answers(server: subprocess.Popen[bytes], url: str) -> bool:
    """Wait until a server answers. Returns whether it did before it ended, or before it was too late."""
    deadline = time.monotonic() + PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS.value()
    while server.poll() is None and time.monotonic() < deadline:
        try:
            if requests.get(f"{url}/health", timeout=5).ok:
                return True
        except requests.RequestException:
            time.sleep(0.2)
    return False


def _end(server: subprocess.Popen[bytes]) -> None:
    server.terminate()
    try:
        server.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()
