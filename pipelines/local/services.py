"""The services of one machine: `python -m pipelines.local.services up` starts them, `status` lists, `down` ends them.

They are a Prefect server, an MLflow server (on the same mlflow.db that the steps use without it), a worker for the work
pool `local`, and a worker for the pool `gpu` on each GPU. Supervisor runs them as `supervisord.conf` says and restarts
those that crash. Databases and logs are in `.services/`; `prefect.toml` tells every `prefect` command in the project's
folder where the server is.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from xmlrpc.client import Fault, ServerProxy

import psutil
import requests
from supervisor.xmlrpc import SupervisorTransport

from cfnsr.errors import InputError, exit_with_message
from cfnsr.files import write_text
from cfnsr.registry import ARTIFACTS, database_uri

CONFIG = Path(__file__).with_name("supervisord.conf")
MLFLOW_OPTIONS = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
"""Turns off the MLflow server's job engine: unused here, and eight more processes with 2 GB that are never idle."""
HOST = "127.0.0.1"
START_TIMEOUT = 180.0  # s for a server to answer; the first start creates its database
STOP_TIMEOUT = 15.0  # s from SIGTERM to SIGKILL
OWNER = "CFNSR_SERVICES"
"""Environment variable of every process started here, so that they can be found even after Supervisor was killed."""


def up(root: Path, mlflow_port: int, prefect_port: int) -> Mapping[str, str]:
    """Start the services that are not running, create the work pools and deploy the flows.

    Args:
        root: the project's root.
        mlflow_port: port of the MLflow server, if Supervisor is not running yet.
        prefect_port: port of the Prefect server, likewise.

    Returns:
        The services' environment.

    Raises:
        InputError: a port is taken, or a server does not start.
    """
    if _states(root):
        environment = psutil.Process(_supervisor(root).getPID()).environ()
    else:
        environment = _launch(root, mlflow_port, prefect_port)
    for name in ("mlflow", "prefect"):
        with suppress(Fault):  # it is running already
            _supervisor(root).startProcess(name, False)
    _await_server(root, "mlflow", f"{environment['MLFLOW_TRACKING_URI']}/health")
    _await_server(root, "prefect", f"{environment['PREFECT_API_URL']}/health")
    text = f'home = "{environment["PREFECT_HOME"]}"\n\n[api]\nurl = "{environment["PREFECT_API_URL"]}"\n'
    write_text(root / "prefect.toml", text)
    for pool in ("local", "gpu"):  # without a GPU here, the pool `gpu` is for workers on other machines
        _run(root, environment, "prefect", "work-pool", "create", pool, "--type", "process", "--overwrite")
    limit = str(max(1, int(environment["GPU_COUNT"])))  # one flow run per GPU
    _run(root, environment, "prefect", "work-pool", "set-concurrency-limit", "gpu", limit)
    _run(root, environment, "prefect", "--no-prompt", "deploy", "--all")
    _supervisor(root).startAllProcesses(False)
    return environment


def status(root: Path) -> list[str]:
    """Return the names of the services.

    Raises:
        InputError: some are not running, so flow runs might wait forever.
    """
    if not (states := _states(root)):
        raise InputError("the services of this project are not running; `make up` starts them.")
    if missing := [name for name, state in states.items() if state not in ("STARTING", "RUNNING")]:
        raise InputError(f"not running: {', '.join(missing)}; {root / '.services'} has the logs, `make up` restarts.")
    return list(states)


def down(root: Path) -> list[str]:
    """End the services, workers first, and everything they started. Returns the names of those that were running."""
    names = list(_states(root))
    if names:
        supervisor = psutil.Process(_supervisor(root).getPID())
        _supervisor(root).shutdown()
        psutil.wait_procs([supervisor], STOP_TIMEOUT * (1 + len(names)))
    remaining = processes(root)
    names = names or sorted({process.name() for process in remaining})
    for signal in ("terminate", "kill"):
        for process in remaining:
            with suppress(psutil.NoSuchProcess):
                getattr(process, signal)()
        _, remaining = psutil.wait_procs(remaining, STOP_TIMEOUT)
    for path in (root / "prefect.toml", Path(_socket(root))):
        path.unlink(missing_ok=True)
    return names


