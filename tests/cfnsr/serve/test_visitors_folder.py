"""What visitors sent does not outlive its server for long, however that ends, and never another server's."""

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

from cfnsr.serve.uploads import visitors_folder

SERVER = """
import time
from cfnsr.serve.uploads import visitors_folder
with visitors_folder() as folder:
    (folder / "clip.mp4").touch()
    print(folder, flush=True)
    time.sleep(600)
"""


@contextmanager
def server(temporary: Path) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """A process with a folder and a clip in it."""
    environment = {**os.environ, "TMPDIR": str(temporary)}
    with running([sys.executable, "-c", SERVER], cwd=PROJECT, env=environment) as program:
        folder = Path(program.stdout.readline().strip())
        assert (folder / "clip.mp4").exists()
        yield program, folder


@pytest.fixture(autouse=True)
def temporary(tmp_path, monkeypatch) -> Path:
    """The folder of temporary files."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_it_goes_at_the_end(temporary):
    with visitors_folder() as folder:
        (folder / "content").mkdir()
        (folder / "content" / "clip.mp4").touch()
        assert [folder] == list(temporary.iterdir())
    assert list(temporary.iterdir()) == []


def test_the_next_server_removes_what_a_killed_one_left_and_nothing_of_one_that_lives(temporary):
    with server(temporary) as (killed, left), server(temporary) as (_, living):
        kill(killed)
        assert (left / "clip.mp4").exists()
        with visitors_folder() as own:
            assert sorted(temporary.iterdir()) == sorted([own, living])
            assert (living / "clip.mp4").exists()
        assert list(temporary.iterdir()) == [living]


def test_only_folders_of_the_same_user_are_removed(temporary):
    strange = temporary / "cfnsr-serve-other"
    strange.mkdir()
    (strange / "clip.mp4").touch()
    (temporary / "cfnsr-serve-link").symlink_to(strange)
    (temporary / "cfnsr-serve-file").touch()
    if os.geteuid() != 0:
        pytest.skip("only root can give a folder to somebody else")
    os.chown(strange, 12345, 12345)
    with visitors_folder():
        pass
    assert {path.name for path in temporary.iterdir()} == {"cfnsr-serve-other", "cfnsr-serve-link", "cfnsr-serve-file"}
    assert (strange / "clip.mp4").exists()


def test_servers_that_start_at_once_leave_each_other_alone(temporary):
    """A folder has its lock before it has the name by which it would be found."""
    code = (
        "from cfnsr.serve.uploads import visitors_folder\n"
        "for _ in range(200):\n"
        "    with visitors_folder() as folder:\n"
        "        (folder / 'clip.mp4').write_text('')\n"
        "        assert (folder / 'clip.mp4').exists()\n"
    )
    environment = {**os.environ, "TMPDIR": str(temporary)}
    start = [sys.executable, "-c", code]
    several = [subprocess.Popen(start, cwd=PROJECT, env=environment, stderr=subprocess.PIPE) for _ in range(4)]
    said = [each.communicate()[1].decode() for each in several]
    assert said == [""] * 4
    assert list(temporary.iterdir()) == []
