"""The data stages, started by a flow: their output as it comes, their failure as a sentence."""

import json
import logging
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
import yaml
from filelock import FileLock
from helpers.feature_files import write_params
from helpers.paths import PROJECT
from helpers.running_programs import running, wait_for

from cfnsr.config.load import Settings, load_settings
from cfnsr.errors import InputError
from components.dvc_lock import release_dead
from pipelines import data as data_stages
from pipelines.data import update_data

logger = logging.getLogger("test")

PROGRESS = r"""python -c "print('first'); [print('bar', n, end='\r') for n in range(999)]; print(); print('last')" """


def project(root: Path, **commands: str) -> Settings:
    """A DVC project whose stages `faces` and `mfcc` are these commands."""
    settings = write_params(root)
    stages = {name: {"cmd": commands.get(name, "true"), "always_changed": True} for name in ("faces", "mfcc")}
    (root / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))
    subprocess.run([sys.executable, "-m", "dvc", "init", "-q", "--no-scm"], cwd=root, check=True)
    return settings


def test_the_output_comes_line_by_line_and_a_bar_does_not_flood_the_log(tmp_path, caplog):
    settings = project(tmp_path, mfcc=PROGRESS)
    with caplog.at_level(logging.INFO):
        update_data(settings, logger)
    lines = [record.message for record in caplog.records]
    assert [line for line in lines if line in ("first", "last")] == ["first", "last"]
    assert [line for line in lines if line.startswith("bar")] == ["bar 998"]
    assert "Running stage 'faces':" in lines


def test_a_stage_that_fails_is_told_in_its_own_sentence(tmp_path):
    settings = project(tmp_path, faces="echo 'error: there is no face here.' && exit 2")
    with pytest.raises(InputError, match=r"^the data stages failed: there is no face here\.$"):
        update_data(settings, logger)


def test_flows_that_make_the_same_data_wait_for_each_other(tmp_path, caplog, monkeypatch):
    settings = project(tmp_path, faces="echo began >> began.txt && sleep 6 && echo face > face.txt")
    content = yaml.safe_load((tmp_path / "dvc.yaml").read_text())
    content["stages"]["faces"] = {"cmd": content["stages"]["faces"]["cmd"], "outs": ["face.txt"]}
    (tmp_path / "dvc.yaml").write_text(yaml.safe_dump(content))
    monkeypatch.setattr(data_stages, "BUSY_WAIT", 0.5)
    with ThreadPoolExecutor(2) as pool, caplog.at_level(logging.INFO):
        first = pool.submit(update_data, settings, logger)
        while not (tmp_path / "began.txt").exists():
            assert not first.done()
            time.sleep(0.1)
        second = pool.submit(update_data, settings, logger)
        first.result()
        second.result()
    assert "another `dvc` is making this data; waiting for it" in caplog.messages
    assert (tmp_path / "began.txt").read_text() == "began\n"  # made once


@pytest.mark.parametrize("kind", ["write", "read"])
@pytest.mark.parametrize("left", ["another program", "a zombie"])
def test_the_lock_of_a_killed_dvc_holds_nobody_up(tmp_path, caplog, kind, left):
    """Its number belongs to another program now, or nobody has asked how it ended."""
    settings = project(tmp_path, faces="echo face > face.txt")
    content = yaml.safe_load((tmp_path / "dvc.yaml").read_text())
    content["stages"]["faces"]["outs"] = ["face.txt"]
    (tmp_path / "dvc.yaml").write_text(yaml.safe_dump(content))
    lock = tmp_path / ".dvc" / "tmp" / "rwlock"
    lock.parent.mkdir(exist_ok=True)

    def no_wait(record: logging.LogRecord) -> bool:
        assert "waiting for it" not in record.getMessage()  # it would be for ever
        return True

    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3600)"]) as other:
        try:
            if left == "a zombie":
                other.kill()
                os.waitid(os.P_PID, other.pid, os.WEXITED | os.WNOWAIT)
            holder = {"pid": other.pid, "cmd": "/project/.venv/bin/dvc repro"}
            entry = holder if kind == "write" else [holder]
            lock.write_text(json.dumps({"write": {}, "read": {}, kind: {str(tmp_path / "face.txt"): entry}}))
            logger.addFilter(no_wait)
            with caplog.at_level(logging.INFO):
                update_data(settings, logger)
        finally:
            logger.removeFilter(no_wait)
            other.kill()
    assert (tmp_path / "face.txt").exists()
    assert f"a `dvc` that was killed (process {other.pid}) no longer holds the data" in caplog.messages
    assert str(other.pid) not in lock.read_text()


