"""From `make up` to `make down`: deployed flows on a worker, the registry, promotion, and bad input."""

import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import mlflow
import psutil
import pytest
import requests
from helpers.mlflow_server import MlflowServer
from helpers.prefect_server import ask_prefect
from helpers.project_copy import copy_project, make_small, run
from helpers.running_programs import free_ports
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Origin

from cfnsr.corpus.ravdess import EMOTIONS
from pipelines.local.services import processes

pytestmark = pytest.mark.slow
MAKE = "make -o .venv/.installed"
TRAIN = "prefect deployment run train-cfnsr/local --param profile=sample"
START = "python -m pipelines.local.start"  # checks the server and its workers first


class Team:
    """A copy of the project whose services are up."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.prefect_port, self.mlflow_port = free_ports(2)
        # From another folder, which `make -C` allows.
        up = f"cd / && {MAKE} -C '{root}' up PREFECT_PORT={self.prefect_port} MLFLOW_PORT={self.mlflow_port}"
        done = run(root, up)
        assert done.returncode == 0, done.stdout + done.stderr
        self.client = mlflow.MlflowClient(self.mlflow)

    @property
    def mlflow(self) -> str:
        return f"http://127.0.0.1:{self.mlflow_port}"

    def prefect(self, what: str, **filters: object) -> list[dict]:
        return ask_prefect(f"http://127.0.0.1:{self.prefect_port}/api", what, **filters)


@pytest.fixture(scope="module")
def team(tmp_path_factory) -> Iterator[Team]:
    root = copy_project(tmp_path_factory.mktemp("team") / "my cfnsr")
    make_small(root)
    try:
        yield Team(root)
    finally:
        run(root, f"{MAKE} down")


def test_the_flows_are_deployed_to_pools_that_respect_the_gpus(team):
    flows = {flow["id"]: flow["name"] for flow in team.prefect("flows")}
    deployed = {
        f"{flows[each['flow_id']]}/{each['name']}": each["work_pool_name"] for each in team.prefect("deployments")
    }
    assert deployed == {
        "train-cfnsr/local": "local",
        "train-cfnsr/gpu": "gpu",
        "tune-cfnsr/local": "local",
        "tune-cfnsr/gpu": "gpu",
        "promote-cfnsr/local": "local",
    }
    limits = {pool["name"]: pool["concurrency_limit"] for pool in team.prefect("work_pools")}
    assert limits["gpu"] >= 1
    assert limits["local"] is None


@pytest.fixture(scope="module")
def trained(team) -> str:
    """Output of the README's command."""
    done = run(team.root, f"{TRAIN} --watch")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def test_the_run_is_green_and_the_version_is_the_challenger(team, trained):
    assert "Flow run finished successfully" in trained
    version = team.client.get_model_version_by_alias("cfn-sr", "challenger")
    assert str(version.version) == "1"
    assert version.tags["corpus"] == "synthetic sample corpus"
    assert run(team.root, "git status --porcelain -- . ':!params.yaml' ':!dvc.lock'").stdout == ""


def test_the_flow_run_has_artifacts_with_progress_and_results(team, trained):
    artifacts = {artifact["key"]: artifact for artifact in team.prefect("artifacts")}
    assert artifacts["folds"]["data"] == 100.0
    assert "| accuracy (WAR) |" in artifacts["results"]["data"]
    assert "registered as cfn-sr version 1" in artifacts["results"]["data"]
    assert team.mlflow in artifacts["mlflow-run"]["data"]
    for name in ("curves-png", "confusion-png"):
        picture = requests.get(artifacts[name]["data"], timeout=30)
        assert picture.content.startswith(b"\x89PNG")


@pytest.mark.proof
def test_started_again_it_reuses_the_finished_folds_and_the_version(team, trained):
    finished = {path: path.stat().st_mtime_ns for path in (team.root / "runs").rglob("fold.json")}
    assert len(finished) == 3
    assert run(team.root, f"{START} train-cfnsr/local --param profile=sample --watch").returncode == 0
    assert {path: path.stat().st_mtime_ns for path in finished} == finished
    assert len(team.client.search_model_versions("name = 'cfn-sr'")) == 1


