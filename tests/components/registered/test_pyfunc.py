"""The registered model behind MLflow's own server, asked over HTTP as a stranger would."""

import base64
import json
import os
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
import requests
from helpers.media_files import silence
from helpers.paths import PROJECT
from helpers.registry_versions import registry
from helpers.running_programs import free_ports, running, wait_for_page
from helpers.small_models import small_settings, write_model
from helpers.talking_files import write_talk
from helpers.yunet_files import write_white_block_detector

from cfnsr.config.layout import Layout
from cfnsr.corpus.ravdess import EMOTIONS
from components.register import log_model
from components.tracking.runs import EXPERIMENT

DEADLINE = 180  # s
SECONDS, MEGABYTES, ROWS = 6, 1, 50
PAGE = PROJECT / "docs" / "serve.md"
PORT = "5001"  # on that page
pytestmark = pytest.mark.slow


def page_lines(start: str) -> list[str]:
    return [line for line in PAGE.read_text().splitlines() if line.startswith(start)]


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    """A project whose registry has a champion, with clips in the folder `clips` and one outside of it."""
    root = tmp_path_factory.mktemp("project")
    client = registry(root)
    run = client.create_run(client.get_experiment_by_name(EXPERIMENT).experiment_id).info.run_id
    (root / "card.md").write_text("a model for tests")
    settings = replace(small_settings(), layout=Layout(root, "small"))
    log_model(settings, run, {"weights": write_model(root / "model.safetensors"), "model_card": root / "card.md"})
    client.set_registered_model_alias("cfn-sr", "champion", "1")
    (root / "clips").mkdir()
    write_talk(root / "clips/talk.mp4", 1.6)
    write_talk(root / "clips/long.mp4", SECONDS + 2)
    write_talk(root / "clips/nobody.wav", 1.6, video=None, audio="pcm_s16le", sound=silence(1.6))
    (root / "clips/text.mp4").write_text("not a film")
    (root / "clips/large.mp4").write_bytes(bytes(MEGABYTES * 1_000_000 + 1))
    write_talk(root / "secret.mp4", 1.6)
    (root / "clips/link.mp4").symlink_to(root / "secret.mp4")
    return root


def test_a_network_of_yunets_faces_comes_with_its_detector(tmp_path):
    client = registry(tmp_path)
    run = client.create_run(client.get_experiment_by_name(EXPERIMENT).experiment_id).info.run_id
    (tmp_path / "card.md").write_text("a model for tests")
    detector = write_white_block_detector(tmp_path / "faces.onnx")
    weights = write_model(tmp_path / "model.safetensors", faces={"yunet": str(detector)})
    files = {"weights": weights, "model_card": tmp_path / "card.md", "yunet": detector}
    log_model(replace(small_settings(), layout=Layout(tmp_path, "small")), run, files)
    detector.unlink()
    command = [sys.executable, "-m", "cfnsr.cli", "predict", "talk.mp4", "--model", "models:/cfn-sr/1", "--no-picture"]
    write_talk(tmp_path / "talk.mp4", 1.6)
    environment = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "talk.mp4" in done.stdout


@pytest.fixture(scope="module")
def server(home) -> str:
    """URL of the REST server on a free port, as docs/serve.md starts it."""
    port = str(free_ports(1)[0])
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(PROJECT),
        "MLFLOW_TRACKING_URI": f"sqlite:///{home}/mlflow.db",
        "CFNSR_MAX_SECONDS": str(SECONDS),
        "CFNSR_MAX_MEGABYTES": str(MEGABYTES),
        "CFNSR_MAX_ROWS": str(ROWS),
        "CFNSR_URL_SCHEMES": "http",
    }
    (line,) = page_lines("python -m components.registered.serve")
    command = line.replace(PORT, port)
    url = f"http://127.0.0.1:{port}"
    with running(["bash", "-c", command], cwd=home / "clips", env=environment, start_new_session=True) as program:
        wait_for_page(program, f"{url}/ping", lambda: program.communicate()[0])
        yield url
        # The server is a child of the command.
        os.killpg(program.pid, 9)


def ask(server: str, *rows: dict, **options) -> requests.Response:
    content = {"json": {"dataframe_records": list(rows)}, **options}
    return requests.post(f"{server}/invocations", timeout=DEADLINE, **content)


def test_a_path_and_the_same_file_as_base64_have_the_same_answer(server, home):
    content = base64.b64encode((home / "clips/talk.mp4").read_bytes()).decode()
    answers = [ask(server, row) for row in ({"path": "talk.mp4"}, {"content": content})]
    assert [answer.status_code for answer in answers] == [200, 200]
    first, second = (answer.json()["predictions"][0] for answer in answers)
    assert first == second
    assert first["emotion"] in EMOTIONS
    assert sum(first[emotion] for emotion in EMOTIONS) == pytest.approx(1, abs=1e-5)
    assert first["confidence"] == max(first[emotion] for emotion in EMOTIONS)
    assert first["error"] == ""


