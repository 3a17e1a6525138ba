"""A copy of the project as git knows it, to work in as a newcomer does."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import yaml
from helpers.feature_files import PROFILE
from helpers.paths import PROJECT

AUTHOR = "-c user.name=newcomer -c user.email=newcomer@example.org"
"""Options of git, for a machine on which nobody has set them."""


def copy_project(folder: Path) -> Path:
    """The tracked files, committed again, with this environment as .venv."""
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=PROJECT, capture_output=True, check=True).stdout
    for name in tracked.decode().split("\0"):
        if name and (PROJECT / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(PROJECT / name, folder / name)
    (folder / ".venv").symlink_to(sys.prefix)
    assert run(folder, f"git init -q && git add -A && git {AUTHOR} commit -qm start").returncode == 0
    return folder


def make_small(folder: Path) -> None:
    """Let the copy's profile `sample` be one whose stages take seconds."""
    content = yaml.safe_load((folder / "params.yaml").read_text())
    dataset = {**PROFILE["dataset"], "sample": {"seconds": 1.2, "width": 160, "height": 128}}
    content["sample"] = {**PROFILE, "dataset": dataset, "manifest": {"max_bad_share": 0.05}}
    (folder / "params.yaml").write_text(yaml.safe_dump(content))


UMASK = 0o077


def environment(project: Path) -> dict[str, str]:
    """With the project's .venv activated, as `source .venv/bin/activate` does it, by a user with other habits.

    The locale is `C`, the home directory does not exist, and Python writes byte code. Programs are also started with
    the file creation mask `UMASK`.
    """
    variables = {**os.environ, "PATH": f"{project / '.venv/bin'}{os.pathsep}{os.environ['PATH']}"}
    variables["PREFECT_HOME"] = str(project.with_name("prefect"))  # not the one that the user's other projects share
    variables |= {"HOME": str(project.with_name("home")), "LC_ALL": "C"}
    for name in ("MLFLOW_TRACKING_URI", "PYTHONPATH", "PYTHONDONTWRITEBYTECODE", "PYTHONUTF8"):
        variables.pop(name, None)
    return variables


def run(project: Path, command: str, timeout: float = 900) -> subprocess.CompletedProcess[str]:
    """A shell command in the project, to its end; if that does not come, nothing of it is left running."""
    with subprocess.Popen(
        ["bash", "-c", command],
        cwd=project,
        env=environment(project),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        start_new_session=True,
        umask=UMASK,
    ) as process:
        try:
            stdout, stderr = process.communicate(timeout=timeout)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)
