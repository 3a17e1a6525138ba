"""The data stages, started by a flow: their output as it comes, their failure as a sentence."""

import logging
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
import yaml
from helpers.feature_files import write_params
from helpers.paths import PROJECT
from helpers.running_programs import running, wait_for

from cfnsr.config.load import Settings, load_settings
from cfnsr.errors import InputError
from pipelines.data import update_data

logger = logging.getLogger("test")


def project(root: Path, **commands: str) -> Settings:
    """A DVC project whose stages `faces` and `mfcc` are these commands."""
    settings = write_params(root)
    stages = {name: {"cmd": commands.get(name, "true"), "always_changed": True} for name in ("faces", "mfcc")}
    (root / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))
    subprocess.run([sys.executable, "-m", "dvc", "init", "-q", "--no-scm"], cwd=root, check=True)
    return settings


def test_the_output_comes_line_by_line(tmp_path, caplog):
    settings = project(tmp_path, mfcc="python -c \"print('first'); print('bar', end='\\r'); print(); print('last')\"")
    with caplog.at_level(logging.INFO):
        update_data(settings, logger)
    lines = [record.message for record in caplog.records]
    assert [line for line in lines if line in ("first", "bar", "last")] == ["first", "bar", "last"]
    assert "Running stage 'faces':" in lines


def test_progress_bars_do_not_flood_the_log(tmp_path, caplog):
    bar = "python -c \"from tqdm import tqdm; import time; [time.sleep(0.01) for _ in tqdm(range(300), desc='bar')]\""
    with caplog.at_level(logging.INFO):
        update_data(project(tmp_path, mfcc=bar), logger)
    assert 1 <= sum(record.message.startswith("bar") for record in caplog.records) <= 3


def test_a_stage_that_fails_is_told_in_its_own_sentence(tmp_path):
    settings = project(tmp_path, faces="echo 'error: there is no face here.' && exit 2")
    with pytest.raises(InputError, match=r"^the data stages failed: there is no face here\.$"):
        update_data(settings, logger)


def test_flows_that_make_the_same_data_take_turns(tmp_path):
    settings = project(tmp_path, faces="echo started >> started.txt && sleep 2 && echo face > face.txt")
    content = yaml.safe_load((tmp_path / "dvc.yaml").read_text())
    content["stages"]["faces"] = {"cmd": content["stages"]["faces"]["cmd"], "outs": ["face.txt"]}
    (tmp_path / "dvc.yaml").write_text(yaml.safe_dump(content))
    with ThreadPoolExecutor(2) as pool:
        for flow in [pool.submit(update_data, settings, logger) for _ in range(2)]:
            flow.result()
    assert (tmp_path / "started.txt").read_text() == "started\n"


def test_another_profile_than_the_files_runs_its_steps_without_dvc(tmp_path, caplog, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(PROJECT))  # the steps run in a folder that is no checkout
    settings = project(tmp_path)
    content = yaml.safe_load(settings.params_file.read_text())
    content["other"] = {**content["small"], "dataset": {"source": "local", "path": "nowhere"}}
    settings.params_file.write_text(yaml.safe_dump(content))
    with caplog.at_level(logging.INFO), pytest.raises(InputError, match=r"the data stages failed: .*nowhere"):
        update_data(load_settings(settings.params_file, "other"), logger)
    assert "so the stages of other run without DVC" in caplog.text


def test_a_stage_does_not_outlive_the_flow_that_was_interrupted(tmp_path):
    project(tmp_path, faces="python -c \"import os, time; open('pid', 'w').write(str(os.getpid())); time.sleep(600)\"")
    code = (
        "import logging; from cfnsr.config.load import load_settings; from pipelines.data import update_data;"
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
