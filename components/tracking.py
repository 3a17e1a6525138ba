"""MLflow, as the steps use it: one parent run a training, one child run a fold.

The tracking server is MLFLOW_TRACKING_URI, or else `mlflow.db` and `mlartifacts/` in the project's root.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cfnsr.config import Settings
from cfnsr.files import file_digest, write_text

if TYPE_CHECKING:
    from mlflow import MlflowClient

os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")  # one file each: bars only clutter the log

EXPERIMENT = "cfn-sr"
MODEL = "cfn-sr"
"""Name of the registered model."""

RUN_FILE = "mlflow.json"
"""In the run's folder: which MLflow runs belong to it, so that a restarted run goes on in the same ones."""


def tracking_uri(root: Path) -> str:
    """Where runs are logged."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{root / 'mlflow.db'}"


def connect(root: Path) -> tuple[MlflowClient, str]:
    """A client for the tracking server and the id of the project's experiment, made if it is new."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri(root))
    experiment = client.get_experiment_by_name(EXPERIMENT)
    if experiment is not None:
        return client, experiment.experiment_id
    # A server knows where its artifacts go; the local database would put them in ./mlruns of whatever folder this is.
    location = None if "MLFLOW_TRACKING_URI" in os.environ else (root / "mlartifacts").as_uri()
    return client, client.create_experiment(EXPERIMENT, artifact_location=location)


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
        os.environ.pop("MLFLOW_TRACKING_URI", None)
        if before is not None:
            os.environ["MLFLOW_TRACKING_URI"] = before


class RunTracker:
    """The MLflow runs of one training run; survives a restart through a file in the run's folder."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._root = settings.layout.root
        self.client, self.experiment_id = connect(self._root)
        self._file = settings.layout.run / RUN_FILE

    def parent(self, tags: Mapping[str, str], params: Mapping[str, Any]) -> str:
        """Id of the parent run; made and described on the first call."""
        run_id, new = self._run("train", f"train {self._settings.profile}", parent=None)
        if new:
            described = {**tags, **source_tags(self._root)}
            for name, value in described.items():
                self.client.set_tag(run_id, name, value)
            for name, value in params.items():
                self.client.log_param(run_id, name, value)
            self.client.log_text(run_id, environment(), "environment.txt")
        return run_id

    def parent_id(self) -> str | None:
        """Id of the parent run; None where this tracking server has none."""
        return self._known().get("train")

    def fold(self, index: int) -> str:
        """Id of a fold's child run."""
        run_id, _ = self._run(f"fold-{index}", f"fold-{index}", self.parent_id())
        return run_id

    def finish(self, run_id: str, metrics: Mapping[str, float] | None = None) -> None:
        """Log final figures and mark a run as finished."""
        for name, value in (metrics or {}).items():
            self.client.log_metric(run_id, name, value)
        self.client.set_terminated(run_id)

    def _known(self) -> dict[str, str]:
        if not self._file.exists():
            return {}
        content = json.loads(self._file.read_text())
        # Another server knows nothing of these runs: begin new ones there.
        return content["runs"] if content["tracking_uri"] == tracking_uri(self._root) else {}

    def _run(self, key: str, name: str, parent: str | None) -> tuple[str, bool]:
        known = self._known()
        if key in known:
            return known[key], False
        tags = {"mlflow.runName": name, "profile": self._settings.profile}
        if parent is not None:
            tags["mlflow.parentRunId"] = parent
        run_id = self.client.create_run(self.experiment_id, tags=tags).info.run_id
        content = {"tracking_uri": tracking_uri(self._root), "runs": {**known, key: run_id}}
        write_text(self._file, json.dumps(content, indent=2) + "\n")
        return run_id, True


def source_tags(root: Path) -> dict[str, str]:
    """What the run was made from: git commit, whether the tree was clean, and the hash of dvc.lock."""
    tags = {}
    commit = _git(root, "rev-parse", "HEAD")
    if commit:
        tags["mlflow.source.git.commit"] = commit
        tags["git_clean"] = str(_git(root, "status", "--porcelain", "--untracked-files=no") == "").lower()
    if (root / "dvc.lock").exists():
        tags["dvc_lock_md5"] = file_digest(root / "dvc.lock")
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


def _git(root: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()
