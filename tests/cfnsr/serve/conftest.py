"""A server of the web page and a browser, for the tests of one file."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.chromium import launcher
from helpers.page_visits import DEADLINE, DESKTOP, MEGABYTES, SECONDS, served
from helpers.running_programs import free_ports
from helpers.small_models import write_model
from helpers.talking_files import write_talk
from playwright.sync_api import Browser, Page, sync_playwright


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    """A model and clips good and bad."""
    home = tmp_path_factory.mktemp("home")
    write_model(home / "model.safetensors")
    write_talk(home / "talk.mp4", 4.0)
    write_talk(home / "a short talk.mp4", 1.6)
    write_talk(home / "camera.mjpeg", 2.0, video="mjpeg", pix_fmt="yuvj420p", audio=None)
    write_talk(home / "microphone.wav", 2.0, video=None, audio="pcm_s16le")
    write_talk(home / "long.mp4", SECONDS + 2)
    (home / "large.mp4").write_bytes(bytes(MEGABYTES * 1_000_000 + 1))
    return home


@pytest.fixture(scope="module")
def temporary(tmp_path_factory) -> Path:
    """Where the server keeps uploads."""
    return tmp_path_factory.mktemp("temporary")


@pytest.fixture(scope="module")
def url(home, temporary) -> Iterator[str]:
    (port,) = free_ports(1)
    with served(home, temporary, port):
        yield f"http://127.0.0.1:{port}"


@pytest.fixture(scope="module")
def browser(home) -> Iterator[Browser]:
    """With a camera and a microphone that play these files without asking for permission."""
    devices = [
        "--use-fake-device-for-media-stream",
        "--use-fake-ui-for-media-stream",
        f"--use-file-for-fake-video-capture={home}/camera.mjpeg",
        f"--use-file-for-fake-audio-capture={home}/microphone.wav",
    ]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=launcher(home), args=["--no-sandbox", *devices])
        yield browser
        browser.close()


@pytest.fixture
def visit(browser, url):
    """Opens the page in a window of the given size. The page must not load anything from other servers."""
    contexts = []
    asked, failed = [], []

    def open_page(size: tuple[int, int] = DESKTOP) -> Page:
        contexts.append(browser.new_context(viewport={"width": size[0], "height": size[1]}))
        contexts[-1].on("request", lambda request: asked.append(request.url))
        contexts[-1].on("response", lambda response: failed.append(response.url) if response.status >= 400 else None)
        page = contexts[-1].new_page()
        page.set_default_timeout(DEADLINE)
        page.goto(url)
        page.get_by_text("Upload or record a video").wait_for()
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert [address for address in asked if not address.startswith((url, "blob:", "data:"))] == []
    assert failed == []