def processes(root: Path) -> list[psutil.Process]:
    """Return the processes of the services and of everything they started."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.environ().get(OWNER) == str(root):
                found.append(process)
    return found


def _launch(root: Path, mlflow_port: int, prefect_port: int) -> dict[str, str]:
    """Start Supervisor, which starts nothing yet. Returns its environment."""
    down(root)  # what is left after Supervisor was killed
    for port, variable in ((mlflow_port, "MLFLOW_PORT"), (prefect_port, "PREFECT_PORT")):
        _check_free(port, variable)
    folder = root / ".services"
    environment = {
        **os.environ,
        **MLFLOW_OPTIONS,
        OWNER: str(root),
        "CFNSR_ROOT": str(root),
        "CFNSR_SOCKET": _socket(root),
        "GPU_COUNT": str(_gpu_count()),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
        "PYTHONPATH": str(root),
        "MLFLOW_PORT": str(mlflow_port),
        "MLFLOW_TRACKING_URI": f"http://{HOST}:{mlflow_port}",
        "MLFLOW_BACKEND_STORE_URI": database_uri(root),
        "MLFLOW_DEFAULT_ARTIFACT_ROOT": (root / ARTIFACTS).as_uri(),
        "MLFLOW_SERVER_ALLOWED_HOSTS": ",".join(_addresses(mlflow_port)),
        "MLFLOW_SERVER_CORS_ALLOWED_ORIGINS": ",".join(f"http://{each}" for each in _addresses(mlflow_port)),
        "PREFECT_PORT": str(prefect_port),
        "PREFECT_API_URL": f"http://{HOST}:{prefect_port}/api",
        "PREFECT_HOME": str(folder / "prefect"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": ",".join(f"http://{each}" for each in _addresses(prefect_port)),
        "PREFECT_SERVER_CSRF_PROTECTION_ENABLED": "true",
        "PREFECT_SERVER_LOGS_STREAM_OUT_ENABLED": "true",  # `--watch` shows the log
        "PREFECT_SERVER_LOGS_STREAM_PUBLISHING_ENABLED": "true",
        "DO_NOT_TRACK": "1",
    }
    folder.mkdir(exist_ok=True)
    # Not in the project's folder, whose prefect.toml is not meant for the server.
    _run(folder, environment, "supervisord", "-c", str(CONFIG))
    return environment


def _addresses(port: int) -> tuple[str, ...]:
    """What browsers may call a server of this machine; other names and other servers' pages are refused."""
    return f"{HOST}:{port}", f"localhost:{port}"


def _socket(root: Path) -> str:
    """Supervisor's socket; not in the project's folder, because its path may have 107 bytes at most."""
    return f"/tmp/cfnsr-{hashlib.sha256(os.fsencode(root)).hexdigest()[:16]}.sock"


def _supervisor(root: Path) -> Any:
    transport: Any = SupervisorTransport(serverurl=f"unix://{_socket(root)}")
    return ServerProxy(f"http://{HOST}", transport=transport).supervisor


def _states(root: Path) -> dict[str, str]:
    """Supervisor's state of each service, such as RUNNING; empty if Supervisor is not running."""
    try:
        return {each["name"]: each["statename"] for each in _supervisor(root).getAllProcessInfo()}
    except OSError:
        return {}


def _await_server(root: Path, name: str, url: str) -> None:
    deadline = time.monotonic() + START_TIMEOUT
    while time.monotonic() < deadline and _states(root).get(name) in ("STARTING", "RUNNING"):
        with suppress(requests.RequestException):
            if requests.get(url, timeout=5).ok:
                return
        time.sleep(0.2)
    raise InputError(f"the {name} server did not start; {root / '.services' / name}.log says why.")


def _check_free(port: int, variable: str) -> None:
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((HOST, port))
        except OSError as error:
            raise InputError(
                f"port {port} can't be used ({error.strerror}): end the program that uses it, or choose another port, "
                f"`make up {variable}=NUMBER`."
            ) from None


def _run(folder: Path, environment: Mapping[str, str], *command: str) -> None:
    program = [str(Path(sys.executable).parent / command[0]), *command[1:]]
    done = subprocess.run(program, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise InputError(f"`{' '.join(command)}` failed: {' '.join((done.stdout + done.stderr).split())}")


def _gpu_count() -> int:
    """GPUs of this machine, counted without loading PyTorch."""
    if shutil.which("nvidia-smi") is None:
        return 0
    listed = subprocess.run(["nvidia-smi", "--list-gpus"], capture_output=True, text=True, check=False).stdout
    return sum(line.startswith("GPU ") for line in listed.splitlines())


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=["up", "status", "down"])
    parser.add_argument("--prefect-port", type=int, default=4200)
    parser.add_argument("--mlflow-port", type=int, default=5000)
    options, root = parser.parse_args(), Path.cwd()
    with exit_with_message():
        match options.action:
            case "down":
                ended = down(root)
                print(f"ended: {', '.join(ended)}" if ended else "none of this project's services was running")
            case "status":
                print(f"running: {', '.join(status(root))}")
            case "up":
                environment = up(root, options.mlflow_port, options.prefect_port)
                print(f"Prefect   {environment['PREFECT_API_URL'].removesuffix('/api')}")
                print(f"MLflow    {environment['MLFLOW_TRACKING_URI']}")
                print("Next      prefect deployment run train-cfnsr/local --param profile=sample --watch")


if __name__ == "__main__":
    main()
