"""Measures both servers under load: counts, failures and peak memory.

    python -m benchmarks.server_load [--requests 200] [--visitors 40] [--slow 20] [--json FILE]

Each server gets two rounds with half of the requests, from that many visitors at once, with a small random network
and a clip of the sample corpus. Slow clients meanwhile send a byte per second. A visitor of the page uploads the clip,
waits for the result and leaves. Memory is flat if the second round's peak is about the first's; the program ends with
code 1 if it is more than `GROWTH` higher, or if a request fails.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import mlflow
import psutil
import requests

from benchmarks.predict import SMALL_NETWORK, random_network
from cfnsr.config.corpus import SampleSettings
from cfnsr.config.load import load_settings
from cfnsr.corpus.sample.corpus import clip_path, write_clip
from cfnsr.corpus.sample.plan import takes_of
from components.register import log_model
from components.tracking.runs import EXPERIMENT

ROOT = Path(__file__).resolve().parents[1]
GROWTH = 100.0  # MB
ROUNDS = 2
START = 240.0  # s for a server to answer
DEADLINE = 600.0  # s for one request, in the line of all the others

_SLOW_HEAD = (
    "Content-Length: 100000\r\nContent-Type: multipart/form-data; boundary=x\r\n\r\n"
    '--x\r\nContent-Disposition: form-data; name="files"; filename="slow.mp4"\r\n\r\n'
)


@dataclass(frozen=True)
class Server:
    """A server and how it is used."""

    command: tuple[str, ...]
    """Arguments of Python that start it; the port is added."""
    posts: str
    """Path that takes clips."""
    ask: Callable[[str, Path, str], str]
    """Sends one request, given the server's URL, a clip and a visitor's name; returns its outcome."""


@dataclass
class Load:
    """What a server did under load."""

    outcomes: dict[str, int]
    """Number of requests by outcome: `answered`, `refused` because of too many others, or what failed."""
    peaks: list[float]
    """Memory of the server's processes in MB (resident), by round."""

    def counts(self, name: str) -> dict[str, float]:
        """All figures by what they are."""
        rounds = {f"{name}: peak memory in round {number}, MB": peak for number, peak in enumerate(self.peaks, 1)}
        return {**{f"{name}: {outcome}": count for outcome, count in self.outcomes.items()}, **rounds}

    @property
    def passed(self) -> bool:
        """Whether no request failed, some were answered, and the memory was flat."""
        flat = self.peaks[-1] - self.peaks[0] < GROWTH
        return flat and self.outcomes.get("answered", 0) > 0 and set(self.outcomes) <= {"answered", "refused"}


def ask_rest(url: str, clip: Path, visitor: str) -> str:
    content = base64.b64encode(clip.read_bytes()).decode()
    rows = {"dataframe_records": [{"content": content}]}
    answer = requests.post(f"{url}/invocations", json=rows, timeout=DEADLINE)
    if answer.status_code == 503:
        return "refused"
    return "answered" if answer.ok and answer.json()["predictions"][0]["emotion"] else f"status {answer.status_code}"


def ask_page(url: str, clip: Path, visitor: str) -> str:
    api = f"{url}/gradio_api"
    with requests.get(f"{api}/heartbeat/{visitor}", stream=True, timeout=DEADLINE):  # the visitor leaves at its end
        with clip.open("rb") as file:
            (path,) = requests.post(f"{api}/upload", files={"files": file}, timeout=DEADLINE).json()
        data = [{"path": path, "meta": {"_type": "gradio.FileData"}}]
        arrive, show = (
            each["id"] for each in requests.get(f"{url}/config", timeout=DEADLINE).json()["dependencies"][:2]
        )
        call = {"data": data, "session_hash": visitor}
        requests.post(f"{api}/run/predict", json={**call, "fn_index": arrive}, timeout=DEADLINE).raise_for_status()
        joined = requests.post(f"{api}/queue/join", json={**call, "fn_index": show}, timeout=DEADLINE)
        if joined.status_code == 503:
            return "refused"
        joined.raise_for_status()
        with requests.get(f"{api}/queue/data?session_hash={visitor}", stream=True, timeout=DEADLINE) as events:
            for line in events.iter_lines(decode_unicode=True):
                if '"process_completed"' in line:
                    return "answered" if "card headline" in line else "no result"
    return "no end"


SERVERS = {
    "page": Server(("cfnsr.cli", "serve", "--model", "models:/cfn-sr/1"), "/gradio_api/upload", ask_page),
    "REST": Server(("components.registered.serve", "--model", "models:/cfn-sr/1"), "/invocations", ask_rest),
}