def test_curl_asks_as_the_documentation_shows(server, home):
    commands = page_lines("echo '{")
    assert len(commands) == 2
    for command in commands:
        here = command.replace(f"http://127.0.0.1:{PORT}", server)
        done = subprocess.run(
            ["bash", "-c", f"CLIP=talk.mp4\n{here}"], cwd=home / "clips", capture_output=True, text=True, check=True
        )
        (answer,) = json.loads(done.stdout)["predictions"]
        assert answer["emotion"] in EMOTIONS


def test_a_bad_row_among_good_ones_is_a_row_with_its_reason(server):
    answer = ask(server, {"path": "text.mp4"}, {"path": "talk.mp4"}, {"content": "%"}, {"path": "none.mp4"})
    assert answer.status_code == 200
    bad, good, garbage, missing = answer.json()["predictions"]
    assert (good["error"], good["emotion"] in EMOTIONS) == ("", True)
    assert (bad["emotion"], bad["confidence"]) == ("", None)
    assert "not a media file" in bad["error"]
    assert "not base64" in garbage["error"]
    assert "none.mp4 is missing" in missing["error"]


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ({"path": "text.mp4"}, "text.mp4 is damaged or not a media file"),
        ({"path": "nobody.wav"}, "nobody.wav can't be answered"),
        ({"path": "long.mp4"}, "long.mp4 is longer than 0:06.0"),
        ({"path": "large.mp4"}, "up to 1 MB"),
        ({"path": "../secret.mp4"}, "outside the folder"),
        ({"path": "link.mp4"}, "outside the folder"),
        ({"path": "a\0b"}, "`path` is not a path"),
        ({"content": "garbage!"}, "`content` is not base64"),
        ({"content": "A" * 1_400_000}, "up to 1 MB"),
        ({"url": "file:///etc/passwd"}, "only http URLs"),
        ({"url": "http://127.0.0.1:9/talk.mp4"}, "not a public address"),
        ({"url": "http://[::ffff:127.0.0.1]/talk.mp4"}, "not a public address"),
        ({"url": "http://169.254.169.254/latest/meta-data"}, "not a public address"),
        ({"url": "http://"}, "has no host"),
        ({"path": "", "content": ""}, "needs one of `path`"),
        ({"path": "talk.mp4", "content": "AAAA"}, "this one has `path` and `content`"),
        ({"clip": "talk.mp4"}, "no row with one of `path`"),
        ({"path": 7}, "path"),
    ],
)
def test_a_request_without_a_usable_clip_is_answered_with_400_and_a_sentence(server, row, sentence):
    answer = ask(server, row)
    assert answer.status_code == 400
    assert sentence in answer.json()["message"]
    assert "Traceback" not in answer.text


def test_a_request_that_is_too_large_is_not_read(server):
    answer = requests.post(f"{server}/invocations", data=iter([bytes(1_000_000)] * 3), timeout=DEADLINE)
    assert (answer.status_code, "up to 2.3 MB" in answer.text) == (413, True)


def test_other_servers_pages_and_names_are_refused(server):
    for header in ({"Host": "elsewhere.example"}, {"Origin": "http://elsewhere.example"}):
        assert ask(server, {"path": "talk.mp4"}, headers=header).status_code == 403


def test_slow_requests_delay_no_others(server):
    with ExitStack() as stack:
        for _ in range(20):
            slow = stack.enter_context(socket.create_connection(("127.0.0.1", int(server.rpartition(":")[2]))))
            slow.sendall(b"POST /invocations HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n\r\n{")
        assert ask(server, {"path": "talk.mp4"}).ok


def test_a_request_of_too_many_rows_is_refused_before_any_work(server):
    answer = ask(server, *[{"path": "talk.mp4"}] * (ROWS + 1))
    assert answer.status_code == 400
    assert f"the request has {ROWS + 1} rows" in answer.text


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ("{", "application/json"),
        ('{"dataframe_split": {"columns": ["path"], "data": [["talk.mp4", 2]]}}', "application/json"),
        (b"\xff\xfe\x00", "application/json"),
        ("path\nnone.mp4\n", "text/csv"),
    ],
)
def test_a_malformed_body_is_refused(server, body, kind):
    answer = requests.post(f"{server}/invocations", data=body, headers={"Content-Type": kind}, timeout=DEADLINE)
    assert answer.status_code == 400
    assert "Traceback" not in answer.text


def test_requests_side_by_side_have_the_answers_they_have_alone(server):
    alone = ask(server, {"path": "talk.mp4"}).json()
    with ThreadPoolExecutor(4) as clients:
        answers = clients.map(lambda _: ask(server, {"path": "talk.mp4"}).json(), range(8))
        assert all(answer == alone for answer in answers)
