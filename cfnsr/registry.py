"""The model registry: a `models:/…` URI becomes a local folder. The library's only place that knows MLflow."""

from __future__ import annotations

import os
from pathlib import Path

from cfnsr.errors import InputError

SCHEME = "models:/"
DATABASE = "mlflow.db"


def tracking_uri(root: Path) -> str:
    """Where runs are logged and models registered: MLFLOW_TRACKING_URI, or else `mlflow.db` in the project's root."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{root.resolve() / DATABASE}"


def fetch_model(uri: str, root: Path = Path()) -> Path:
    """Download a registered model.

    Args:
        uri: `models:/NAME@ALIAS` or `models:/NAME/VERSION`.
        root: the project's root, whose registry is asked unless MLFLOW_TRACKING_URI names another.

    Returns:
        The model's folder.

    Raises:
        InputError: there is no registry, no such model, version or alias.
    """
    import mlflow
    from mlflow.exceptions import MlflowException

    server = tracking_uri(root)
    if server.startswith("sqlite:///") and not Path(server.removeprefix("sqlite:///")).exists():
        raise InputError(
            f"there is no model registry here to find {uri} in: run in the project's folder after `dvc repro`, or set "
            "MLFLOW_TRACKING_URI to your MLflow server."
        )
    try:
        return Path(mlflow.artifacts.download_artifacts(artifact_uri=uri, tracking_uri=server))
    except MlflowException as error:
        raise InputError(
            f"{uri} is not in the registry ({error.message}); train a model with `dvc repro`, or set the alias in the "
            "MLflow UI."
        ) from None
