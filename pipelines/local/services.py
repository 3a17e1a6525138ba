"""The servers of one machine: `python -m pipelines.local.services up` starts, `status` checks, `down` ends them.

Prefect server, MLflow server (on the same mlflow.db that the steps use without it), a worker of the pool `local`, and a
worker of the pool `gpu` for each GPU. What they write lies in `.services/`; `prefect.toml` tells every `prefect`
command in the project's folder where the server is.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import requests

from cfnsr.errors import InputError, exit_with_sentence
from cfnsr.files import write_text
from cfnsr.registry import ARTIFACTS, database_uri

LEAN_MLFLOW = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
"""The server's engine for jobs, which nothing here uses: eight more processes with 2 GB that are never quite idle."""
HOST = "127.0.0.1"
START = 180.0  # s for a server to answer; a first start makes its database
STOP = 15.0  # s to end by itself before it is killed
RECORD = "processes.json"


@dataclass(frozen=True)
class Machine:
    """Where the services of this machine listen and what they know.

    Args:
        root: the project's root.
        prefect_port: of the Prefect server.
        mlflow_port: of the MLflow server.
    """

    root: Path
    prefect_port: int
    mlflow_port: int

    @property
    def folder(self) -> Path:
        """Databases, logs and the record of the processes."""
        return self.root / ".services"

    @property
    def toml(self) -> Path:
        """What `prefect` commands in the project's folder read."""
        return self.root / "prefect.toml"

    @property
    def prefect_api(self) -> str:
        """Of the Prefect server."""
        return f"http://{HOST}:{self.prefect_port}/api"

    @property
    def mlflow(self) -> str:
        """The MLflow server."""
        return f"http://{HOST}:{self.mlflow_port}"

    def environment(self) -> dict[str, str]:
        """For programs that work with these services, wherever a worker starts them."""
        return {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
            "PYTHONPATH": str(self.root),
            "CFNSR_ROOT": str(self.root),
            "MLFLOW_TRACKING_URI": self.mlflow,
            "PREFECT_API_URL": self.prefect_api,
            "PREFECT_HOME": str(self.folder / "prefect"),
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_SERVER_LOGS_STREAM_OUT_ENABLED": "true",  # `--watch` shows the log
            "PREFECT_SERVER_LOGS_STREAM_PUBLISHING_ENABLED": "true",
            "DO_NOT_TRACK": "1",
            **LEAN_MLFLOW,
        }


def up(machine: Machine) -> None:
    """Start the services, make the work pools and deploy the flows.

    Raises:
        InputError: they run already, a port is taken, or one of them does not start. Nothing is left running then.
    """
    if _running(machine):
        raise InputError("the services of this project are running already; `make down` ends them.")
    for port, variable in ((machine.prefect_port, "PREFECT_PORT"), (machine.mlflow_port, "MLFLOW_PORT")):
        _check_free(port, variable)
    machine.folder.mkdir(exist_ok=True)
    try:
        _start_servers(machine)
        _deploy(machine)
        _start_workers(machine)
    except BaseException:
        down(machine)
        raise


def _start_servers(machine: Machine) -> None:
    pass  # follow_move(machine.root)
    artifacts = (machine.root / ARTIFACTS).as_uri()
    # Artifacts go straight to the folder, as they do without a server, so that the same runs work both ways.
    mlflow = ["--backend-store-uri", database_uri(machine.root), "--default-artifact-root", artifacts]
    mlflow += ["--no-serve-artifacts", "--host", HOST, "--port", str(machine.mlflow_port)]
    _start(machine, "mlflow", ["mlflow", "server", *mlflow])
    _start(machine, "prefect", ["prefect", "server", "start", "--host", HOST, "--port", str(machine.prefect_port)])
    _await(machine, "mlflow", f"{machine.mlflow}/health")
    _await(machine, "prefect", f"{machine.prefect_api}/health")
    write_text(machine.toml, f'home = "{machine.folder / "prefect"}"\n\n[api]\nurl = "{machine.prefect_api}"\n')


def _deploy(machine: Machine) -> None:
    """A GPU runs one flow at a time; without one the pool `gpu` exists all the same, for workers elsewhere."""
    _prefect(machine, "work-pool", "create", "local", "--type", "process", "--overwrite")
    limit = str(max(1, _gpus()))
    _prefect(machine, "work-pool", "create", "gpu", "--type", "process", "--overwrite")
    _prefect(machine, "work-pool", "set-concurrency-limit", "gpu", limit)
    _prefect(machine, "--no-prompt", "deploy", "--all")


def _start_workers(machine: Machine) -> None:
    _start(machine, "worker-local", ["prefect", "worker", "start", "--pool", "local", "--name", "local"])
    for index in range(_gpus()):
        command = ["prefect", "worker", "start", "--pool", "gpu", "--name", f"gpu-{index}", "--limit", "1"]
        _start(machine, f"worker-gpu-{index}", command, {"CUDA_VISIBLE_DEVICES": str(index)})


