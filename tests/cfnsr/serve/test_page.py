"""The web page in a real browser, as a visitor uses it."""

import csv
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests
from helpers.chromium import CHROMIUM, launcher
from helpers.running_programs import free_ports, kill, running
from helpers.small_models import write_model
from helpers.talking_files import write_talk
from playwright.sync_api import Browser, Page, expect, sync_playwright

from cfnsr.corpus.ravdess import EMOTIONS
from cfnsr.predict.recipe import SYNTHETIC_NOTE

DEADLINE = 120_000  # ms
SECONDS, MEGABYTES = 6, 5
DESKTOP, PHONE = (1280, 900), (390, 844)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium; on Debian: apt-get install chromium"),
]


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


@contextmanager
def served(home: Path, temporary: Path, port: int) -> Iterator[subprocess.Popen[str]]:
    """`cfnsr serve`, once it has printed its address."""
    limits = ["--max-seconds", str(SECONDS), "--max-megabytes", str(MEGABYTES)]
    command = ["serve", "--model", str(home / "model.safetensors"), "--port", str(port), *limits]
    environment = {**os.environ, "TMPDIR": str(temporary), "OMP_NUM_THREADS": "1"}
    with running([sys.executable, "-m", "cfnsr.cli", *command], env=environment) as program:
        line = program.stdout.readline()
        assert f"open http://127.0.0.1:{port} in a browser" in line, line + program.stdout.read()
        yield program


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


def send(page: Page, clip: Path) -> None:
    page.set_input_files("#player input[type=file]", clip)


def answered(page: Page, clip: Path) -> str:
    """Upload a clip and wait for its result. Returns the emotion."""
    send(page, clip)
    expect(page.locator("#answer .name")).to_contain_text(clip.name, timeout=DEADLINE)
    return page.locator("#answer .emotion").inner_text().split()[0]


def kept(folder: Path, pattern: str) -> list[Path]:
    """The files below a folder, while the server may be removing some."""
    while True:
        try:
            return list(folder.rglob(pattern))
        except FileNotFoundError:
            continue


def top(page: Page, selector: str) -> float:
    return page.locator(selector).bounding_box()["y"]


@pytest.mark.parametrize("size", [DESKTOP, PHONE])
def test_a_clip_is_answered(visit, home, size):
    page = visit(size)
    assert answered(page, home / "talk.mp4") in EMOTIONS
    page.locator("#player video").wait_for()
    for emotion in EMOTIONS:
        assert page.locator(f"#details tbody tr:has-text('{emotion}') .bar").count() == 3
    heads = page.locator("#details thead th").all_inner_texts()
    assert heads == ["face and voice", "voice alone", "face alone"]
    assert page.get_by_alt_text("attention over the face").count() == 6
    assert page.locator(".strip img").count() > 1
    assert page.locator(".areas path").count() == len(EMOTIONS)
    order = ("#player", "#over-time", "#csv") if size == DESKTOP else ("#player", "#answer", "#over-time", "#details")
    tops = [top(page, selector) for selector in order]
    assert tops == sorted(tops)
    assert page.evaluate("document.documentElement.scrollWidth") == size[0]  # no horizontal scrolling
    assert page.locator("#ethics footer").inner_text() == SYNTHETIC_NOTE


def test_the_timeline_and_the_player_move_each_other(visit, home):
    page = visit()
    answered(page, home / "talk.mp4")
    player = page.locator("#player video")
    player.wait_for()
    box = page.locator("#over-time .track").bounding_box()
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.wait_for_function("document.querySelector('#player video').currentTime > 1.9")
    assert player.evaluate("video => video.currentTime") == pytest.approx(2.0, abs=0.1)
    page.wait_for_function("parseFloat(document.querySelector('.playhead').style.left) > 45")
    assert page.locator(".playhead").evaluate("line => parseFloat(line.style.left)") == pytest.approx(50, abs=3)


