"""MLflow, as the steps use it: one parent run a training, one child run a fold.

The server is `cfnsr.registry.tracking_uri`. A training run keeps the ids of its MLflow runs in its folder, so that a
restarted one goes on in the same runs. What is measured goes through an outbox, see `components.tracking.outbox`.

`python -m components.tracking.runs deliver` sends what an outage of the server has left there.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from filelock import FileLock

from cfnsr.config.load import Settings
from cfnsr.errors import InputError
from cfnsr.files import write_text
from cfnsr.registry import ARTIFACTS, follow_move, tracking_uri, unreachable
from components.tracking.outbox import Outbox, deliver_all, outbox_folder

if TYPE_CHECKING:
    from lightning.pytorch.loggers import Logger
    from mlflow import MlflowClient

os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")  # one file each: bars only clutter the log
# MLflow's client tries for minutes; here the outbox and the flow's tasks know better when to try again.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")

EXPERIMENT = "cfn-sr"
REGISTERED_MODEL = "cfn-sr"
PARENT = "train"
COMMIT = "mlflow.source.git.commit"
"""Tag: the commit that a training began with."""
ENVIRONMENT = "environment.txt"
"""Artifact: the packages that a training began with."""
RUN_FILE = "mlflow.json"

logger = logging.getLogger(__name__)


@contextmanager
def mlflow_at(root: Path) -> Iterator[None]:
    """Inside, MLflow's module functions talk to this project's server.

    They need `set_tracking_uri`, which also sets MLFLOW_TRACKING_URI for the whole process. That would then speak for
    every project that is opened later, so it is put back.
    """
    import mlflow

    before = os.environ.get("MLFLOW_TRACKING_URI")
    mlflow.set_tracking_uri(tracking_uri(root))
    try:
        yield
    finally:
        mlflow.set_tracking_uri(None)  # type: ignore[arg-type]  # back to what the variable says
        os.environ.pop("MLFLOW_TRACKING_URI", None)
        if before is not None:
            os.environ["MLFLOW_TRACKING_URI"] = before


def open_store(root: Path) -> MlflowClient:
    """A client of this project's server, or of its database.

    The first one makes a database's tables, and MLflow lets two at once fail there, so processes take turns.
    """
    from mlflow import MlflowClient
    from sqlalchemy import make_url

    server = tracking_uri(root)
    with ExitStack() as stack:
        if server.startswith("sqlite:") and (database := make_url(server).database):
            with suppress(OSError):  # who may not write there makes no tables either
                stack.enter_context(FileLock(f"{database}.lock"))
        follow_move(root)
        return MlflowClient(server)


class RunTracker:
    """The MLflow runs of one training run."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._root = settings.layout.root
        self._file = settings.layout.run / RUN_FILE
        self.server = tracking_uri(self._root)
        self.client = open_store(self._root)

    def known(self, name: str) -> str | None:
        """Id of the run that this training has under a name on this server; None if there is none (any more).

        While the server is away the newest id is taken to be there still.
        """
        from mlflow.exceptions import MlflowException

        for run_id in reversed(self._ids().get(name, [])):
            try:
                if self.client.get_run(run_id).info.lifecycle_stage == "active":
                    return run_id
            except MlflowException as error:
                if unreachable(error):
                    return run_id
        return None

    def parent(self) -> str:
        """Id of the parent run, made if there is none."""
        return self.known(PARENT) or self._create(PARENT, f"train {self._settings.layout.run.name}", {})

    def fold(self, index: int) -> str:
        """Id of a fold's child run, made if there is none."""
        name = f"fold-{index}"
        run_id = self.known(name)
        if run_id is None:
            run_id = self._create(name, name, {"mlflow.parentRunId": self.parent()})
            self.client.update_run(run_id, status="SCHEDULED")  # `running` says when it is its turn
        return run_id

    def outbox(self, run_id: str) -> Outbox:
        """Where a run's measurements wait for the server."""
        return Outbox(outbox_folder(self._settings.layout), self.server, run_id)

    def phase_logger(self, run_id: str, phase: str) -> Logger:
        """Lightning's way to log the phase of a fold: its metrics go to the run as `<phase>-<metric>`."""
        from components.tracking.logger import PhaseLogger

        return PhaseLogger(self.outbox(run_id), phase)

    def describe(self, tags: Mapping[str, str], params: Mapping[str, Any]) -> None:
        """Say what the training is made from. Can be repeated: a kill in between loses nothing.

        The commit and the environment are those of the first time, when the training began.
        """
        from mlflow.entities import Param, RunTag

        source, known = source_tags(self._root), self.client.get_run(self.parent()).data.tags
        described = dict(tags) if COMMIT in known else {**tags, **source}
        self.client.log_batch(
            self.parent(),
            tags=[RunTag(name, value) for name, value in described.items()],
            params=[Param(name, str(value)) for name, value in params.items()],
        )
        if ENVIRONMENT not in {item.path for item in self.client.list_artifacts(self.parent())}:
            self.client.log_text(self.parent(), environment(), ENVIRONMENT)
        if (self._root / "dvc.lock").exists():
            self.client.log_artifact(self.parent(), str(self._root / "dvc.lock"))

    @contextmanager
    def running(self, run_id: str) -> Iterator[None]:
        """The run's status while the block works and after it: FINISHED, FAILED, or KILLED by Ctrl-C or SIGTERM.

        What the block puts into the run's outbox is delivered meanwhile; the block never waits for the server.
        """
        outbox = self.outbox(run_id)
        with outbox.delivering():
            outbox.status("RUNNING")
            try:
                yield
            except BaseException as error:  # Prefect has a class of its own for SIGTERM, which is no Exception either
                outbox.status("FAILED" if isinstance(error, Exception) else "KILLED")
                raise
            outbox.status("FINISHED")

    def abandon(self) -> None:
        """Close what is still open: the training is given up for one with other settings, data or code."""
        for name in self._ids():
            run_id = self.known(name)
            if run_id is not None and self.client.get_run(run_id).info.status in ("RUNNING", "SCHEDULED"):
                self.client.set_terminated(run_id, "KILLED")

    def _ids(self) -> dict[str, list[str]]:
        """Of the runs by their name here, on whichever servers; ids are unique, so only one server knows each."""
        return json.loads(self._file.read_text()) if self._file.exists() else {}

    def create(self, title: str, tags: Mapping[str, str]) -> str:
        """Make a run that no training keeps. Returns its id."""
        tags = {"mlflow.runName": title, "profile": self._settings.profile, **tags}
        return str(self.client.create_run(self._experiment(), tags=tags).info.run_id)

    def _create(self, name: str, title: str, tags: Mapping[str, str]) -> str:
        self._experiment()
        back = self.known(name)  # it was deleted with the experiment
        if back is not None:
            return back
        run_id = self.create(title, tags)
        run = self._settings.layout.run
        with FileLock(run.with_name(f"{run.name}.ids.lock")):  # folds side by side are processes of their own
            ids = self._ids()
            ids.setdefault(name, []).append(run_id)
            write_text(self._file, json.dumps(ids, indent=2) + "\n")
        return run_id

    def _experiment(self) -> str:
        """Id of the experiment, made if there is none, and brought back if it was deleted: its name stays taken.

        Others may do the same at the same moment.
        """
        experiment = self.client.get_experiment_by_name(EXPERIMENT)
        if experiment is None:
            # A server knows where its artifacts go; a database would put them in ./mlruns of whatever folder this is.
            local = self.server.startswith("sqlite:")
            artifacts = (self._root.resolve() / ARTIFACTS).as_uri() if local else None
            with _done_by_another("RESOURCE_ALREADY_EXISTS"):
                return self.client.create_experiment(EXPERIMENT, artifact_location=artifacts)
            experiment = self.client.get_experiment_by_name(EXPERIMENT)
        if experiment.lifecycle_stage == "deleted":
            with _done_by_another("RESOURCE_DOES_NOT_EXIST"):  # among the deleted ones
                self.client.restore_experiment(experiment.experiment_id)
                logger.warning("the experiment %s had been deleted in MLflow; it is back, with its runs", EXPERIMENT)
        return str(experiment.experiment_id)