LOAD = """
import mlflow, pandas, sys
model = mlflow.pyfunc.load_model("models:/cfn-sr@champion")
print(model.predict(pandas.DataFrame({"path": [sys.argv[1]]}))["emotion"][0])
"""


def test_a_promoted_version_is_loaded_by_the_alias_champion(team, trained):
    done = run(team.root, "prefect deployment run promote-cfnsr/local --param version=1 --watch")
    assert done.returncode == 0, done.stdout + done.stderr
    clip = next((team.root / "data/sample/raw/Actor_01").glob("*.mp4"))
    (team.root / "tmp").mkdir()
    (team.root / "tmp/load.py").write_text(LOAD)
    loaded = run(team.root, f"MLFLOW_TRACKING_URI={team.mlflow} python tmp/load.py '{clip}'")
    assert loaded.stdout.split()[-1] in EMOTIONS, loaded.stderr[-3000:]
    # The database behind the server is the one that the commands use without it.
    assert run(team.root, f"cfnsr predict '{clip}' --model models:/cfn-sr@champion").returncode == 0
    again = run(team.root, "python -m components.promote --version 1")
    assert (again.returncode, "is the champion already" in again.stdout) == (0, True)


@pytest.mark.proof
def test_overrides_give_a_run_and_a_version_of_their_own(team, trained):
    overrides = """--param 'overrides={"train.fusion.lr": 0.002, "train.folds": 2}' --param seed=1"""
    done = run(team.root, f"{TRAIN} {overrides} --param folds=[1] --watch")
    assert done.returncode == 0, done.stdout[-3000:]
    assert "not evaluated: the folds 0 are not trained yet" in " ".join(done.stdout.split())
    assert run(team.root, f"{TRAIN} {overrides} --watch").returncode == 0
    version = team.client.get_model_version_by_alias("cfn-sr", "challenger")
    params = team.client.get_run(version.run_id).data.params
    assert (params["train.fusion.lr"], params["train.seed"]) == ("0.002", "1")
    assert len(list((team.root / "runs").glob("sample-*/fold-*"))) == 2


@pytest.mark.parametrize(
    ("parameter", "sentence"),
    [
        ("profil=sample", "specified but not found on the deployment"),
        ("profile=rawdess", "there is no profile 'rawdess', only ravdess, sample"),
    ],
)
def test_bad_parameters_leave_nothing_behind(team, trained, parameter, sentence):
    before = sorted((team.root / "runs").rglob("*"))
    done = run(team.root, f"prefect deployment run train-cfnsr/local --param {parameter} --watch")
    assert done.returncode == 1
    assert sentence in " ".join(done.stdout.split())
    assert "Traceback" not in done.stdout + done.stderr
    assert sorted((team.root / "runs").rglob("*")) == before


@pytest.mark.proof
def test_a_failing_data_stage_fails_the_run(team, trained):
    params = team.root / "params.yaml"
    kept = params.read_text()
    params.write_text(kept.replace("source: sample", "path: /nowhere\n    source: local", 1))
    try:
        done = run(team.root, f"{TRAIN} --watch")
    finally:
        params.write_text(kept)
    assert done.returncode == 1
    assert "/nowhere" in done.stdout
    assert "Traceback" not in done.stdout


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("train-cfnsr/locl", "there is no deployment 'train-cfnsr/locl'"),
        ("train-cfnsr", "name a deployment first"),
        pytest.param(
            "train-cfnsr/gpu",
            "no worker polls the work pool 'gpu'",
            marks=pytest.mark.skipif(shutil.which("nvidia-smi") is not None, reason="`make up` starts one for a GPU"),
        ),
    ],
)
def test_a_run_that_no_worker_would_pick_up_is_not_started(team, arguments, sentence):
    before = {each["id"] for each in team.prefect("flow_runs")}
    done = run(team.root, f"{START} {arguments}")
    assert (done.returncode, done.stdout) == (2, "")
    assert f"error: {sentence}" in done.stderr
    assert "Traceback" not in done.stderr
    assert {each["id"] for each in team.prefect("flow_runs")} == before


