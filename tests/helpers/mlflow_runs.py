"""MLflow databases of small projects: an empty one, and what a training has left in it."""

import shutil
import tempfile
from functools import cache
from pathlib import Path

import mlflow

from cfnsr.config.load import Settings


def add_empty_database(root: Path) -> None:
    """Give a project the database that MLflow makes at its first use, which takes MLflow two seconds each time."""
    shutil.copy(_empty_database(), root / "mlflow.db")


@cache
def _empty_database() -> Path:
    path = Path(tempfile.mkdtemp(), "mlflow.db")
    mlflow.MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


def client(settings: Settings) -> mlflow.MlflowClient:
    return mlflow.MlflowClient(f"sqlite:///{settings.layout.root}/mlflow.db")


def runs(settings: Settings) -> tuple[mlflow.entities.Run, list[mlflow.entities.Run]]:
    found = client(settings).search_runs([client(settings).get_experiment_by_name("cfn-sr").experiment_id])
    children = [run for run in found if "mlflow.parentRunId" in run.data.tags]
    (parent,) = [run for run in found if run not in children]
    return parent, children