def test_the_lock_of_a_living_dvc_stays(tmp_path):
    project(tmp_path, faces="echo began > began.txt && sleep 3600")
    content = yaml.safe_load((tmp_path / "dvc.yaml").read_text())
    content["stages"]["faces"] = {"cmd": content["stages"]["faces"]["cmd"], "outs": ["face.txt"]}
    (tmp_path / "dvc.yaml").write_text(yaml.safe_dump(content))
    lock = tmp_path / ".dvc" / "tmp" / "rwlock"
    for program in ([sys.executable, "-m", "dvc"], [Path(sys.executable).parent / "dvc"]):
        (tmp_path / "began.txt").unlink(missing_ok=True)
        with running([*program, "repro"], cwd=tmp_path, start_new_session=True) as dvc:
            try:
                wait_for(dvc, (tmp_path / "began.txt").exists)
                before = lock.read_text()
                assert str(dvc.pid) in before
                assert release_dead(tmp_path) == []
                assert lock.read_text() == before
            finally:
                os.killpg(dvc.pid, signal.SIGKILL)


def test_what_dvc_itself_does_not_like_is_told(tmp_path):
    settings = project(tmp_path)
    (tmp_path / "dvc.yaml").write_text("stages: {faces: {cmd: [}}")
    with pytest.raises(InputError, match=r"the data stages failed: .*dvc\.yaml"):
        update_data(settings, logger)


def test_another_profile_than_the_files_runs_its_steps_without_dvc(tmp_path, caplog):
    settings = project(tmp_path)
    content = yaml.safe_load(settings.params_file.read_text())
    content["other"] = {**content["small"], "dataset": {"source": "local", "path": "nowhere"}}
    settings.params_file.write_text(yaml.safe_dump(content))
    with caplog.at_level(logging.INFO), pytest.raises(InputError, match=r"the data stages failed: .*nowhere"):
        update_data(load_settings(settings.params_file, "other"), logger)
    assert "so the stages of other run without DVC" in caplog.text


def test_flows_of_another_profile_than_the_files_take_turns(tmp_path):
    settings = project(tmp_path)
    content = yaml.safe_load(settings.params_file.read_text())
    content["other"] = {**content["small"], "dataset": {"source": "local", "path": "nowhere"}}
    settings.params_file.write_text(yaml.safe_dump(content))
    other = load_settings(settings.params_file, "other")
    (tmp_path / "runs").mkdir()
    with ThreadPoolExecutor(1) as pool, FileLock(tmp_path / "runs" / ".data-other.lock", thread_local=False):
        waiting = pool.submit(update_data, other, logger)
        with pytest.raises(TimeoutError):
            waiting.result(timeout=5)
        (tmp_path / "nowhere").mkdir()  # it looks only when it is its turn
        assert not other.layout.raw.exists()
    with pytest.raises(InputError, match="the data stages failed"):
        waiting.result()


def test_a_stage_does_not_outlive_the_flow_that_was_interrupted(tmp_path):
    project(tmp_path, faces="python -c \"import os, time; open('pid', 'w').write(str(os.getpid())); time.sleep(600)\"")
    code = (
        "import logging; from cfnsr.config.sections import load_settings; from pipelines.data import update_data;"
        "update_data(load_settings(), logging.getLogger())"
    )
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    pid = tmp_path / "pid"
    with running([sys.executable, "-c", code], cwd=tmp_path, env=environment) as flow:
        wait_for(flow, lambda: pid.exists() and bool(pid.read_text()))
        flow.send_signal(2)
        flow.communicate(timeout=120)
    deadline = time.monotonic() + 60  # the stage is ended by a signal, which it may take a moment to follow
    while psutil.pid_exists(int(pid.read_text())):
        assert time.monotonic() < deadline
        time.sleep(0.1)
