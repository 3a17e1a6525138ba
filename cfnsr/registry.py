"""The model registry: a `models:/…` URI becomes a local folder. The library's only place that knows MLflow."""

from __future__ import annotations

import os
from pathlib import Path

from cfnsr.errors import InputError

SCHEME = "models:/"


def fetch_model(uri: str) -> Path:
    """Download a registered model.

    Args:
        uri: `models:/NAME@ALIAS` or `models:/NAME/VERSION`. The registry is MLFLOW_TRACKING_URI, or else `mlflow.db` in
            the current folder.

    Returns:
        The model's folder.

    Raises:
        InputError: there is no registry, no such model, version or alias.
    """
    import mlflow
    from mlflow.exceptions import MlflowException

    tracking_uri = os.environ.get("MLFLOW_TRACKING_URI")
    if tracking_uri is None:
        database = Path("mlflow.db").resolve()
        if not database.exists():
            raise InputError(
                f"there is no model registry here to find {uri} in: run in the project's folder after `dvc repro`, or "
                "set MLFLOW_TRACKING_URI to your MLflow server."
            )
        tracking_uri = f"sqlite:///{database}"
    try:
        return Path(mlflow.artifacts.download_artifacts(artifact_uri=uri, tracking_uri=tracking_uri))
    except MlflowException as error:
        raise InputError(
            f"{uri} is not in the registry ({error.message}); train a model with `dvc repro`, or set the alias in the "
            "MLflow UI."
        ) from None
