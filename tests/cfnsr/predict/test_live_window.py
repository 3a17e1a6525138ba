"""The camera's window, on a real X server without a screen."""

import os
import shutil
import subprocess
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest
from helpers import live_window_scenes

from cfnsr.errors import ClipError
from cfnsr.predict.show.palette import colour

pytest.importorskip("tkinter", reason="Python came without Tk")
pytestmark = pytest.mark.skipif(shutil.which("Xvfb") is None, reason="Xvfb is not installed")


@pytest.fixture
def play():
    """Runs a scene beside an X server of its own."""
    reading, writing = os.pipe()
    command = ["Xvfb", "-displayfd", str(writing), "-screen", "0", "800x800x24", "-nolisten", "tcp"]
    server = subprocess.Popen(command, pass_fds=[writing], stderr=subprocess.DEVNULL)
    os.close(writing)
    try:
        with os.fdopen(reading) as number:
            display = f":{number.readline().strip()}"
        with ProcessPoolExecutor(1, get_context("spawn")) as process:
            yield lambda scene: process.submit(scene, display).result(timeout=120)
    finally:
        server.terminate()
        server.wait(60)


def pixels_of(screen, emotion):
    """(n, 2): columns and rows that have exactly the emotion's colour."""
    hue = colour(emotion)
    wanted = [int(hue[at : at + 2], 16) for at in (1, 3, 5)]
    return np.argwhere((screen == wanted).all(axis=2))[:, ::-1]


def test_picture_face_and_bars(play):
    screen = play(live_window_scenes.drawn)
    assert screen[240, 100] == pytest.approx(live_window_scenes.GREY, abs=8)  # 320 x 240 shown as 640 x 480
    angry, calm = (pixels_of(screen, emotion) for emotion in ("angry", "calm"))
    frame = angry[angry[:, 1] < 480]
    assert frame.min(axis=0).tolist() == pytest.approx([200, 100], abs=2)
    assert frame.max(axis=0).tolist() == pytest.approx([360, 260], abs=2)
    bars = [np.ptp(each[each[:, 1] > 480][:, 0]) for each in (angry, calm)]
    assert bars[0] / bars[1] == pytest.approx(3, abs=0.1)
    assert np.ptp(pixels_of(screen, "happy")[:, 0]) == 0  # a line where the bar begins


def test_it_shows_pictures_until_they_end_and_tells_every_moment(play):
    told, is_open = play(live_window_scenes.watched)
    assert [moment.answer.emotion for moment in told] == ["sad", "happy"]
    assert not is_open


def test_an_error_of_the_camera_is_the_callers(play):
    with pytest.raises(ClipError, match="the camera went away"):
        play(live_window_scenes.broken)


def test_whoever_closes_it_ends_the_camera(play):
    assert "answer" not in play(live_window_scenes.closed)
