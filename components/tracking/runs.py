"""The MLflow runs of a training: one parent run, and one child run per fold.

The server is `cfnsr.registry.tracking_uri`. A training keeps the ids of its MLflow runs in its folder, so that it
continues in the same runs after an interruption. Measurements pass through an outbox, see `components.tracking.outbox`.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import logging
import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.request import url2pathname
from uuid import uuid4

import yaml
from filelock import FileLock

from cfnsr.config.load import Settings
from cfnsr.errors import InputError
from cfnsr.files import PARTIAL, write_text
from cfnsr.registry import ARTIFACTS, DATABASE, SQLITE, store_root, tracking_uri, unreachable
from components.tracking.outbox import Outbox, outbox_folder

if TYPE_CHECKING:
    from lightning.pytorch.loggers import Logger
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")  # one file each: bars only clutter the log
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")  # the server's may contain a password
# MLflow's client retries for minutes by default; here the outbox and the flow's tasks decide when to retry.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")

EXPERIMENT = "cfn-sr"
REGISTERED_MODEL = "cfn-sr"
COMPLETE = "registration"
"""Tag of a version that is set last: the registration of a version without it was interrupted."""
PARENT = "train"
COMMIT = "mlflow.source.git.commit"
"""Tag: the commit from which a training was started."""
ENVIRONMENT = "environment.txt"
"""Artifact: the packages with which a training was started."""
TOKEN = "token"
"""Tag of a run, see `RunTracker.create`."""
RUN_FILE = "mlflow.json"
DATA_STAGES = ("download", "manifest", "faces", "mfcc")


@contextmanager
def mlflow_at(root: Path) -> Iterator[None]:
    """Inside the block, MLflow's module functions use this project's server.

    They need `set_tracking_uri`, which also sets MLFLOW_TRACKING_URI for the whole process, so it is restored.
    """
    import mlflow

    before = os.environ.get("MLFLOW_TRACKING_URI")
    mlflow.set_tracking_uri(tracking_uri(root))
    try:
        yield
    finally:
        mlflow.set_tracking_uri(None)  # type: ignore[arg-type]  # back to the variable
        os.environ.pop("MLFLOW_TRACKING_URI", None)
        if before is not None:
            os.environ["MLFLOW_TRACKING_URI"] = before


def open_store(root: Path) -> MlflowClient:
    """A client of this project's server, or of its database.

    The first client creates a database's tables, where MLflow fails if two do so at once, so processes take turns. They
    are created under another name, because MLflow can't continue where a kill has interrupted it.
    """
    from mlflow import MlflowClient

    # It prints the traceback of every error of the database, which is raised as well and becomes one sentence.
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
    server = tracking_uri(root)
    with ExitStack() as stack:
        if server.startswith(SQLITE):
            with suppress(OSError):  # without write permission, no tables are created either
                stack.enter_context(FileLock(store_root(root) / f"{DATABASE}.lock"))
            database = Path(server.removeprefix(SQLITE))
            if not database.exists():
                created = database.with_name(database.name + PARTIAL)
                created.unlink(missing_ok=True)
                MlflowClient(f"{SQLITE}{created}").search_experiments(max_results=1)
                created.rename(database)
        return MlflowClient(server)


class RunTracker:
    """The MLflow runs of one training.

    Args:
        settings: name the project and the folder of the training.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._root = settings.layout.root
        self._file = settings.layout.run / RUN_FILE
        self.server = tracking_uri(self._root)
        self.client = open_store(self._root)

    def known(self, name: str) -> str | None:
        """Id of the MLflow run that this training has under a name on this server; None if it has none (any more).

        While the server does not answer, the newest id is assumed to exist.
        """
        return next((run_id for run_id in reversed(self._ids().get(name, [])) if self.has(run_id)), None)

    def has(self, run_id: str) -> bool:
        """Whether the server has a run that is not deleted; assumed while it does not answer."""
        from mlflow.exceptions import MlflowException

        try:
            return bool(self.client.get_run(run_id).info.lifecycle_stage == "active")
        except MlflowException as error:
            return unreachable(error)

    def parent(self) -> str:
        """Id of the parent run, which is created if there is none."""
        return self.known(PARENT) or self._create(PARENT, f"train {self._settings.layout.run.name}", {})

    def fold(self, index: int) -> str:
        """Id of a fold's child run, which is created if there is none."""
        name = f"fold-{index}"
        run_id = self.known(name)
        if run_id is None:
            run_id = self._create(name, name, {"mlflow.parentRunId": self.parent()})
            self.client.update_run(run_id, status="SCHEDULED")  # until `running`
        return run_id

    def outbox(self, run_id: str) -> Outbox:
        """Where a run's measurements wait for the server."""
        return Outbox(outbox_folder(self._settings.layout), self.server, run_id)

    def phase_logger(self, run_id: str, phase: str) -> Logger:
        """Lightning's logger for the phase of a fold: its metrics are logged to the run as `<phase>-<metric>`."""
        from components.tracking.logger import PhaseLogger

        return PhaseLogger(self.outbox(run_id), phase)

    def describe(self, tags: Mapping[str, str], params: Mapping[str, Any]) -> None:
        """Log what the training is made from. Can be repeated: a kill in between loses nothing.

        The commit and the environment are those with which the training was started first.
        """
        from mlflow.entities import Param, RunTag

        run_id = self.parent()
        known = self.client.get_run(run_id).data.tags
        described = dict(tags) if COMMIT in known else {**tags, **source_tags(self._root)}
        self.client.log_batch(
            run_id,
            tags=[RunTag(name, value) for name, value in described.items()],
            params=[Param(name, str(value)) for name, value in params.items()],
        )
        if ENVIRONMENT not in {item.path for item in self.client.list_artifacts(run_id)}:
            self.client.log_text(run_id, environment(), ENVIRONMENT)
        if (self._root / "dvc.lock").exists():
            self.client.log_artifact(run_id, str(self._root / "dvc.lock"))

    @contextmanager
    def running(self, run_id: str) -> Iterator[None]:
        """The run's status: RUNNING inside the block, then FINISHED, FAILED, or KILLED by Ctrl-C or SIGTERM.

        What the block puts into the run's outbox is delivered in the background; the block never waits for the server.
        """
        outbox = self.outbox(run_id)
        with outbox.delivering():
            outbox.status("RUNNING")
            try:
                yield
            except BaseException as error:  # Prefect's exception for SIGTERM is no Exception either
                outbox.status("FAILED" if isinstance(error, Exception) else "KILLED")
                raise
            outbox.status("FINISHED")

    def abandon(self) -> None:
        """Close the runs that are still open: the training is given up for one with other settings, data or code."""
        for name in self._ids():
            run_id = self.known(name)
            if run_id is not None and self.client.get_run(run_id).info.status in ("RUNNING", "SCHEDULED"):
                self.client.set_terminated(run_id, "KILLED")

    def create(self, title: str, tags: Mapping[str, str], token: str) -> str:
        """Create a run, unless an earlier call with this token did so and was killed before it could note the id.

        Args:
            title: the run's name.
            tags: of the run.
            token: unique; noted by the caller before.

        Returns:
            The run's id.
        """
        experiment = self._experiment()
        created = self.client.search_runs([experiment], f"tags.{TOKEN} = '{token}'")
        if created:
            return str(created[0].info.run_id)
        tags = {"mlflow.runName": title, "profile": self._settings.profile, TOKEN: token, **tags}
        return str(self.client.create_run(experiment, tags=tags).info.run_id)

    def version(self, run_id: str) -> ModelVersion | None:
        """The model version that a run registered, with its aliases; None if there is none."""
        for version in self.client.search_model_versions(f"name = '{REGISTERED_MODEL}'"):
            if version.run_id == run_id:
                return self.client.get_model_version(REGISTERED_MODEL, version.version)  # a search omits aliases
        return None

    def drop_models(self, run_id: str) -> None:
        """Delete the models that were logged to a run, which has no version of any."""
        experiment = self.client.get_run(run_id).info.experiment_id
        for model in self.client.search_logged_models([experiment], f"source_run_id = '{run_id}'"):
            self.client.delete_logged_model(model.model_id)

    def _ids(self) -> dict[str, list[str]]:
        """Ids of the runs by their name here, on any server: ids are unique, so each is known to one server only.

        The first one of each name is no run's but a token, see `create`.
        """
        return json.loads(self._file.read_text()) if self._file.exists() else {}

    def _create(self, name: str, title: str, tags: Mapping[str, str]) -> str:
        run = self._settings.layout.run
        with FileLock(run.with_name(f"{run.name}.ids.lock")):  # folds side by side are separate processes
            ids = self._ids()
            if name not in ids:
                ids[name] = [uuid4().hex]
                self._write(ids)
            ids[name].append(self.create(title, tags, token=ids[name][-1]))
            self._write(ids)
        return ids[name][-1]

    def _write(self, ids: Mapping[str, list[str]]) -> None:
        write_text(self._file, json.dumps(ids, indent=2) + "\n")

    def _experiment(self) -> str:
        """Id of the experiment, which is created if there is none.

        Raises:
            InputError: it was deleted in MLflow, or it keeps its artifacts in another folder than this project's.
        """
        from mlflow.exceptions import MlflowException

        # A server knows where its artifacts go; a database would put them in ./mlruns of the current folder.
        artifacts = store_root(self._root).resolve() / ARTIFACTS if self.server.startswith("sqlite:") else None
        experiment = self.client.get_experiment_by_name(EXPERIMENT)
        if experiment is None:
            try:
                return self.client.create_experiment(
                    EXPERIMENT, artifact_location=None if artifacts is None else artifacts.as_uri()
                )
            except MlflowException as error:  # another process created it a moment ago
                if error.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise
                experiment = self.client.get_experiment_by_name(EXPERIMENT)
        assert experiment is not None
        if experiment.lifecycle_stage == "deleted":
            raise InputError(
                f"the experiment {EXPERIMENT} was deleted in MLflow; restore it (`mlflow experiments restore "
                f"--experiment-id {experiment.experiment_id}`), or delete it for good (`mlflow gc`)."
            )
        if artifacts is not None:
            _check_place(Path(url2pathname(experiment.artifact_location.removeprefix("file://"))), artifacts)
        return str(experiment.experiment_id)


