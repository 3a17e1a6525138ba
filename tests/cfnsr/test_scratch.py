"""Temporary folders never outlive their server for long."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from helpers.paths import PROJECT
from helpers.running_programs import kill, running

from cfnsr.scratch import scratch_folder

SERVER = """
import time
from cfnsr.scratch import scratch_folder
with scratch_folder() as folder:
    (folder / "clip.mp4").touch()
    print(folder, flush=True)
    time.sleep(600)
"""


@contextmanager
def server(temporary: Path) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """A process with a clip in its folder."""
    environment = {**os.environ, "TMPDIR": str(temporary)}
    with running([sys.executable, "-c", SERVER], cwd=PROJECT, env=environment) as program:
        folder = Path(program.stdout.readline().strip())
        assert (folder / "clip.mp4").exists()
        yield program, folder


@pytest.fixture
def temporary(tmp_path, monkeypatch) -> Path:
    """The folder for temporary files."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_the_folder_is_removed_at_the_end(temporary):
    with scratch_folder() as folder:
        (folder / "content").mkdir()
        (folder / "content" / "clip.mp4").touch()
        assert [folder] == list(temporary.iterdir())
    assert list(temporary.iterdir()) == []


def test_the_next_server_removes_the_folder_of_a_killed_one_but_not_of_a_running_one(temporary):
    with server(temporary) as (killed, left), server(temporary) as (_, living):
        kill(killed)
        assert (left / "clip.mp4").exists()
        with scratch_folder() as folder:
            assert sorted(temporary.iterdir()) == sorted([folder, living])
            assert (living / "clip.mp4").exists()
        assert list(temporary.iterdir()) == [living]
