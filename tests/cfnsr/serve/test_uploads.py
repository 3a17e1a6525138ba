"""When the clips that visitors upload are deleted, and that they never outlive their server for long."""

import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
import time
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
RESTARTING_SERVER = """
from cfnsr.serve.uploads import Uploads
for _ in range(200):
    with Uploads.in_temporary_folder() as uploads:
        (uploads.folder / 'clip.mp4').write_text('')
        assert (uploads.folder / 'clip.mp4').exists()
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


def test_a_clip_that_is_uploaded_again_just_before_its_deletion_is_kept(folder):
    async def left_and_uploaded_again(uploads: Uploads) -> bool:
        """Return whether it was fast enough; a busy machine may take longer than the grace."""
        uploads.open("first", upload(folder))
        uploads.close("first")
        await asyncio.sleep(0.8 * GRACE)
        clip, stored = upload(folder), time.time()  # by another visitor, whose page reports it only later
        await asyncio.sleep(0.6 * GRACE)
        kept = clip.exists()
        uploads.open("second", clip)
        in_time = time.time() - stored < GRACE
        assert kept or not in_time
        return in_time

    async def visit() -> None:
        uploads, clip = Uploads(folder.parent, GRACE), folder / "talk.mp4"
        while not await left_and_uploaded_again(uploads):
            uploads.close("second")
        await asyncio.sleep(2 * GRACE)
        assert clip.exists()
        uploads.close("second")
        assert not folder.exists()

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


def test_a_clip_that_was_deleted_elsewhere_is_no_error(folder):
    async def visit() -> None:
        uploads = Uploads(folder.parent, GRACE)
        uploads.open("first", upload(folder))
        shutil.rmtree(folder)
        uploads.close("first")
        uploads.close("first")
        uploads.close("somebody else")

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


def test_only_folders_of_the_same_user_are_removed(temporary):
    foreign = temporary / "cfnsr-serve-other"
    foreign.mkdir()
    (foreign / "clip.mp4").touch()
    (temporary / "cfnsr-serve-link").symlink_to(foreign)
    (temporary / "cfnsr-serve-file").touch()
    if os.geteuid() != 0:
        pytest.skip("only root can change the owner of a folder")
    os.chown(foreign, 12345, 12345)
    with Uploads.in_temporary_folder():
        pass
    assert {path.name for path in temporary.iterdir()} == {"cfnsr-serve-other", "cfnsr-serve-link", "cfnsr-serve-file"}
    assert (foreign / "clip.mp4").exists()


def test_servers_that_start_at_the_same_time_keep_their_folders(temporary):
    """A folder gets its lock before it gets the name that other servers look for."""
    environment = {**os.environ, "TMPDIR": str(temporary)}
    command = [sys.executable, "-c", RESTARTING_SERVER]
    servers = [subprocess.Popen(command, cwd=PROJECT, env=environment, stderr=subprocess.PIPE) for _ in range(4)]
    assert [each.communicate()[1].decode() for each in servers] == [""] * 4
    assert list(temporary.iterdir()) == []