def _check_place(recorded: Path, artifacts: Path) -> None:
    """Refuse to write into the folder from which a project was moved or copied; MLflow records absolute paths."""
    if recorded != artifacts and recorded.resolve() != artifacts:
        raise InputError(
            f"mlflow.db keeps its files in {recorded}, because the project was moved or copied from there; move it "
            f"back, link the old folder to the new one (`ln -s {artifacts.parent} {recorded.parent}`), or delete "
            "mlflow.db to start without the earlier runs."
        )


def source_tags(root: Path) -> dict[str, str]:
    """What the run was made from: the git commit, whether the working tree was clean, and a hash of dvc.lock.

    The hash covers the data stages only: DVC writes the entry of `train` after `train` has ended.
    """
    tags = {}
    commit = git(root, "rev-parse", "HEAD")
    if commit:
        tags[COMMIT] = commit
        tags["git_clean"] = str(git(root, "status", "--porcelain", "--untracked-files=no") == "").lower()
    if (root / "dvc.lock").exists():
        stages = yaml.safe_load((root / "dvc.lock").read_text())["stages"]
        data = json.dumps({name: entry for name, entry in stages.items() if name in DATA_STAGES}, sort_keys=True)
        tags["dvc_lock_data_sha256"] = hashlib.sha256(data.encode()).hexdigest()
    return tags


def environment() -> str:
    """Installed packages, one `name==version` per line."""
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
    """Output of a git command in a folder; None if it fails or git is not installed."""
    try:
        done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()
