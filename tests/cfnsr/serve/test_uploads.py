"""When the clips that visitors upload are deleted, and that they never outlive their server for long."""

import asyncio
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

from cfnsr.serve.uploads import Uploads

GRACE = 0.6  # s
SERVER = """
import time
from cfnsr.serve.uploads import Uploads
with Uploads.in_temporary_folder() as uploads:
    (uploads.folder / "clip.mp4").touch()
    print(uploads.folder, flush=True)
    time.sleep(600)
"""


@pytest.fixture
def folder(tmp_path) -> Path:
    """Where the server stores one content."""
    return tmp_path / "content"


def upload(folder: Path, name: str = "talk.mp4") -> Path:
    """Store a clip as the server does: by moving it, which keeps its time of modification."""
    source = folder.parent / "upload"
    source.touch()
    folder.mkdir(exist_ok=True)
    return source.rename(folder / name)


async def deleted(folder: Path) -> None:
    async with asyncio.timeout(30):
        while folder.exists():
            await asyncio.sleep(0.02)


def test_a_clip_is_deleted_when_its_last_visitor_leaves(folder):
    async def visit() -> None:
        uploads, clip = Uploads(folder.parent, GRACE), upload(folder)
        uploads.open("first", clip)
        uploads.open("second", clip)
        uploads.close("first")
        await asyncio.sleep(2 * GRACE)
        assert clip.exists()
        uploads.close("second")
        assert not folder.exists()  # at once, because it was uploaded long ago

    asyncio.run(visit())


def test_the_same_content_under_another_name_is_kept(folder):
    async def visit() -> None:
        uploads = Uploads(folder.parent, GRACE)
        uploads.open("first", upload(folder))
        uploads.open("second", upload(folder, "renamed.mp4"))
        await asyncio.sleep(2 * GRACE)
        uploads.close("first")
        assert (folder / "renamed.mp4").exists()
        uploads.close("second")
        assert not folder.exists()

    asyncio.run(visit())


def test_a_new_clip_replaces_the_previous_one(folder, tmp_path):
    async def visit() -> None:
        uploads = Uploads(folder.parent, GRACE)
        uploads.open("first", upload(folder))
        second = upload(tmp_path / "other")
        uploads.open("first", second)
        await deleted(folder)
        assert second.exists()

    asyncio.run(visit())


def test_a_clip_is_kept_while_it_is_processed(folder):
    async def visit() -> None:
        uploads, clip = Uploads(folder.parent, GRACE), upload(folder)
        uploads.open("first", clip)
        with uploads.keep(clip):
            uploads.close("first")
            await asyncio.sleep(2 * GRACE)
            assert clip.exists()
        assert not folder.exists()

    asyncio.run(visit())


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
    with Uploads.in_temporary_folder() as uploads:
        (uploads.folder / "content").mkdir()
        (uploads.folder / "content" / "clip.mp4").touch()
        assert [uploads.folder] == list(temporary.iterdir())
    assert list(temporary.iterdir()) == []


def test_the_next_server_removes_the_folder_of_a_killed_one_but_not_of_a_running_one(temporary):
    with server(temporary) as (killed, left), server(temporary) as (_, living):
        kill(killed)
        assert (left / "clip.mp4").exists()
        with Uploads.in_temporary_folder() as uploads:
            assert sorted(temporary.iterdir()) == sorted([uploads.folder, living])
            assert (living / "clip.mp4").exists()
        assert list(temporary.iterdir()) == [living]