def test_a_taken_port_is_refused(team, tmp_path):
    up = f"PYTHONPATH='{team.root}' python -m pipelines.local.services up --prefect-port {team.prefect_port}"
    done = run(team.root, f"cd {tmp_path} && {up} --mlflow-port {free_ports(1)[0]}")
    assert done.returncode == 2
    assert f"error: port {team.prefect_port} can't be used" in done.stderr
    assert list(tmp_path.iterdir()) == []


def process(team: Team, *command: str) -> psutil.Process:
    (found,) = [each for each in processes(team.root) if " ".join(command) in " ".join(each.cmdline())]
    return found


def refusals(url: str, change: str) -> dict[str, int]:
    """Statuses of requests that another server's page, and a name that leads to this machine, cause in a browser."""
    page = {"Origin": "http://elsewhere.example"}
    preflight = {**page, "Access-Control-Request-Method": "POST"}
    return {
        "name": requests.get(f"{url}{change}", headers={"Host": "elsewhere.example"}, timeout=30).status_code,
        "page": requests.post(f"{url}{change}", json={}, headers=page, timeout=30).status_code,
        "preflight": requests.options(f"{url}{change}", headers=preflight, timeout=30).status_code,
    }


def test_foreign_names_and_pages_are_refused(team):
    prefect = f"http://127.0.0.1:{team.prefect_port}"
    assert refusals(prefect, "/api/flows/filter") == {"name": 403, "page": 403, "preflight": 403}
    assert requests.post(f"{prefect}/api/flows/filter", json={}, timeout=30).status_code == 403  # without a token
    assert refusals(team.mlflow, "/api/2.0/mlflow/runs/create") == {"name": 403, "page": 403, "preflight": 400}
    events = f"ws://127.0.0.1:{team.prefect_port}/api/events/out"
    with pytest.raises(InvalidStatus, match="403"):
        connect(events, origin=Origin("http://elsewhere.example"))
    own = prefect.replace("127.0.0.1", "localhost")
    answer = requests.get(f"{prefect}/api/health", headers={"Origin": own}, timeout=30)
    assert answer.headers["Access-Control-Allow-Origin"] == own


def test_up_starts_only_what_is_missing(team):
    server = process(team, "prefect_server")
    supervisor = process(team, "supervisord")
    supervisor.send_signal(signal.SIGSTOP)  # or it would restart the worker at once
    worker = process(team, "prefect", "worker")
    worker.kill()
    supervisor.send_signal(signal.SIGCONT)
    done = run(team.root, f"{MAKE} up")
    assert done.returncode == 0, done.stderr
    assert f"http://127.0.0.1:{team.prefect_port}\n" in done.stdout  # not the default port
    assert process(team, "prefect_server") == server
    assert process(team, "prefect", "worker") != worker
    assert "running: mlflow, prefect, worker-local" in run(team.root, f"{MAKE} status").stdout


def test_down_ends_these_services_and_no_others_even_after_a_crash(team, trained, tmp_path):
    assert run(team.root, f"{MAKE} up PREFECT_PORT={team.prefect_port} MLFLOW_PORT={team.mlflow_port}").returncode == 0
    mine = processes(team.root)
    assert len(mine) > 3
    process(team, "supervisord").kill()
    assert "are not running" in run(team.root, f"{MAKE} status").stderr
    other = MlflowServer(tmp_path / "other")
    other.start()
    try:
        assert "ended: mlflow, " in run(team.root, f"{MAKE} down").stdout
        assert requests.get(f"{other.url}/health", timeout=30).ok
    finally:
        other.kill()
    assert not any(each.is_running() for each in mine)
    assert not (team.root / "prefect.toml").exists()
    assert "are not running" in run(team.root, f"{MAKE} status").stderr
    assert run(team.root, f"{MAKE} down").returncode == 0


def test_without_a_server_no_run_is_started(team):
    assert run(team.root, f"{MAKE} down").returncode == 0
    assert "error: no Prefect server is set" in run(team.root, f"{START} train-cfnsr/local").stderr
    api = f"http://127.0.0.1:{team.prefect_port}/api"
    done = run(team.root, f"PREFECT_API_URL={api} {START} train-cfnsr/local")
    assert (done.returncode, "Traceback" in done.stderr) == (2, False)
    assert f"error: the Prefect server at {api} does not answer" in done.stderr