def down(machine: Machine) -> list[str]:
    """End the services, workers first, and what they have started.

    Returns:
        Names of those that were running.
    """
    processes = _running(machine)
    for name in reversed(processes):
        _end(processes[name])
    machine.toml.unlink(missing_ok=True)
    (machine.folder / RECORD).unlink(missing_ok=True)
    return list(processes)


def check(machine: Machine) -> list[str]:
    """Names of the services.

    Raises:
        InputError: one of them is not running; flow runs may wait for it forever.
    """
    known, alive = _record(machine), _running(machine)
    if not known:
        raise InputError("no services of this project are running, so no worker either; `make up` starts them.")
    dead = [name for name in known if name not in alive]
    if dead:
        raise InputError(f"{', '.join(dead)} ended; {machine.folder} has the logs, `make down up` starts all again.")
    return list(alive)


def _end(process: psutil.Process) -> None:
    try:
        everyone = [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return
    for one in everyone:
        _signal(one, "terminate")
    _, alive = psutil.wait_procs(everyone, STOP)
    for one in alive:
        _signal(one, "kill")
    psutil.wait_procs(alive, STOP)


def _signal(process: psutil.Process, method: str) -> None:
    with suppress(psutil.NoSuchProcess):
        getattr(process, method)()


def _start(machine: Machine, name: str, command: list[str], extra: Mapping[str, str] | None = None) -> None:
    """Start a program that outlives this one, and remember it."""
    with (machine.folder / f"{name}.log").open("w") as log:
        process = subprocess.Popen(
            [str(Path(sys.executable).parent / command[0]), *command[1:]],
            cwd=machine.folder,  # not the project's folder: a server must not take its settings for its own
            env={**machine.environment(), **(extra or {})},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    # A number is given to another process one day; with its time of creation it can't be mistaken.
    record = {**_record(machine), name: {"pid": process.pid, "created": psutil.Process(process.pid).create_time()}}
    write_text(machine.folder / RECORD, json.dumps(record, indent=2) + "\n")


def _record(machine: Machine) -> dict[str, dict[str, float]]:
    path = machine.folder / RECORD
    return json.loads(path.read_text()) if path.exists() else {}


def _running(machine: Machine) -> dict[str, psutil.Process]:
    found = {}
    for name, entry in _record(machine).items():
        try:
            process = psutil.Process(int(entry["pid"]))
            if process.create_time() == entry["created"] and process.status() != psutil.STATUS_ZOMBIE:
                found[name] = process
        except psutil.NoSuchProcess:
            continue
    return found


def _await(machine: Machine, name: str, url: str) -> None:
    deadline = time.monotonic() + START
    while time.monotonic() < deadline:
        if name not in _running(machine):
            break
        try:
            if requests.get(url, timeout=5).ok:
                return
        except requests.RequestException:
            time.sleep(0.2)
    raise InputError(f"the {name} server did not start; {machine.folder / name}.log says why.")


def _check_free(port: int, variable: str) -> None:
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((HOST, port))
        except OSError as error:
            raise InputError(
                f"port {port} can't be used ({error.strerror}): end what listens there or choose another one, "
                f"`make up {variable}=NUMBER`."
            ) from None


def _prefect(machine: Machine, *arguments: str) -> None:
    command = [str(Path(sys.executable).parent / "prefect"), *arguments]
    done = subprocess.run(
        command, cwd=machine.root, env=machine.environment(), capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise InputError(f"`prefect {' '.join(arguments)}` failed: {' '.join((done.stdout + done.stderr).split())}")


def _gpus() -> int:
    """GPUs of this machine, counted without loading PyTorch."""
    if shutil.which("nvidia-smi") is None:
        return 0
    done = subprocess.run(["nvidia-smi", "--list-gpus"], capture_output=True, text=True, check=False)
    return done.stdout.count("GPU ") if done.returncode == 0 else 0


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["up", "status", "down"])
    parser.add_argument("--prefect-port", type=int, default=4200)
    parser.add_argument("--mlflow-port", type=int, default=5000)
    arguments = parser.parse_args()
    machine = Machine(Path.cwd(), arguments.prefect_port, arguments.mlflow_port)
    with exit_with_sentence():
        match arguments.what:
            case "down":
                ended = down(machine)
                print(f"ended: {', '.join(ended)}" if ended else "none of this project's services was running")
            case "status":
                print(f"running: {', '.join(check(machine))}")
            case "up":
                up(machine)
                print(f"Prefect   http://{HOST}:{machine.prefect_port}")
                print(f"MLflow    {machine.mlflow}")
                print("Next      prefect deployment run train-cfnsr/local --param profile=sample --watch")


if __name__ == "__main__":
    main()
