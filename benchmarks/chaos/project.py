"""A small copy of the project, its steps in order, and how a step is run, or killed, in a process group of its own."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import yaml

ROOT = Path(__file__).resolve().parents[2]
OUTPUTS = ("data", "runs", "studies", "metrics", "plots", "models", "mlartifacts", "mlflow.db", "mlflow.db-journal")
"""Everything that steps write in a project."""
POLL = 0.02  # seconds between two looks at the files of a running step
TIMEOUT = 900  # seconds for a step that takes about ten

STEPS = {
    "download": "components.download",
    "manifest": "components.manifest",
    "faces": "components.faces",
    "mfcc": "components.mfcc",
    "train": "components.train",
    "evaluate": "components.evaluate",
    "register": "components.register",
    "promote": "components.promote --version 1",
    "tune": "components.tune",
    "promote --force": "components.promote --version 2 --force --reason chaos",
}
"""Arguments of `python -m` for each step, in the order in which they run. `tune` registers version 2."""

_PHASE = {"epochs": 2, "batch_size": 16, "optimizer": "adamw", "lr": 3e-3}
PROFILE = {
    "dataset": {"source": "sample", "actors": [1, 2, 3], "sample": {"seconds": 1.2, "width": 160, "height": 128}},
    "manifest": {"max_bad_share": 0.05},
    "faces": {"frames": 8, "size": 32},
    "mfcc": {"sample_rate": 16000, "offset": 0.0, "duration": 1.1, "n_fft": 512, "hop": 256, "n_mels": 40},
    "model": {"layers": [1, 1, 1, 1], "width": 8, "cardinality": 4, "audio_width": 8, "transformer_layers": 1},
    "train": {
        **{"folds": 3, "speakers_per_fold": 1, "validation_speakers": 1, "standardize_mfcc": True, "loader_workers": 0},
        "pretrain": {"audio": {**_PHASE, "augment_audio": True}, "video": {**_PHASE, "augment_video": True}},
        "fusion": {**_PHASE, "augment_audio": True, "augment_video": True},
    },
    "tune": {
        **{"trials": 3, "startup_trials": 2, "warmup_epochs": 0},
        "search": {"train.fusion.lr": {"kind": "float", "low": 1e-4, "high": 1e-2, "log": True}},
    },
}
"""Settings with which every step takes seconds, most of them for the start of Python."""


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    output: str
    """Standard output and standard error together."""
    seconds: float
    changes: int = 0
    """How often a look at its files found them changed."""


def copy_code(folder: Path) -> None:
    """Copy what git tracks of the project, as it is in the working tree, with the small profile."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, text=True)
    for name in listed.stdout.split("\0"):
        if name.endswith((".py", ".css", ".js")) or name == "dvc.yaml":
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    (folder / "params.yaml").write_text(yaml.safe_dump({"profile": "tiny", "tiny": PROFILE}))


def copy_outputs(source: Path, target: Path) -> None:
    """Let a project have the outputs of another one and no others."""
    for name in OUTPUTS:
        old, new = target / name, source / name
        if old.is_dir():
            shutil.rmtree(old)
        else:
            old.unlink(missing_ok=True)
        if new.is_dir():
            shutil.copytree(new, old)
        elif new.exists():
            shutil.copy2(new, old)


def sizes(project: Path) -> dict[Path, tuple[int, int]]:
    """Time of change and size in bytes of all files that steps have written."""
    found = {}
    for name in OUTPUTS:
        for path in (project / name, *(project / name).rglob("*")):
            with suppress(FileNotFoundError):  # removed meanwhile
                status = path.stat()
                found[path] = status.st_mtime_ns, status.st_size
    return found


def run(project: Path, step: str) -> Ended:
    """Run a step to its end.

    Raises:
        TimeoutError: it did not end.
    """
    with _started(project, step) as (process, log):
        return _ended(process, log, watched=project)


def run_and_kill(project: Path, step: str, usual: Ended, rng: random.Random) -> bool:
    """Kill a step and all its processes, half of the times at a random moment and half of the times soon after a file
    has changed, which is when something may be half done.

    Args:
        project: where it runs.
        step: which one.
        usual: how the step ends if it is not killed.
        rng: draws the moment.

    Returns:
        False if it had ended before that moment.
    """
    with _started(project, step) as (process, _):
        started, before, changes = time.monotonic(), sizes(project), 0
        # Not to the very end, which a run with less load on the machine would have passed.
        moment = rng.uniform(0, 0.9 * usual.seconds)
        wanted = rng.randint(1, round(0.7 * usual.changes)) if usual.changes > 1 and rng.random() < 0.5 else 0
        while process.poll() is None:
            if wanted:
                now = sizes(project)
                changes, before = changes + (now != before), now
            if changes == wanted if wanted else time.monotonic() - started >= moment:
                time.sleep(rng.uniform(0, POLL))
                os.killpg(process.pid, signal.SIGKILL)
                return process.wait() == -signal.SIGKILL
            time.sleep(POLL)
        return False


class _started:  # noqa: N801  # a context manager, used like a function
    """A step in a process group of its own; what is left of the group at the end is killed."""

    def __init__(self, project: Path, step: str) -> None:
        self._project, self._step = project, step

    def __enter__(self) -> tuple[subprocess.Popen[bytes], IO[str]]:
        temporary = self._project.with_name("temporary")
        temporary.mkdir(exist_ok=True)
        self._log = self._project.with_name("output.log").open("w+")
        variables = {"PYTHONPATH": str(self._project), "TMPDIR": str(temporary), "OMP_NUM_THREADS": "1"}
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "OPTUNA_"))}
        self._process = subprocess.Popen(
            [sys.executable, "-m", *STEPS[self._step].split()],
            cwd=self._project,
            env=kept | variables,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            start_new_session=True,
        )
        return self._process, self._log

    def __exit__(self, *_: object) -> None:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                os.killpg(self._process.pid, signal.SIGKILL)
            except ProcessLookupError:
                break
            self._process.wait()
            time.sleep(POLL)
        self._log.close()


def _ended(process: subprocess.Popen[bytes], log: IO[str], watched: Path) -> Ended:
    started, before, changes = time.monotonic(), sizes(watched), 0
    while process.poll() is None:
        now = sizes(watched)
        changes, before = changes + (now != before), now
        if time.monotonic() - started > TIMEOUT:
            raise TimeoutError(f"not ended after {TIMEOUT} s")
        time.sleep(POLL)
    log.seek(0)
    return Ended(process.returncode, log.read(), time.monotonic() - started, changes)
