"""The project's own registry, whose folder people move, rename and copy."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import mlflow
import pytest
from helpers.permissions import permissions_count
from helpers.registry_versions import registry
from helpers.small_models import small_settings, write_model

from cfnsr.config.layout import Layout
from cfnsr.config.load import Settings
from cfnsr.errors import InputError
from cfnsr.model.checkpoint import load_model
from cfnsr.predict.find import find_weights
from cfnsr.registry import ServerAwayError, fetch_model, server_needed, tracking_uri
from components.register import log_model
from components.tracking.outbox import outbox_folder
from components.tracking.runs import EXPERIMENT, RunTracker

MODEL = "models:/cfn-sr/1"


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A project with a registered model."""
    root = tmp_path_factory.mktemp("made") / "a project"
    root.mkdir()
    client = registry(root)
    run = client.create_run(client.get_experiment_by_name(EXPERIMENT).experiment_id).info.run_id
    (root / "card.md").write_text("a model for tests")
    files = {"weights": write_model(root / "model.safetensors"), "model_card": root / "card.md"}
    log_model(of(root), run, files)
    return root


@pytest.fixture
def project(made, monkeypatch) -> Path:
    """The same, as the working folder."""
    monkeypatch.chdir(made)
    return made


def of(root: Path) -> Settings:
    return replace(small_settings(), layout=Layout(root, "small"))


def files_below(root: Path) -> set[Path]:
    return {path for path in root.rglob("*") if path.is_file()}


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Inside, nobody may write there."""
    paths = [folder, *folder.rglob("*")]
    for path in paths:
        path.chmod(path.stat().st_mode & ~0o222)
    try:
        with permissions_count():
            yield
    finally:
        for path in paths:
            path.chmod(path.stat().st_mode | 0o200)


def test_who_may_only_read_the_registry_finds_its_models(project):
    """Also where MLflow itself, which notes a version's number among its files, has read the model before."""
    before = fetch_model(MODEL)
    assert list(project.parent.iterdir()) == [project]  # no folder `a%20project`
    assert Path(mlflow.artifacts.download_artifacts(artifact_uri=MODEL)) == before
    with read_only(project):
        found = fetch_model(MODEL)
        assert found == before
        load_model(find_weights(found))


def test_a_database_that_may_not_be_written_is_not_called_a_server(project):
    client = mlflow.MlflowClient(tracking_uri(project))
    said = (
        rf"^the MLflow database sqlite:///{project}/mlflow\.db can't be used \(attempt to write a readonly database\)"
    )
    with read_only(project), pytest.raises(ServerAwayError, match=said), server_needed(project):
        client.set_registered_model_tag("cfn-sr", "note", "text")


@pytest.mark.parametrize("name", ["50%25 off", "what?"])
def test_a_folder_whose_name_means_something_else_in_a_uri_is_refused(tmp_path, name):
    with pytest.raises(InputError, match=rf"^MLflow can't keep its database in {re.escape(str(tmp_path / name))}"):
        tracking_uri(tmp_path / name)


def test_other_special_characters_in_the_name_of_a_folder_are_accepted(tmp_path):
    root = tmp_path / "1 & 2 # größer 100% of+it=%zz"
    root.mkdir()
    tracker = RunTracker(of(root))
    tracker.client.log_text(tracker.parent(), "said", "note.txt")
    assert (root / "mlflow.db").exists()
    assert [path.read_text() for path in files_below(root) if path.name == "note.txt"] == ["said"]
    assert list(tmp_path.iterdir()) == [root]


def test_a_copy_that_dvc_makes_and_deletes_uses_the_registry_of_its_project(tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    copy = tmp_path / ".dvc/tmp/exps/standalone/tmp1"
    assert tracking_uri(copy) == tracking_uri(tmp_path) == f"sqlite:///{tmp_path}/mlflow.db"
    assert outbox_folder(Layout(copy, "small")) == tmp_path / "runs/.outbox"
    assert tracking_uri(tmp_path / "other") == f"sqlite:///{tmp_path}/other/mlflow.db"
    for uri in ("sqlite:///mlflow.db", f"sqlite:///{tmp_path}/mlflow.db"):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        assert tracking_uri(copy) == f"sqlite:///{tmp_path}/mlflow.db"


def test_a_model_without_its_files_is_not_called_unknown(project):
    aside = (project / "mlartifacts").rename(project / "aside")
    (project / "mlartifacts").mkdir()
    with pytest.raises(InputError, match="is in the registry, but its files are"):
        fetch_model(MODEL)
    (project / "mlartifacts").rmdir()
    aside.rename(project / "mlartifacts")
    with pytest.raises(InputError, match=r"models:/cfn-sr/2 is not in the registry"):
        fetch_model("models:/cfn-sr/2")
