"""An MLflow server as a process of its own, which a test can kill and start again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from helpers.running_programs import free_ports, wait_for_page

from pipelines.local.services import MLFLOW_OPTIONS


class MlflowServer:
    """On a free port of the loopback, with its database and artifacts in a folder.

    Args:
        folder: keeps everything from one start to the next.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (self._port,) = free_ports(1)
        self.url = f"http://127.0.0.1:{self._port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        self.folder.mkdir(exist_ok=True)
        command = [
            *(Path(sys.executable).parent / "mlflow", "server", "--workers", "1"),
            *("--host", "127.0.0.1", "--port", str(self._port)),
            *("--backend-store-uri", f"sqlite:///{self.folder}/mlflow.db"),
            *("--default-artifact-root", (self.folder / "artifacts").as_uri(), "--no-serve-artifacts"),
        ]
        with (self.folder / "server.log").open("a") as log:
            self._process = subprocess.Popen(
                command,
                cwd=self.folder,
                env={**os.environ, **MLFLOW_OPTIONS},
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        wait_for_page(self._process, f"{self.url}/health", (self.folder / "server.log").read_text)

    def kill(self) -> None:
        """SIGKILL it and its workers."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None
