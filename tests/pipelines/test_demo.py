"""What the README promises, done as a newcomer does it: a fresh copy of the project, its commands, the sample corpus.

One run serves all of this module. It trains one fold of the demo's three; `test_whole_demo.py` trains all.
"""

import base64
import json
import os
import re
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from urllib.parse import unquote

import mlflow
import pandas as pd
import pytest
import requests
from helpers.paths import PROJECT
from helpers.project_copy import AUTHOR, UMASK, copy_project, environment, run
from helpers.running_programs import free_ports, wait_for_page

from cfnsr.corpus.ravdess import EMOTIONS

CLIP = "data/sample/raw/Actor_01/01-01-03-02-01-01-01.mp4"
# What a newcomer waits for takes minutes, and several times as long on a busy machine.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(2400)]


def start(project: Path, command: str) -> subprocess.Popen[bytes]:
    """A shell command in the project, in a process group of its own and left to itself."""
    return subprocess.Popen(
        ["bash", "-c", command],
        cwd=project,
        env=environment(project),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        umask=UMASK,
    )


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """A copy of the project's files as git knows them, with this environment as its .venv."""
    folder = copy_project(tmp_path_factory.mktemp("newcomer") / "mein prôjekt")
    params = folder / "params.yaml"
    params.write_text(params.read_text().replace("folds: 3", "folds: 1"))
    assert run(folder, f"git {AUTHOR} commit --all --quiet --message 'one fold'").returncode == 0
    return folder


@pytest.fixture(scope="module")
def demo(project) -> subprocess.CompletedProcess[str]:
    """`make demo`, killed once in the middle of the faces and started again, as if the laptop had been shut."""
    make = "make -o .venv/.installed demo"
    killed = start(project, make)
    faces, deadline = project / "data/sample/faces", time.monotonic() + 600
    try:
        while not list(faces.glob("*.parquet")):
            assert killed.poll() is None, "make demo ended before it had cut any face"
            assert time.monotonic() < deadline, "make demo has not cut any face"
            time.sleep(0.1)
    finally:
        kill_all(killed)
    finished = {path.name: path.stat().st_mtime_ns for path in faces.glob("*.parquet")}
    done = run(project, make, timeout=1500)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert {name: (faces / name).stat().st_mtime_ns for name in finished} == finished  # not cut again
    return done


def kill_all(process: subprocess.Popen[bytes]) -> None:
    """SIGKILL a process and all that it started, and wait until they are gone: DVC takes a living one for a rival."""
    with suppress(ProcessLookupError):  # it has ended by itself
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    raise AssertionError("processes survived SIGKILL")


def test_the_demo_says_what_it_made_and_where(demo):
    for part in ("synthetic sample corpus", "cfn-sr version 1", "challenger", "metrics/sample.json", "mlflow ui"):
        assert part in demo.stdout


def test_fusion_tells_apart_what_neither_face_nor_voice_can(project, demo):
    """The corpus gives each modality half of the emotion: 16 of 30 takes, 53 %, is the most that one of them allows."""
    figures = json.loads((project / "metrics/sample.json").read_text())
    assert figures["clips"] == 4 * 30
    assert figures["pooled"]["accuracy"] >= 0.8
    for encoder in ("audio", "video"):
        assert 0.3 < figures["encoders"][encoder]["pooled"]["accuracy"] <= 0.65


def test_a_second_repro_does_nothing(project, demo):
    assert run(project, 'python -c "from cfnsr import Predictor"').returncode == 0  # writes byte code
    assert list((project / "cfnsr").rglob("*.pyc"))
    done = run(project, "dvc repro")
    assert done.returncode == 0
    assert "Data and pipelines are up to date." in done.stdout
    assert "Running stage" not in done.stdout
    assert run(project, "git status --porcelain").stdout.split("\n") == ["A  dvc.lock", ""]


def test_dvc_shows_figures_and_plots(project, demo):
    assert "accuracy" in run(project, "dvc metrics show").stdout
    done = run(project, "dvc plots show")
    page = Path(unquote(done.stdout.strip().removeprefix("file://")))
    assert "Accuracy on the selection speakers by epoch" in page.read_text()
    for name in ("curves.png", "confusion.png"):
        assert any(name in str(path) for path in page.parent.rglob("*.png"))


def test_predict_uses_the_registered_model(project, demo):
    done = run(project, f"cfnsr predict {CLIP} --model models:/cfn-sr@challenger --json")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["emotion"] in EMOTIONS
    assert set(answer["probabilities"]) == set(EMOTIONS)
    assert sum(answer["probabilities"].values()) == pytest.approx(1, abs=1e-5)


