from __future__ import annotations

import cv2
import numpy as np
import pytest

from cfnsr.corpus.ravdess import ACTORS
from cfnsr.corpus.sample.face import render_face
from cfnsr.corpus.sample.plan import takes_of
from cfnsr.corpus.sample.speech import articulate

SEED = 7
CASCADE = cv2.CascadeClassifier(cv2.data.haarcascades + "haarcascade_frontalface_default.xml")


def test_same_seed_same_pixels_and_nothing_else() -> None:
    take, other = takes_of(3, 2)[-2:]  # two repetitions of the same words and emotion
    frames = render_face(take, SEED, 160, 128, 10, 1.0)
    assert frames.shape == (10, 128, 160, 3)
    assert frames.dtype == np.uint8
    render_face(other, SEED, 160, 128, 10, 1.0)
    assert np.array_equal(frames, render_face(take, SEED, 160, 128, 10, 1.0))
    for different in (
        render_face(other, SEED, 160, 128, 10, 1.0),
        render_face(take, SEED + 1, 160, 128, 10, 1.0),
        render_face(takes_of(4, 2)[-2], SEED, 160, 128, 10, 1.0),
    ):
        assert np.abs(frames.astype(int) - different).mean() > 2


@pytest.mark.parametrize(("width", "height"), [(160, 480), (640, 128)])
def test_unusual_proportions(width: int, height: int) -> None:
    frames = render_face(takes_of(1, 1)[0], SEED, width, height, 5, 1.0)
    assert frames.shape == (5, height, width, 3)
    assert find_face(frames[2]) is not None


def test_lips_follow_the_speech() -> None:
    take = takes_of(2, 1)[0]
    fps, seconds = 25, 2.0
    frames = render_face(take, SEED, 320, 240, fps, seconds).astype(float)
    opening = articulate(take, SEED, seconds, np.arange(len(frames)) / fps).opening
    closed = frames[opening == 0].mean(axis=0)
    mouth = np.abs(frames - closed)[:, 145:180, 135:185].mean(axis=(1, 2, 3))
    assert mouth[opening > 0.5].mean() > 2 * mouth[opening == 0].mean()


@pytest.mark.slow
def test_the_detector_finds_the_face_of_every_actor_in_99_of_100_frames() -> None:
    found = [
        find_face(frame) is not None
        for actor in ACTORS
        for take in takes_of(actor, 1)[actor % 3 :: 3]
        for frame in render_face(take, SEED, 320, 240, 1, 2.0)
    ]
    assert len(found) == 480
    assert np.mean(found) >= 0.99


def find_face(frame: np.ndarray) -> np.ndarray | None:
    boxes = CASCADE.detectMultiScale(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), 1.1, 5, minSize=(48, 48))
    width = frame.shape[1]
    middle = [box for box in boxes if abs(box[0] + box[2] / 2 - width / 2) < 0.1 * width]
    return middle[0] if middle else None
