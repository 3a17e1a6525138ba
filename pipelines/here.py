"""Flows in this process, without a server or a worker: what Prefect starts for them ends with them."""

from __future__ import annotations

import atexit
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import pipelines.prefect_setup  # isort: skip  # noqa: F401  before Prefect
from prefect.settings import PREFECT_API_URL, PREFECT_SERVER_EPHEMERAL_ENABLED

from pipelines.prefect_setup import prefect_server_needed

STOPPED = 128 + signal.SIGTERM
"""Exit code, as a shell gives it."""

# Prefect ends its temporary server when Python ends, which a kill with SIGKILL prevents. A pipe's end comes even then.
WATCH = """
import signal, sys, psutil
server = psutil.Process(int(sys.argv[1]))  # knows its time of creation, so it ends no other process with this number
sys.stdin.read()
try:
    server.send_signal(signal.SIGINT)
    server.wait(5)
except psutil.TimeoutExpired:
    server.kill()
except psutil.NoSuchProcess:
    pass
"""

_watchers: list[subprocess.Popen[bytes]] = []
"""Kept until the program ends; what nobody keeps is closed at once."""


@contextmanager
def flow_here() -> Iterator[None]:
    """Inside, flows run in this process, and SIGTERM ends it as Ctrl-C does. For programs that end with the block.

    Raises:
        InputError: a Prefect server is set, but does not answer.
    """
    with prefect_server_needed():
        _obey_sigterm()
        _start_temporary_server()
        try:
            yield
        except SystemExit as end:
            if end.code == STOPPED:
                print("\nstopped: run the same command again, it goes on from there.", file=sys.stderr)
            raise


def _obey_sigterm() -> None:
    """Let SIGTERM unwind the stack, so that runs are closed and Prefect ends its server.

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
    """Start the server that Prefect would start for the first flow, and what ends it if this process can't."""
    if PREFECT_API_URL.value() or not PREFECT_SERVER_EPHEMERAL_ENABLED.value():
        return
    from prefect.server.api.server import SubprocessASGIServer

    server = SubprocessASGIServer()  # the one of this process, which the flow will find
    # A SIGTERM to the whole group, as of `timeout` and systemd, must not end it before Prefect has told it how the runs
    # ended: that would be tried for minutes. The server inherits what is blocked, and takes SIGINT for an end as well.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    try:
        server.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    assert server.server_process is not None, "it has just answered"
    atexit.register(server.server_process.send_signal, signal.SIGINT)  # before Prefect's own, which then waits for it
    watcher = subprocess.Popen(
        [sys.executable, "-c", WATCH, str(server.server_process.pid)],
        stdin=subprocess.PIPE,  # kept open by this process alone, and by those it forks, which end with it
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # what is sent to this process's group does not end it
    )
    _watchers.append(watcher)