def test_the_champion_is_whoever_has_the_alias(project, demo):
    """Nobody has it yet; a person gives it in the MLflow UI, and prediction follows at once."""
    missing = run(project, f"cfnsr predict {CLIP}")
    assert missing.returncode == 2
    assert "models:/cfn-sr@champion is not in the registry" in missing.stderr
    assert "Traceback" not in missing.stderr
    client = mlflow.MlflowClient(f"sqlite:///{project}/mlflow.db")
    client.set_registered_model_alias("cfn-sr", "champion", "1")
    try:
        assert run(project, f"cfnsr predict {CLIP}").returncode == 0
    finally:
        client.delete_registered_model_alias("cfn-sr", "champion")


def test_the_registered_pyfunc_takes_paths_and_contents(project, demo, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{project}/mlflow.db")
    monkeypatch.setenv("CFNSR_PATHS_BELOW", str(project))
    model = mlflow.pyfunc.load_model("models:/cfn-sr@challenger")
    clip, text = project / CLIP, project / "text.mp4"
    text.write_text("not a film")
    answers = model.predict(pd.DataFrame({"path": [str(clip), str(text), str(project / "missing.mp4")]}))
    assert answers["emotion"].tolist()[0] in EMOTIONS
    assert answers["error"].tolist()[0] == ""
    assert "not a media file" in answers["error"][1]
    assert "missing" in answers["error"][2]
    content = base64.b64encode(clip.read_bytes()).decode()
    by_content = model.predict(pd.DataFrame({"content": [content, "not base64!", ""]}))
    assert by_content["confidence"][0] == pytest.approx(answers["confidence"][0])
    assert by_content["error"][1] == "`content` is not base64"
    assert "needs one of `path`" in by_content["error"][2]
    text.unlink()


PAGES = (
    "README.md",
    *(f"docs/{name}.md" for name in ("use", "export", "train", "corpora", "evaluate", "serve", "team")),
)


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (PROJECT / page).read_text(), flags=re.DOTALL)


# Commands that this module runs in another form, or that never end by themselves.
ELSEWHERE = {
    "make demo": "the demo fixture",
    "make test": "what runs this test",
    "source .venv/bin/activate": "run() does it",
    "mlflow ui --backend-store-uri sqlite:///mlflow.db": "test_the_mlflow_ui_opens",
    "pip install -r requirements-dev.txt": "this environment has them",
    "cfnsr serve": "tests/cfnsr/serve/test_page.py",
    "make up": "test_services.py, on free ports",
    "make status": "test_services.py",
    "prefect deployment run train-cfnsr/local --param profile=sample --watch": "test_services.py",
    """prefect deployment run train-cfnsr/local --param 'overrides={"train.fusion.lr": 0.002}' --watch""": "the same",
    "prefect deployment run tune-cfnsr/local --param trials=12 --watch": "test_tune_flow.py, in a process of its own",
    "cfnsr table ~/EMO-DB --names emo-db": "tests/cfnsr/cli/test_table.py",
    "cfnsr table ~/clips --pattern '{speaker}/{label}_*.mp4'": "the same",
    "cfnsr evaluate models:/cfn-sr@champion --table ~/EMO-DB/table.csv --out emo-db": "test_evaluate.py",
    "python -m components.tune": "test_tune.py, on small features",
    "python -m components.promote --version 1": "test_promote.py",
    'python -m components.promote --version 2 --force --reason "the first one was a trial"': "test_promote.py",
    "python -m components.promote --rollback": "test_promote.py",
}
# The REST server and its clients: tests/components/registered/test_pyfunc.py.
REST = ("python -m components.registered.serve", "CLIP=", "echo '{")


def test_every_command_of_the_documentation_runs(project, demo):
    lines = [line for page in PAGES for block in blocks(page, "bash") for line in block.splitlines() if line]
    commands = list(dict.fromkeys(lines))
    assert set(ELSEWHERE) <= set(commands)
    for command in commands:
        if command not in ELSEWHERE and not command.startswith(REST):
            done = run(project, command)
            assert done.returncode == 0, f"{command}: {done.stderr[-2000:]}"


def test_the_python_of_the_readme_runs(project, demo):
    (code,) = blocks("README.md", "python")
    (project / "readme.py").write_text(code)
    done = run(project, "python readme.py && rm readme.py")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[0] in EMOTIONS


def test_the_mlflow_ui_opens(project, demo):
    (port,) = free_ports(1)
    server = start(project, f"exec mlflow ui --backend-store-uri sqlite:///mlflow.db --port {port}")
    try:
        wait_for_page(server, f"http://127.0.0.1:{port}", lambda: "the MLflow UI ended")
        found = requests.get(
            f"http://127.0.0.1:{port}/api/2.0/mlflow/registered-models/get",
            params={"name": "cfn-sr"},
            timeout=30,
        )
        assert found.json()["registered_model"]["aliases"] == [{"alias": "challenger", "version": "1"}]
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(timeout=60)
