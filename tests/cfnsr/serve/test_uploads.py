"""Which files visitors can have open, and when uploads are deleted."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from cfnsr.errors import ClipError
from cfnsr.serve.uploads import Uploads

GRACE = 0.6  # s


@pytest.fixture
def folder(tmp_path) -> Path:
    """Where the server keeps everything."""
    folder = tmp_path / "server"
    folder.mkdir()
    return folder


def store(folder: Path, content: str = "content", name: str = "talk.mp4") -> str:
    """Store an upload as Gradio does: by moving it into the folder of its content. Returns its path."""
    source = folder / "tmp1234"
    source.touch()
    (folder / content).mkdir(exist_ok=True)
    return str(source.rename(folder / content / name))


async def deleted(path: str) -> None:
    async with asyncio.timeout(30):
        while Path(path).exists():
            await asyncio.sleep(0.02)


def test_a_clip_is_deleted_when_its_last_visitor_leaves(folder):
    async def visit() -> None:
        uploads, upload = Uploads(folder, GRACE), store(folder)
        first = uploads.open("first", upload)
        second = uploads.open("second", upload)
        assert first.path.samefile(upload)
        await asyncio.sleep(2 * GRACE)
        uploads.close("first")
        assert not first.folder.exists()
        assert second.path.samefile(upload)
        uploads.close("second")
        assert list(folder.iterdir()) == []  # at once, because it was uploaded long ago

    asyncio.run(visit())


def test_the_same_content_under_another_name_is_kept(folder):
    async def visit() -> None:
        uploads = Uploads(folder, GRACE)
        uploads.open("first", store(folder))
        uploads.open("second", renamed := store(folder, name="renamed.mp4"))
        await asyncio.sleep(2 * GRACE)
        uploads.close("first")
        assert Path(renamed).exists()
        uploads.close("second")
        assert list(folder.iterdir()) == []

    asyncio.run(visit())


def test_a_new_clip_replaces_the_previous_one(folder):
    async def visit() -> None:
        uploads, upload = Uploads(folder, GRACE), store(folder)
        first = uploads.open("first", upload)
        assert uploads.open("first", upload) is first
        second = uploads.open("first", store(folder, "other"))
        assert not first.folder.exists()
        async with uploads.swept():
            await deleted(upload)
        assert second.path.samefile(folder / "other/talk.mp4")

    asyncio.run(visit())


def test_a_clip_is_kept_while_it_is_processed(folder):
    async def visit() -> None:
        uploads = Uploads(folder, GRACE)
        clip = uploads.open("first", store(folder))
        with uploads.keep(clip):
            uploads.close("first")
            await asyncio.sleep(2 * GRACE)
            assert clip.path.samefile(folder / "content/talk.mp4")
        assert list(folder.iterdir()) == []

    asyncio.run(visit())


def test_what_nobody_opens_is_deleted_too(folder):
    async def visit() -> None:
        uploads = Uploads(folder, GRACE)
        (folder / ".lock").touch()
        (folder / "tmp5678").touch()  # of a connection that has broken off
        async with uploads.swept():
            await deleted(store(folder))
        assert list(folder.iterdir()) == [folder / ".lock"]

    asyncio.run(visit())


def link(folder: Path, name: str, target: str) -> str:
    (folder / name).symlink_to(target)
    return str(folder / name)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(lambda folder: str(folder), id="the server's folder"),
        pytest.param(lambda folder: str(folder / "content"), id="the upload's folder"),
        pytest.param(lambda folder: f"{folder}/content/..", id="the server's folder from inside"),
        pytest.param(lambda folder: f"{folder}/../outside.mp4", id="a file beside the server's folder"),
        pytest.param(lambda folder: f"{folder}/content/../../outside.mp4", id="the same from inside"),
        pytest.param(lambda folder: f"{folder}/content/../content/talk.mp4", id="a detour"),
        pytest.param(lambda folder: link(folder, "content/link.mp4", "../../outside.mp4"), id="a link"),
        pytest.param(lambda folder: link(folder, "content/self.mp4", "talk.mp4"), id="a link to the upload"),
        pytest.param(lambda folder: f"{link(folder, 'linked', 'content')}/talk.mp4", id="a linked folder"),
        pytest.param(lambda folder: str(Uploads(folder).open("other", store(folder)).path), id="another visitor's"),
        pytest.param(lambda folder: store(folder, "."), id="an upload that is not complete"),
        pytest.param(lambda folder: "/etc/passwd", id="a file of the system"),
        pytest.param(lambda folder: "server/content/talk.mp4", id="a relative path"),
        pytest.param(lambda folder: "http://127.0.0.1/talk.mp4", id="an address"),
        pytest.param(lambda folder: f"{folder}/content/talk.mp4\0", id="a null character"),
        pytest.param(lambda folder: "", id="nothing"),
        pytest.param(lambda folder: None, id="no path"),
    ],
)
def test_only_an_upload_can_be_opened(folder, name: Callable[[Path], str | None], monkeypatch):
    monkeypatch.chdir(folder.parent)
    (folder.parent / "outside.mp4").touch()
    store(folder)
    named, uploads = name(folder), Uploads(folder, grace=0.0)
    with pytest.raises(ClipError, match="was not uploaded"):
        uploads.open("visitor", named)
    uploads.close("visitor")
    assert Path("server/content/talk.mp4").exists()
    uploads.sweep()
    assert not Path("server/content").exists()
    assert Path("outside.mp4").exists()
