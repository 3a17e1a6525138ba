"""The model registry: a `models:/…` URI becomes a local folder. The library's only place that knows MLflow."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cfnsr.errors import InputError
from cfnsr.scratch import process_folder

SCHEME = "models:/"
SQLITE = "sqlite:///"
DATABASE = "mlflow.db"
ARTIFACTS = "mlartifacts"
"""Folder in the project's `home`, unless a server keeps them."""


def home(root: Path) -> Path:
    """The folder that keeps what is logged and registered from a project's root.

    It is the root itself, unless that is a copy that `dvc exp run --temp` or `--queue` makes below `.dvc/tmp` of the
    project and deletes afterwards: then it is the project, which DVC names in DVC_ROOT.
    """
    project = Path(os.environ.get("DVC_ROOT", root))
    return project if root.resolve().is_relative_to((project / ".dvc/tmp").resolve()) else root


def tracking_uri(root: Path) -> str:
    """Where runs are logged and models registered: MLFLOW_TRACKING_URI, or else `mlflow.db` in the project's `home`.

    The path of a SQLite database in MLFLOW_TRACKING_URI may be relative to the project's `home`.

    Raises:
        InputError: see `database_uri`.
    """
    server = os.environ.get("MLFLOW_TRACKING_URI")
    if not server:
        return database_uri(root)
    if server.startswith(SQLITE):
        return f"{SQLITE}{home(root).resolve() / server.removeprefix(SQLITE)}"
    return server


def database_uri(root: Path) -> str:
    """The project's own `mlflow.db`.

    Raises:
        InputError: SQLAlchemy would look for it elsewhere, because of how the project's folder is called.
    """
    folder = home(root).resolve()
    # Nor would quoting help: not every version of SQLAlchemy undoes it, and MLflow makes a folder of the quoted name.
    if misread := re.search(r"\?|%[0-9A-Fa-f]{2}", str(folder)):
        raise InputError(
            f"MLflow can't keep its database in {folder}, because `{misread[0]}` means something else in its "
            "address; rename the folder, or set MLFLOW_TRACKING_URI to an MLflow server."
        )
    return f"{SQLITE}{folder / DATABASE}"


class ServerAwayError(InputError):
    """The tracking server, its database or its artifact store does not answer, which may be temporary."""


@contextmanager
def server_needed(root: Path) -> Iterator[None]:
    """Report an outage of the tracking server inside the block in one sentence.

    Raises:
        ServerAwayError: instead of what MLflow raises when it can't reach its server.
        InputError: the server refuses the request.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        if refusal := _refusal(error):
            raise InputError(
                f"the MLflow server {tracking_uri(root)} refuses the request ({refusal}); check MLFLOW_TRACKING_URI, "
                "your credentials and the names that the server allows."
            ) from error
        if not unreachable(error):
            raise
        if trouble := re.search(r"\(sqlite3\.\w+\) (.*)", str(error)):  # a file, not a server
            raise ServerAwayError(
                f"the MLflow database {tracking_uri(root)} can't be used ({trouble[1]}): check its permissions, the "
                "space on its disk and who else uses it, then run the same command again to continue."
            ) from error
        raise ServerAwayError(
            f"the MLflow server {tracking_uri(root)} does not answer; start it (`make up`) or set MLFLOW_TRACKING_URI, "
            "then run the same command again to continue."
        ) from error


def unreachable(error: Exception) -> bool:
    """Whether an error means that the tracking server, or its artifact store, does not answer."""
    from botocore.exceptions import HTTPClientError
    from mlflow.exceptions import MlflowException, RestException

    if isinstance(error, RestException):
        return error.error_code == "TEMPORARILY_UNAVAILABLE"
    if isinstance(error, MlflowException):
        # The class does not tell; these are the messages of mlflow.utils.rest_utils when a server does not answer.
        words = "API request to .* failed with (timeout )?exception|failed with error code (502|503|504)"
        return error.error_code == "TEMPORARILY_UNAVAILABLE" or re.search(words, str(error)) is not None
    return isinstance(error, HTTPClientError)


def _refusal(error: Exception) -> str:
    """Why a server, or a proxy in front of it, refuses a request; empty if the error is another one."""
    from mlflow.exceptions import MlflowException

    # The message of mlflow.utils.rest_utils for an answer that is not MLflow's own.
    found = re.search(r"failed with error code (4\d\d) .*?Response body: '(.*)'", str(error), re.DOTALL)
    if found is None or not isinstance(error, MlflowException):
        return ""
    return f"HTTP {found[1]}: {' '.join(found[2].split())[:200]}"


def fetch_model(uri: str) -> Path:
    """Download a registered model of the project in the working directory, or of MLFLOW_TRACKING_URI.

    Args:
        uri: `models:/NAME@ALIAS` or `models:/NAME/VERSION`.

    Returns:
        The model's folder. A download is deleted when the program ends.

    Raises:
        InputError: there is no registry, no such model, version or alias.
    """
    from mlflow.exceptions import MlflowException

    root = Path()  # where MLflow looks for its registry
    server = tracking_uri(root)
    if server.startswith(SQLITE) and not Path(server.removeprefix(SQLITE)).exists():
        raise InputError(
            f"there is no model registry here to find {uri} in: run in the project's folder after `dvc repro`, or set "
            "MLFLOW_TRACKING_URI to your MLflow server."
        )
    # MLflow does not delete its downloads; a model is needed until it is loaded, at most until the program ends.
    folder = None
    if not server.startswith("sqlite:"):
        folder = tempfile.mkdtemp(dir=process_folder())
    try:
        with server_needed(root):
            return _files_of(uri, server, folder)
    except MlflowException as error:
        if "No such artifact" in error.message:
            raise InputError(
                f"{uri} is in the registry, but its files are missing; restore them ({ARTIFACTS}/ here, or the "
                "server's store), or train again: `dvc repro --force train`."
            ) from None
        raise InputError(
            f"{uri} is not in the registry ({error.message}); train a model with `dvc repro`, or set the alias in the "
            "MLflow UI."
        ) from None


def _files_of(uri: str, server: str, folder: str | None) -> Path:
    """Where a model's files are: downloaded to `folder`, or, without a folder, where the registry keeps them.

    MLflow's own functions for this would write the version's number among the files, where a reader may lack
    permission, and open the database of the working directory under a quoted name, for which they make a folder.
    """
    from mlflow import MlflowClient
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
    from mlflow.store.artifact.models_artifact_repo import ModelsArtifactRepository
    from mlflow.store.artifact.utils.models import get_model_name_and_version

    client = MlflowClient(server)
    place, inside = ModelsArtifactRepository.split_models_uri(uri)
    while place.startswith(SCHEME):  # a version's place is that of the logged model that it was made from
        name = get_model_name_and_version(client, place)
        if len(name) == 1:
            place = client.get_logged_model(*name).artifact_location
        else:
            place = client.get_model_version_download_uri(*name)
    return Path(get_artifact_repository(place, tracking_uri=server).download_artifacts(inside, folder))