def load(server: Server, folder: Path, clip: Path, count: int, visitors: int, slow: int) -> Load:
    """Start a server and send it requests.

    Args:
        server: which one.
        folder: its working directory, with the registry.
        clip: what is sent.
        count: number of requests.
        visitors: requests at the same time.
        slow: clients that send a byte per second meanwhile.
    """
    outcomes, peaks = Counter[str](), []
    with _serving(server, folder) as (process, url), _slow_clients(url, server.posts, slow):
        for number in range(ROUNDS):
            with _peak(process) as peak, ThreadPoolExecutor(visitors) as pool:
                names = [f"v{number}x{index}" for index in range(count // ROUNDS)]
                outcomes.update(pool.map(lambda name: _outcome(server, url, clip, name), names))
            peaks.append(round(peak[0] / 1e6, 1))
    return Load(dict(outcomes), peaks)


def _outcome(server: Server, url: str, clip: Path, visitor: str) -> str:
    try:
        return server.ask(url, clip, visitor)
    except (requests.RequestException, ValueError) as error:
        return type(error).__name__


@contextmanager
def _serving(server: Server, folder: Path) -> Iterator[tuple[psutil.Process, str]]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db"}
    with (folder / "server.log").open("ab") as log:
        arguments = [sys.executable, "-m", *server.command, "--port", str(port)]
        process = subprocess.Popen(arguments, cwd=folder, env=environment, stdout=log, stderr=log)
    try:
        _await(process, url, folder)
        yield psutil.Process(process.pid), url
    finally:
        process.terminate()
        process.wait()


def _await(process: subprocess.Popen[bytes], url: str, folder: Path) -> None:
    deadline = time.monotonic() + START
    while process.poll() is None and time.monotonic() < deadline:
        with suppress(requests.RequestException):
            requests.get(url, timeout=5)
            return
        time.sleep(0.2)
    raise RuntimeError(f"the server did not start: {(folder / 'server.log').read_text()[-2000:]}")


@contextmanager
def _peak(server: psutil.Process) -> Iterator[list[int]]:
    """Yield a list whose only item is the highest memory of the server's processes during the block, in bytes."""
    peak, ended = [0], threading.Event()

    def watch() -> None:
        while not ended.wait(0.05):
            with suppress(psutil.NoSuchProcess):
                processes = (server, *server.children(recursive=True))
                peak[0] = max(peak[0], sum(process.memory_info().rss for process in processes))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield peak
    finally:
        ended.set()
        watcher.join()


@contextmanager
def _slow_clients(url: str, path: str, count: int) -> Iterator[None]:
    ended = threading.Event()

    def send_slowly() -> None:
        host, port = url.removeprefix("http://").split(":")
        with suppress(OSError), socket.create_connection((host, int(port))) as connection:
            connection.sendall(f"POST {path} HTTP/1.1\r\nHost: localhost\r\n{_SLOW_HEAD}".encode())
            while not ended.wait(1):
                connection.sendall(b" ")

    threads = [threading.Thread(target=send_slowly) for _ in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        ended.set()
        for thread in threads:
            thread.join()


def registered(folder: Path) -> Path:
    """Register a small random network in a folder. Returns a clip."""
    params = folder / "params.yaml"
    params.write_bytes((ROOT / "params.yaml").read_bytes())
    client = mlflow.MlflowClient(f"sqlite:///{folder}/mlflow.db")
    experiment = client.create_experiment(EXPERIMENT, artifact_location=(folder / "mlartifacts").as_uri())
    card = folder / "model_card.md"
    card.write_text("random weights, to measure the servers")
    files = {"weights": random_network(folder / "model.safetensors", **SMALL_NETWORK), "model_card": card}
    log_model(load_settings(params), client.create_run(experiment).info.run_id, files)
    sample, take = SampleSettings(), takes_of(1, 1)[0]
    write_clip(folder, sample, take)
    return clip_path(folder, take)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--visitors", type=int, default=40)
    parser.add_argument("--slow", type=int, default=20)
    parser.add_argument("--json", type=Path, help="file for the counts")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="cfnsr-load-") as temporary:
        folder = Path(temporary)
        clip = registered(folder)
        counts: dict[str, float] = {}
        passed = True
        for name, server in SERVERS.items():
            done = load(server, folder, clip, options.requests, options.visitors, options.slow)
            print("\n".join(f"{key}: {count:g}" for key, count in done.counts(name).items()), flush=True)
            counts |= done.counts(name)
            passed &= done.passed
            if options.json:
                options.json.write_text(json.dumps(counts, indent=2) + "\n")
    sys.exit(not passed)


if __name__ == "__main__":
    main()
