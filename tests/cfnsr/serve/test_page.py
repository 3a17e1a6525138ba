"""The web page in a real browser, as a visitor uses it."""

import csv
import socket
import subprocess
import sys

import pytest
from helpers.chromium import CHROMIUM
from helpers.page_visits import DEADLINE, DESKTOP, PHONE, answered, send, top
from playwright.sync_api import expect

from cfnsr.corpus.ravdess import EMOTIONS
from cfnsr.predict.recipe import SYNTHETIC_NOTE

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium; on Debian: apt-get install chromium"),
]


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


def test_two_visitors_get_their_own_results(visit, home):
    first, second = visit(), visit(PHONE)
    send(first, home / "talk.mp4")
    send(second, home / "a short talk.mp4")
    for page, name in ((first, "talk.mp4"), (second, "a short talk.mp4")):
        expect(page.locator("#answer .name")).to_contain_text(f"{name} ·", timeout=DEADLINE)


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
