"""When the web page deletes what its visitors sent."""

import asyncio
import shutil
import time
from pathlib import Path

import pytest

from cfnsr.serve.uploads import Clips

GRACE = 0.6  # s


@pytest.fixture
def folder(tmp_path) -> Path:
    """Where one content is kept."""
    return tmp_path / "content"


def sent(folder: Path, name: str = "talk.mp4") -> Path:
    """What the server does when a clip arrives: it is moved to its place, however old it is."""
    upload = folder.parent / "upload"
    upload.touch()
    folder.mkdir(exist_ok=True)
    return upload.rename(folder / name)


async def gone(folder: Path) -> None:
    async with asyncio.timeout(30):
        while folder.exists():
            await asyncio.sleep(0.02)


def test_a_clip_is_deleted_when_nobody_has_it(folder):
    async def visit() -> None:
        clips, clip = Clips(GRACE), sent(folder)
        clips.open("first", clip)
        clips.open("second", clip)
        clips.close("first")
        await asyncio.sleep(2 * GRACE)
        assert clip.exists()
        clips.close("second")
        assert not folder.exists()  # at once: it was sent long ago

    asyncio.run(visit())


def test_a_clip_that_was_sent_again_just_before_it_would_go_is_kept(folder):
    async def left_and_sent_again(clips: Clips) -> bool:
        """Whether that was done in time; a busy machine may take longer than the second grace."""
        clips.open("first", sent(folder))
        clips.close("first")
        await asyncio.sleep(0.8 * GRACE)
        clip, put = sent(folder), time.time()  # by another visitor, of whom the page says so only later
        await asyncio.sleep(0.6 * GRACE)
        kept = clip.exists()
        clips.open("second", clip)
        in_time = time.time() - put < GRACE
        assert kept or not in_time
        return in_time

    async def visit() -> None:
        clips, clip = Clips(GRACE), folder / "talk.mp4"
        while not await left_and_sent_again(clips):
            clips.close("second")
        await asyncio.sleep(2 * GRACE)
        assert clip.exists()
        clips.close("second")
        assert not folder.exists()

    asyncio.run(visit())


def test_the_same_content_of_another_name_is_kept(folder):
    async def visit() -> None:
        clips = Clips(GRACE)
        clips.open("first", sent(folder))
        clips.open("second", sent(folder, "renamed.mp4"))
        await asyncio.sleep(2 * GRACE)
        clips.close("first")
        assert (folder / "renamed.mp4").exists()
        clips.close("second")
        assert not folder.exists()

    asyncio.run(visit())


def test_another_clip_takes_the_place_of_the_one_before(folder, tmp_path):
    async def visit() -> None:
        clips = Clips(GRACE)
        clips.open("first", sent(folder))
        second = sent(tmp_path / "other")
        clips.open("first", second)
        await gone(folder)
        assert second.exists()

    asyncio.run(visit())


def test_a_clip_is_kept_while_it_is_worked_on(folder):
    async def visit() -> None:
        clips, clip = Clips(GRACE), sent(folder)
        clips.open("first", clip)
        with clips.kept(clip):
            clips.close("first")
            await asyncio.sleep(2 * GRACE)
            assert clip.exists()
        assert not folder.exists()

    asyncio.run(visit())


def test_what_is_gone_already_is_no_trouble(folder):
    async def visit() -> None:
        clips = Clips(GRACE)
        clips.open("first", sent(folder))
        shutil.rmtree(folder)
        clips.close("first")
        clips.close("first")
        clips.close("somebody else")

    asyncio.run(visit())