def test_the_timeline_can_be_downloaded(visit, home, tmp_path):
    page = visit()
    emotion = answered(page, home / "a short talk.mp4")
    with page.expect_download() as download:
        page.locator("#csv").click()
    assert download.value.suggested_filename.endswith("timeline.csv")
    download.value.save_as(tmp_path / "timeline.csv")
    with (tmp_path / "timeline.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["emotion"] == emotion
    assert sum(float(row[name]) for name in EMOTIONS) == pytest.approx(1, abs=1e-5)


# Reports when a recording has started.
WATCH_RECORDER = """() => {
  const start = MediaRecorder.prototype.start;
  MediaRecorder.prototype.start = function (...options) {
    this.addEventListener("start", () => { window.recording = true; });
    return start.apply(this, options);
  };
}"""


def test_a_recording_is_answered(visit):
    page = visit()
    page.evaluate(WATCH_RECORDER)
    page.get_by_label("Capture from camera").click()
    page.get_by_text("Click to Access Webcam").click()
    page.get_by_label("start recording").click()
    page.wait_for_function("window.recording")
    page.wait_for_timeout(3000)  # of recording
    page.get_by_label("start recording").click()
    page.locator("#answer .headline").wait_for()
    assert "from face and voice" in page.locator("#answer").inner_text()
    page.wait_for_function("isFinite(document.querySelector('#player video').duration)")


def test_after_an_unusable_clip_the_next_one_works(visit, home):
    page = visit()
    send(page, home / "long.mp4")
    expect(page.get_by_role("alert").locator("p")).to_contain_text("longer than 0:06.0", timeout=DEADLINE)
    assert not page.locator("#csv").is_visible()
    page.get_by_test_id("video").get_by_label("Clear").click()  # an error has a button of that name too
    page.get_by_text("Upload or record a video").wait_for()
    assert answered(page, home / "talk.mp4") in EMOTIONS
    assert page.get_by_role("alert").count() == 0


def test_a_clip_that_is_too_large_is_not_uploaded(visit, url, home, temporary):
    page = visit()
    send(page, home / "large.mp4")
    page.get_by_text("exceed the maximum allowed size").first.wait_for()
    with (home / "large.mp4").open("rb") as file:  # nor past the page
        assert requests.post(f"{url}/gradio_api/upload", files={"files": file}, timeout=60).status_code == 413
    assert not kept(temporary, "large.mp4")


FILE = {"meta": {"_type": "gradio.FileData"}}


def processed(url: str, function: str, *data: object) -> str:
    """What one of the page's functions answers over HTTP."""
    functions = requests.get(f"{url}/config", timeout=60).json()["dependencies"]
    (index,) = (each["id"] for each in functions if each["api_name"] == function)
    call = {"fn_index": index, "session_hash": "stranger", "data": data}
    if not functions[index]["queue"]:
        return requests.post(f"{url}/gradio_api/run/predict", json=call, timeout=60).text
    assert (
        requests.post(f"{url}/gradio_api/run/predict", json=call, timeout=60).status_code == 404
    )  # not past the queue
    assert requests.post(f"{url}/gradio_api/queue/join", json=call, timeout=60).ok
    with requests.get(f"{url}/gradio_api/queue/data?session_hash=stranger", stream=True, timeout=60) as events:
        return next(line for line in events.iter_lines(decode_unicode=True) if '"process_completed"' in line)


def test_clips_can_only_be_uploaded_and_nothing_else_is_deleted(url, temporary):
    """As an attacker asks, without the page."""
    (server,) = temporary.iterdir()
    files = {"files": ("../../talk.mp4", b"not a film")}
    (upload,) = requests.post(f"{url}/gradio_api/upload", files=files, timeout=60).json()
    assert Path(upload).parent.parent == server
    assert "not a media file" in processed(url, "show", {"path": upload, **FILE})
    outside = temporary / "outside.mp4"
    outside.touch()
    for path in (server, Path(upload).parent, f"{upload}/../../../outside.mp4", outside, "/etc/passwd", "talk.mp4"):
        for payload in ({"path": str(path), **FILE}, {"path": str(path), "is_stream": True, **FILE}):
            processed(url, "arrive", payload)
            assert "not a media file" not in processed(url, "show", payload)
            processed(url, "clear")
    # Not fetched.
    assert "was not uploaded" in processed(url, "show", {"path": "http://127.0.0.1:9/talk.mp4", **FILE})
    for payload in ({"url": upload, **FILE}, {"path": upload}, [upload]):
        assert '"success":false' in processed(url, "show", payload).replace(" ", "")
    for path in ("gradio_api/file=http://example.org", "gradio_api/proxy=http://example.org", "openapi.json"):
        assert requests.get(f"{url}/{path}", timeout=60).status_code == 404
    assert requests.get(f"{url}/gradio_api/file={outside}", timeout=60).status_code == 403
    assert (server / ".lock").exists()
    outside.unlink()  # it is still there


def test_other_servers_pages_and_names_are_refused(url):
    port = url.rpartition(":")[2]
    pages = [f"http://127.0.0.1:{port}", "http://localhost:1", "http://elsewhere.example", "null"]
    assert [requests.get(url, headers={"Origin": page}, timeout=60).status_code for page in pages] == [
        200,
        403,
        403,
        403,
    ]
    names = [f"localhost:{port}", "elsewhere.example", "localhost.elsewhere.example"]
    assert [requests.get(url, headers={"Host": name}, timeout=60).status_code for name in names] == [200, 403, 403]


def test_two_visitors_get_their_own_results(visit, home):
    first, second = visit(), visit(PHONE)
    send(first, home / "talk.mp4")
    send(second, home / "a short talk.mp4")
    for page, name in ((first, "talk.mp4"), (second, "a short talk.mp4")):
        expect(page.locator("#answer .name")).to_contain_text(f"{name} ·", timeout=DEADLINE)


@pytest.mark.slow
def test_a_waiting_visitor_keeps_a_clip_that_another_visitor_had_too(visit, home, tmp_path):
    """The server stores identical contents once."""
    clip = write_talk(tmp_path / "sample.mp4", 1.4)
    first, busy, waiting = visit(), visit(), visit()
    answered(first, clip)
    send(busy, home / "talk.mp4")
    send(waiting, clip)
    expect(waiting.locator("#player video")).to_be_visible(timeout=DEADLINE)  # uploaded, but still in the queue
    first.close()
    expect(waiting.locator("#answer .name")).to_contain_text(f"{clip.name} ·", timeout=DEADLINE)


@pytest.mark.slow
def test_a_clip_just_uploaded_is_kept_when_its_other_visitor_leaves(visit, tmp_path):
    """The page reports an upload only some time after it was stored."""
    clip = write_talk(tmp_path / "sample.mp4", 1.5)
    first, second = visit(), visit()
    answered(first, clip)
    held = []
    second.route(re.compile("/gradio_api/(run|queue/join)"), lambda route: held.append(route))
    send(second, shutil.copy(clip, tmp_path / "renamed.mp4"))
    expect(second.locator("#player video")).to_be_visible(timeout=DEADLINE)
    first.close()
    second.wait_for_timeout(3000)
    assert held
    second.unroute_all()  # releases the held requests
    expect(second.locator("#answer .name")).to_contain_text("renamed.mp4 ·", timeout=DEADLINE)


@pytest.mark.slow
@pytest.mark.proof  # waits for a minute
def test_a_clip_is_deleted_when_its_visitor_leaves(visit, home, temporary, tmp_path):
    clip = write_talk(tmp_path / "private.mp4", 1.2)
    page = visit()
    answered(page, clip)
    assert kept(temporary, "private.mp4")
    page.close()
    probe = visit()
    for _ in range(DEADLINE // 200):
        if not kept(temporary, "private*"):
            return
        probe.wait_for_timeout(200)
    raise AssertionError(kept(temporary, "private*"))


@pytest.mark.slow
def test_a_stopped_server_leaves_nothing(home, tmp_path, browser):
    (port,) = free_ports(1)
    with served(home, tmp_path, port) as program:
        page = browser.new_page()
        page.goto(f"http://127.0.0.1:{port}")
        answered(page, home / "talk.mp4")
        assert kept(tmp_path, "talk.mp4")
        program.send_signal(signal.SIGTERM)
        assert program.wait(timeout=60) == 0
        page.close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_the_clips_of_a_killed_server_are_removed_at_the_next_start(home, tmp_path, browser):
    ports = free_ports(2)
    with served(home, tmp_path, ports[0]) as program:
        page = browser.new_page()
        page.goto(f"http://127.0.0.1:{ports[0]}")
        answered(page, home / "talk.mp4")
        page.close()
        kill(program)
    assert list(tmp_path.rglob("talk.mp4"))
    with served(home, tmp_path, ports[1]):
        assert not list(tmp_path.rglob("talk.mp4"))


def refused(*arguments: str, program: tuple[str, ...] = ("-m", "cfnsr.cli")) -> str:
    done = subprocess.run(
        [sys.executable, *program, "serve", *arguments], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


def test_a_port_in_use_is_named(home):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        said = refused("--model", str(home / "model.safetensors"), "--port", port)
    assert f"127.0.0.1:{port} can't be used (Address already in use); choose another --port" in said


def test_without_gradio_the_error_says_how_to_install_it():
    without = "import sys; sys.modules['gradio'] = None; from cfnsr.cli import main; main()"
    assert "pip install -r requirements-dev.txt" in refused(program=("-c", without))
