"""Tracking while the MLflow server goes away and comes back: a real server, killed in the middle of training."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import ExitStack, closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import mlflow
import pandas as pd
import pytest
from helpers.feature_files import write_features, write_params
from helpers.mlflow_server import MlflowServer
from helpers.paths import PROJECT
from helpers.permissions import permissions_count
from helpers.running_programs import DEADLINE, running, wait_for

from cfnsr.config.load import load_settings
from cfnsr.errors import InputError
from cfnsr.registry import ServerAwayError, server_needed
from components.deliver import deliver
from components.evaluate import evaluate
from components.register import register
from components.run import Run
from components.tracking.outbox import Outbox, outbox_folder
from components.tracking.runs import RunTracker, git, open_store

PHASE = {"epochs": 2, "batch_size": 8, "lr": 0.003}
LONG = {"epochs": 12, "batch_size": 8, "lr": 0.003}


@pytest.fixture(scope="module")
def one_server(tmp_path_factory):
    """A start takes long; tests that kill it start it again."""
    server = MlflowServer(tmp_path_factory.mktemp("server"))
    server.start()
    yield server
    server.kill()


@pytest.fixture
def server(one_server, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", one_server.url)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    return one_server


@pytest.mark.slow
def test_training_goes_on_without_the_server_and_nothing_measured_is_lost(tmp_path, server):
    settings = write_params(
        tmp_path, train={"folds": 2, "pretrain": {"audio": PHASE, "video": PHASE}, "fusion": LONG, "watch_test": False}
    )
    write_features(settings)
    run = settings.layout.run
    command = [sys.executable, "-m", "components.train", "--params", str(settings.params_file)]
    with running(command, cwd=PROJECT, env={**os.environ, "OMP_NUM_THREADS": "1"}) as training:
        wait_for(training, lambda: (run / "fold-0" / "fusion" / "last.ckpt").exists())
        server.kill()
        said = training.communicate(timeout=300)[0]
    assert training.returncode == 0, said
    assert "the MLflow server does not answer, or the disk is full: measurements are kept" in said
    assert (run / "fold-1" / "fold.json").exists()
    kept = list(outbox_folder(settings.layout).glob("*.jsonl"))
    assert kept

    with pytest.raises(InputError, match=f"could not be delivered to {server.url}"):
        deliver(settings)
    with pytest.raises(ServerAwayError, match="does not answer"), server_needed(tmp_path):
        evaluate(Run.open(settings))

    server.start()
    done = subprocess.run(
        [sys.executable, "-m", "components.deliver", "--params", str(settings.params_file)],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert f"{len(kept)} runs to {server.url}" in done.stdout
    assert not list(outbox_folder(settings.layout).glob("*.jsonl"))

    tracker = RunTracker(settings)
    for fold in range(2):
        history = pd.read_csv(run / f"fold-{fold}" / "history.csv")
        fusion = history[history["phase"] == "fusion"]
        logged = tracker.client.get_metric_history(tracker.fold(fold), "fusion-validation/accuracy")
        assert sorted(metric.value for metric in logged) == pytest.approx(sorted(fusion["validation/accuracy"]))
    ids = json.loads((run / "mlflow.json").read_text())
    assert {name: len(each) - 1 for name, each in ids.items()} == {"train": 1, "fold-0": 1, "fold-1": 1}  # and a token
    evaluate(Run.open(settings))  # which had failed without the server
    assert register(Run.open(settings)) == 1
    for run_id in (tracker.parent(), tracker.fold(0), tracker.fold(1)):
        assert tracker.client.get_run(run_id).info.status == "FINISHED"


def test_what_is_kept_is_delivered_once_and_in_order(tmp_path, server):
    client = mlflow.MlflowClient(server.url)
    run_id = client.create_run("0").info.run_id
    outbox = Outbox(tmp_path / "outbox", server.url, run_id)
    server.kill()
    for step in range(3):
        outbox.metrics({"loss": 1.0 - step / 10}, step)
    outbox.status("FINISHED")
    assert not outbox.deliver()
    server.start()
    shutil.copytree(tmp_path / "outbox", tmp_path / "copy")
    assert outbox.deliver()
    assert Outbox(tmp_path / "copy", server.url, run_id).deliver()  # as after a kill between sending and dropping
    logged = [(metric.step, metric.value) for metric in client.get_metric_history(run_id, "loss")]
    assert logged == [(0, 1.0), (1, 0.9), (2, 0.8)]
    assert client.get_run(run_id).info.status == "FINISHED"
    assert outbox.deliver()  # there is nothing


def test_what_is_measured_during_a_delivery_is_kept(tmp_path):
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    run_id = client.create_run("0").info.run_id
    outbox = Outbox(tmp_path / "outbox", f"sqlite:///{tmp_path}/mlflow.db", run_id)
    with outbox.delivering():
        for step in range(300):
            outbox.metrics({"loss": float(step)}, step)
            if step % 100 == 50:
                outbox.deliver()
        with (tmp_path / "outbox" / f"{run_id}.jsonl").open("a") as file:
            file.write('{"metrics"\n')  # the machine went down; the other lines are delivered
    assert len(client.get_metric_history(run_id, "loss")) == 300


@pytest.mark.slow
def test_a_server_that_is_away_at_the_start_is_a_sentence(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:secret@127.0.0.1:1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    settings = write_params(tmp_path)
    write_features(settings)
    command = [sys.executable, "-m", "components.train", "--params", str(settings.params_file)]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2
    assert "error: the MLflow server http://127.0.0.1:1 does not answer" in done.stderr
    assert "secret" not in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("status", "error", "sentence"),
    [
        (403, InputError, r"refuses the request \(HTTP 403: Invalid Host header\); check MLFLOW_TRACKING_URI"),
        (503, ServerAwayError, "does not answer"),
    ],
)
def test_a_server_that_refuses_is_not_called_away(tmp_path, monkeypatch, status, error, sentence):
    class Proxy(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(status)
            self.end_headers()
            self.wfile.write(b"Invalid Host header")

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Proxy) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        with pytest.raises(error, match=sentence) as raised, server_needed(tmp_path):
            mlflow.MlflowClient(os.environ["MLFLOW_TRACKING_URI"]).get_registered_model("cfn-sr")
        assert type(raised.value) is error
        server.shutdown()


def test_a_run_keeps_the_commit_that_it_began_with(tmp_path):
    settings = write_params(tmp_path)
    commits = []
    for message in ("first", "second"):
        author = "git -c user.name=A -c user.email=a@example.org"
        words = f"git init -q && git add params.yaml && {author} commit -q --allow-empty -m {message}"
        subprocess.run(words, shell=True, cwd=tmp_path, check=True)
        commits.append(git(tmp_path, "rev-parse", "HEAD"))
        tracker = RunTracker(settings)
        tracker.describe({"protocol": message}, {})
    tags = tracker.client.get_run(tracker.parent()).data.tags
    assert (tags["protocol"], tags["mlflow.source.git.commit"]) == ("second", commits[0])
    assert commits[0] != commits[1]


def test_the_same_runs_are_found_with_and_without_the_server(tmp_path, server, monkeypatch):
    settings = write_params(tmp_path)
    with_server = RunTracker(settings).parent()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{server.folder}/mlflow.db")
    assert RunTracker(settings).parent() == with_server
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/another.db")
    other = RunTracker(settings).parent()
    assert other != with_server
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.url)
    assert RunTracker(settings).parent() == with_server


def test_an_experiment_deleted_in_mlflow_is_named_with_the_command_that_restores_it(tmp_path):
    tracker = RunTracker(write_params(tmp_path))
    experiment = tracker.client.get_run(tracker.parent()).info.experiment_id
    tracker.client.delete_experiment(experiment)
    with pytest.raises(InputError, match=f"mlflow experiments restore --experiment-id {experiment}"):
        tracker.parent()


def test_a_run_whose_id_was_not_noted_before_a_kill_is_found_again(tmp_path, monkeypatch):
    settings = write_params(tmp_path)
    killed = RunTracker(settings)
    note = killed._write
    monkeypatch.setattr(killed, "_write", lambda ids: note(ids) if len(ids["train"]) == 1 else sys.exit())
    with pytest.raises(SystemExit):
        killed.parent()
    tracker = RunTracker(settings)
    run_id = tracker.parent()
    (run,) = tracker.client.search_runs([tracker.client.get_run(run_id).info.experiment_id])
    assert run.info.run_id == run_id == RunTracker(settings).parent()


def test_what_an_interrupted_registration_has_logged_is_dropped(tmp_path):
    tracker = RunTracker(write_params(tmp_path))
    run_id = tracker.parent()
    experiment = tracker.client.get_run(run_id).info.experiment_id
    _, finished = (tracker.client.create_logged_model(experiment, source_run_id=run_id) for _ in range(2))
    tracker.client.finalize_logged_model(finished.model_id, "READY")
    tracker.drop_models(run_id)  # a kill may also come after the model is ready and before it has a version
    assert list(tracker.client.search_logged_models([experiment])) == []


def test_a_fault_of_the_database_is_raised_and_not_printed_too(tmp_path, caplog, capfd):
    tracker = RunTracker(write_params(tmp_path))
    run_id = tracker.parent()
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as database:
        database.execute("ALTER TABLE tags RENAME TO lost")
    with pytest.raises(ServerAwayError, match="no such table: tags"), server_needed(tmp_path):
        tracker.client.set_tag(run_id, "note", "text")
    assert capfd.readouterr().err == caplog.text == ""


def test_a_copied_project_does_not_write_into_the_folder_of_the_original(tmp_path):
    original, copy = tmp_path / "original", tmp_path / "copy of it"
    original.mkdir()
    RunTracker(write_params(original)).parent()
    shutil.copytree(original, copy)
    settings = load_settings(copy / "params.yaml")
    with pytest.raises(InputError, match=rf"ln -s .*{original}"):
        RunTracker(settings).create("another", {}, "its token")
    shutil.rmtree(original)
    original.symlink_to(copy)
    RunTracker(settings).create("another", {}, "its token")


OPEN = """
import sys, time
from pathlib import Path
import mlflow.store.tracking.sqlalchemy_store
from cfnsr.config.load import load_settings
from components.tracking.runs import RunTracker
settings = load_settings(Path(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
print(RunTracker(settings).create("first", {}, str(time.time_ns())))
"""


def test_a_database_that_was_left_half_made_is_made_anew(tmp_path):
    """MLflow can't continue where a kill has interrupted its migrations."""
    part = tmp_path / "mlflow.db.part"
    with sqlite3.connect(part) as database:
        database.execute("CREATE TABLE _alembic_tmp_experiments (id INTEGER)")
    assert open_store(tmp_path).search_experiments()
    assert {path.name for path in tmp_path.iterdir()} - {"mlruns"} == {"mlflow.db", "mlflow.db.lock"}


@pytest.mark.slow
def test_trainings_started_at_once_in_a_fresh_project_make_one_database(tmp_path):
    settings = write_params(tmp_path)
    (tmp_path / "mlflow.db").unlink()
    command = [sys.executable, "-c", OPEN, settings.params_file]
    with ExitStack() as stack:
        programs = [stack.enter_context(running(command, cwd=PROJECT, stdin=subprocess.PIPE)) for _ in range(6)]
        for program in programs:
            assert program.stdout.readline() == "ready\n", program.communicate()[0]
        assert not (tmp_path / "mlflow.db").exists()
        for program in programs:
            program.stdin.write("go\n")
            program.stdin.flush()
        said = [program.communicate(timeout=DEADLINE)[0] for program in programs]
    assert [program.returncode for program in programs] == [0] * len(programs), said
    made = {output.split()[-1] for output in said}
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    found = client.search_runs([client.get_experiment_by_name("cfn-sr").experiment_id])
    assert {run.info.run_id for run in found} == made
    assert len(made) == len(programs)


def test_a_database_that_may_only_be_read_can_be_read(tmp_path):
    settings = write_params(tmp_path)
    run_id = RunTracker(settings).parent()
    (tmp_path / "mlflow.db.lock").unlink(missing_ok=True)
    tmp_path.chmod(0o500)
    try:
        with permissions_count():
            assert RunTracker(settings).known("train") == run_id
    finally:
        tmp_path.chmod(0o700)
