"""docs/scaling.md, done by two checkouts that share nothing but the servers of deploy/compose.yaml."""

from __future__ import annotations

import re
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import boto3
import mlflow
import optuna
import psycopg
import pytest
import requests
import yaml
from helpers.head_servers import KEYS, Head, head_servers
from helpers.paths import PROJECT
from helpers.postgres_server import needs_postgres
from helpers.prefect_server import ask_prefect
from helpers.project_copy import copy_project, environment, make_small, run
from helpers.running_programs import kill, running, wait_for
from optuna.trial import TrialState

from cfnsr.corpus.ravdess import EMOTIONS
from components.search import study

pytestmark = [pytest.mark.proof, pytest.mark.services, needs_postgres]

BLOCK = re.compile(r"```bash\n(.*?)```", flags=re.DOTALL)
TEXT = (PROJECT / "docs/scaling.md").read_text()
DOC = {part.split("\n", 1)[0]: BLOCK.findall(part) for part in TEXT.split("\n## ")}

SETUP = DOC["Worker machines"][0]
FIRST, SECOND, _ = DOC["Making the data once"]
POOL = DOC["Kubernetes"][1]
PULL = yaml.safe_load((PROJECT / "prefect.yaml").read_text())["pull"]
# Commands that nothing in this module runs, and who runs them or why nobody does.
ELSEWHERE = {
    "docker compose -f deploy/compose.yaml up --build --detach": "its servers are started by head_servers",
    "cfnsr mirror --profile ravdess": "tests/components/test_download.py, from a server that looks like Zenodo",
    "CFNSR_ROOT=$PWD prefect worker start --pool gpu --limit 1": "tests/pipelines/test_services.py, by `make up`",
    "for run in 1 2 3 4; do prefect deployment run tune-cfnsr/gpu; done": "two such runs, in processes to be killed",
    'prefect deployment run train-cfnsr/gpu --param profile=ravdess --param \'overrides={"train.devices": "auto"}\'': (
        "needs RAVDESS and GPUs; DDP is in tests/cfnsr/test_distributed.py"
    ),
    "prefect deployment run train-cfnsr/gpu --param profile=ravdess --param 'overrides={\"train.fold_workers\": 2}'": (
        "needs RAVDESS and a GPU; folds side by side are in tests/components/test_train.py"
    ),
    "docker build --file deploy/Dockerfile --tag registry.example.org/cfnsr:latest .": "needs Docker",
    "docker push registry.example.org/cfnsr:latest": "needs Docker",
    "kubectl create secret generic cfnsr --from-env-file=deploy/.env": "needs a cluster",
    "kubectl apply -f deploy/kubernetes.yaml": "needs a cluster; tests/deploy/test_deploy.py checks the file",
    "prefect worker start --pool gpu --type kubernetes": "needs a cluster",
    "make kubeflow": "tests/pipelines/test_kubeflow.py",
}
TUNE = {
    "trials": 5,
    "search": {"train.fusion.lr": {"kind": "float", "low": 1e-4, "high": 1e-2, "log": True}},
}
# A run of the flow whose signs of life come quicker than every 30 s, so that its death is seen quicker.
SEARCH = """
from components.search import study
study.HEARTBEAT = 2
from pipelines.tune import tune_cfnsr
tune_cfnsr(update=False)
"""


@pytest.fixture(scope="module")
def head(tmp_path_factory) -> Iterator[Head]:
    with head_servers(tmp_path_factory.mktemp("head")) as servers:
        yield servers


def edit_settings(head: Head, checkout: Path) -> None:
    """deploy/.env as a person makes it."""
    assert run(checkout, DOC["The servers"][0]).returncode == 0
    text = (checkout / "deploy/.env").read_text()
    for name, value in KEYS.items():
        text = re.sub(rf"^{name}=.*", f"{name}={value}", text, flags=re.MULTILINE)
    (checkout / "deploy/.env").write_text(head.here(text))


def ready(checkout: Path) -> str:
    """Commands before all others of a shell on a machine that works."""
    return f"set -e\nexport PREFECT_HOME={checkout.with_name('prefect')} OMP_NUM_THREADS=1\n{SETUP}"


def on(checkout: Path, commands: str) -> subprocess.CompletedProcess[str]:
    """Run commands on a machine; fail when one of them does."""
    done = run(checkout, ready(checkout) + commands)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done


@pytest.fixture(scope="module")
def set_up(head, tmp_path_factory) -> Path:
    """A machine that has done nothing yet."""
    checkout = copy_project(tmp_path_factory.mktemp("first") / "cfnsr")
    make_small(checkout)
    params = yaml.safe_load((checkout / "params.yaml").read_text())
    params["sample"]["train"]["folds"] = 2
    params["sample"]["tune"] = TUNE
    (checkout / "params.yaml").write_text(yaml.safe_dump(params))
    run(checkout, "git config user.name one && git config user.email one@example.org && git commit --all -m small")
    edit_settings(head, checkout)
    return checkout


@pytest.fixture(scope="module")
def first(set_up) -> Path:
    """The machine that makes data and model, and shares them."""
    on(set_up, FIRST)
    return set_up


@pytest.fixture(scope="module")
def second(head, first, tmp_path_factory) -> Path:
    """Another machine, which has what git, DVC and MLflow give it."""
    checkout = tmp_path_factory.mktemp("second") / "cfnsr"
    assert run(first, f"git clone --quiet {first} {checkout}").returncode == 0
    edit_settings(head, checkout)
    return checkout


@pytest.fixture(scope="module")
def pulled(second) -> subprocess.CompletedProcess[str]:
    return on(second, SECOND)