@contextmanager
def _done_by_another(code: str) -> Iterator[None]:
    """What the block asks for was done a moment before, as the error with this code says."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        if error.error_code != code:
            raise


def source_tags(root: Path) -> dict[str, str]:
    """What the run was made from: git commit, whether the tree was clean, and a hash of dvc.lock.

    The hash is of the data stages' entries: DVC adds the one of `train` only after `train` has ended.
    """
    tags = {}
    commit = git(root, "rev-parse", "HEAD")
    if commit:
        tags[COMMIT] = commit
        tags["git_clean"] = str(git(root, "status", "--porcelain", "--untracked-files=no") == "").lower()
    if (root / "dvc.lock").exists():
        stages = yaml.safe_load((root / "dvc.lock").read_text())["stages"]
        data = json.dumps({name: entry for name, entry in stages.items() if name != "train"}, sort_keys=True)
        tags["dvc_lock_data_sha256"] = hashlib.sha256(data.encode()).hexdigest()
    return tags


def environment() -> str:
    """Installed packages, one `name==version` a line."""
    packages = {dist.metadata["Name"]: dist.version for dist in importlib.metadata.distributions()}
    return "".join(
        f"{name}=={version}\n" for name, version in sorted(packages.items(), key=lambda item: item[0].lower())
    )


def flatten(section: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings as dotted names: `{"train": {"seed": 0}}` to `{"train.seed": 0}`."""
    flat: dict[str, Any] = {}
    for name, value in section.items():
        if isinstance(value, Mapping):
            flat.update(flatten(value, f"{prefix}{name}."))
        else:
            flat[f"{prefix}{name}"] = value
    return flat


def git(root: Path, *arguments: str) -> str | None:
    """What git says in a folder; None where it says no, or is not there."""
    try:
        done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def deliver(settings: Settings) -> None:
    """Send what an outage has left undelivered.

    Raises:
        InputError: something could not be delivered.
    """
    tracker = RunTracker(settings)
    delivered, left = deliver_all(settings.layout, tracker.server)
    if left:
        raise InputError(
            f"{left} runs could not be delivered to {tracker.server}: it does not answer, or they are "
            "another server's; what they measured is kept."
        )
    print(f"{delivered} runs delivered to {tracker.server}")


if __name__ == "__main__":
    from components.step import run_step

    if sys.argv[1:2] != ["deliver"]:
        sys.exit("usage: python -m components.tracking.runs deliver [--params FILE]")
    del sys.argv[1]
    run_step(deliver, __doc__)