def test_the_second_machine_has_nothing_to_make_and_predicts_with_the_firsts_model(first, second, pulled):
    assert "Data and pipelines are up to date." in pulled.stdout
    assert "Running stage" not in pulled.stdout
    assert any(emotion in pulled.stdout for emotion in EMOTIONS)
    for name in ("data/sample/clips.csv", "data/sample/mfcc.parquet", "metrics/sample.json", "runs/sample/key.txt"):
        assert (second / name).read_bytes() == (first / name).read_bytes()


def test_runs_are_in_postgres_and_models_in_s3_and_neither_on_a_machine(head, first, second, pulled):
    with psycopg.connect(head.postgres.url("mlflow").replace("+psycopg", "")) as database:
        assert database.execute("SELECT name, version FROM model_versions").fetchall() == [("cfn-sr", 1)]
        assert database.execute("SELECT count(*) FROM metrics").fetchone()[0] > 0
    keys = {name.lower(): value for name, value in KEYS.items() if "KEY" in name}
    bucket = boto3.resource("s3", endpoint_url=head.s3, **keys).Bucket("cfnsr-mlflow")
    stored = [item.key for item in bucket.objects.all()]
    assert any(name.endswith("model.safetensors") for name in stored)
    assert any(name.endswith("model_card.md") for name in stored)
    for checkout in (first, second):
        assert not (checkout / "mlflow.db").exists()
        assert not (checkout / "mlartifacts").exists()


def test_mlflow_answers_to_its_names_only(head):
    asked = f"{head.mlflow}/api/2.0/mlflow/experiments/search?max_results=1"
    answers = {host: requests.get(asked, headers={"Host": host}, timeout=30).status_code for host in ("head", "evil")}
    assert answers == {"head": 403, "evil": 403}
    assert requests.get(asked, headers={"Host": f"head:{head.mlflow_port}"}, timeout=30).ok


def test_prefect_answers_to_its_names_and_pages_only(head):
    health = f"{head.prefect}/health"
    statuses = {
        host: requests.get(health, headers={"Host": f"{host}:4200"}, timeout=30).status_code
        for host in ("head", "prefect", "evil")
    }
    assert statuses == {"head": 200, "prefect": 200, "evil": 403}
    assert requests.get(health, headers={"Origin": "http://evil:4200"}, timeout=30).status_code == 403
    assert requests.post(f"{head.prefect}/flows/filter", json={}, timeout=30).status_code == 403  # without a token


def test_two_workers_share_a_study_and_one_is_killed_in_mid_trial(head, first, second, pulled):
    def search(checkout: Path):
        shell = ["bash", "-c", f'{ready(checkout)}exec python -c "$0"', SEARCH]  # exec: what is killed is the search
        return running(shell, cwd=checkout, env=environment(checkout))

    def in_a_trial(checkout: Path) -> bool:
        return bool(list((checkout / "runs").glob("sample-tune-*/fold-0/*/last.ckpt")))

    with search(first) as killed, search(second) as left:
        wait_for(killed, lambda: in_a_trial(first))
        kill(killed)
        said = left.communicate(timeout=600)[0]
    assert left.returncode == 0, said[-3000:]

    (name,) = [path.name for path in (second / "studies").iterdir()]
    assert [path.name for path in (first / "studies").iterdir()] == [name]
    trials = optuna.load_study(study_name=name, storage=head.postgres.url("optuna")).trials
    states = Counter(trial.state for trial in trials)
    finished = [trial for trial in trials if trial.state in (TrialState.COMPLETE, TrialState.PRUNED)]
    assert states[TrialState.FAIL] == 1
    assert len(finished) == TUNE["trials"] == len(trials) - 1  # none lost, none that nobody asked for
    assert len({trial.params["train.fusion.lr"] for trial in finished}) == TUNE["trials"]  # none twice
    (lost,) = [trial for trial in trials if trial.state == TrialState.FAIL]
    assert lost.params in [trial.params for trial in finished]

    client = mlflow.MlflowClient(head.mlflow)
    runs = client.search_runs([client.get_experiment_by_name("cfn-sr").experiment_id])
    assert sum(run.info.run_name == f"search {name}" for run in runs) == 1
    assert len(client.search_model_versions("name = 'cfn-sr'")) == 2  # the first machine's, and the best of the search


def test_the_pools_of_the_compose_file_and_of_kubernetes_take_the_deployments(head, set_up):
    script = head.service("deployments")["command"][-1].replace("$$", "$")  # Compose's way to write a $
    on(set_up, f"export CFNSR_ROOT=/cfnsr\n{script}")  # as in the image
    assert pools(head) == {"local": ("process", None), "gpu": ("process", None)}
    # Each worker's own checkout, not that of who has deployed.
    assert {str(deployment["pull_steps"]) for deployment in deployments(head)} == {str(PULL)}
    on(set_up, POOL)
    assert pools(head) == {"local": ("process", None), "gpu": ("kubernetes", 4)}
    assert Counter(deployment["work_pool_name"] for deployment in deployments(head)) == {"local": 3, "gpu": 2}


def deployments(head: Head) -> list[dict]:
    return ask_prefect(head.prefect, "deployments")


def pools(head: Head) -> dict[str, tuple[str, int | None]]:
    found = ask_prefect(head.prefect, "work_pools")
    return {pool["name"]: (pool["type"], pool["concurrency_limit"]) for pool in found}


def test_the_page_says_when_a_worker_counts_as_killed():
    assert f"after {3 * study.HEARTBEAT} s without a heartbeat" in TEXT


def test_every_command_of_the_page_is_run_here_or_named_elsewhere():
    commands = [line for blocks in DOC.values() for block in blocks for line in block.splitlines() if line]
    here = [line for block in (DOC["The servers"][0], SETUP, FIRST, SECOND, POOL) for line in block.splitlines()]
    assert Counter(commands) == Counter([*here, *ELSEWHERE])
