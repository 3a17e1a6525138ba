import numpy as np
import pytest
from helpers.pictures import picture
from helpers.video_files import background, draw_face, face_frames

from cfnsr.errors import ClipError
from cfnsr.features.faces.detect import HaarDetector
from cfnsr.features.faces.track import BoxSource, interpolate, track_one_face

DETECTED, INTERPOLATED, NOT_FOUND = BoxSource.DETECTED, BoxSource.INTERPOLATED, BoxSource.NOT_FOUND


class Counting(HaarDetector):
    """The real detector, counting the pictures that it searches as a whole and in part."""

    def __init__(self):
        super().__init__()
        self.whole = self.part = 0

    def __call__(self, picture, near=None):
        self.whole += near is None
        self.part += near is not None
        return super().__call__(picture, near)


def centers(boxes):
    return boxes[:, :2] + boxes[:, 2:] / 2


def test_moving_face_is_followed_with_few_detections():
    path = [(100 + 4 * number, 110 + number) for number in range(21)]
    pictures = [picture(image) for image in face_frames(path)]
    detect = Counting()
    track = track_one_face(pictures, detect, detections=5)
    assert (detect.whole, detect.part) == (1, 4)
    assert track.boxes.shape == (21, 4)
    assert track.boxes.dtype == np.float32
    assert [number for number, flag in enumerate(track.flags) if flag is DETECTED] == [0, 5, 10, 15, 20]
    assert set(track.flags) == {DETECTED, INTERPOLATED}
    assert np.abs(centers(track.boxes) - path).max() < 10
    assert np.abs(np.diff(track.boxes, axis=0)).max() < 6  # no jumps


def test_face_seen_in_the_middle_only():
    wall = picture(background(320, 240))
    (face,) = (picture(image) for image in face_frames([(160, 120)]))
    track = track_one_face([wall] * 4 + [face] + [wall] * 4, HaarDetector(), detections=5)  # detections at 0 2 4 6 8
    expected = [NOT_FOUND] * 3 + [INTERPOLATED, DETECTED, INTERPOLATED] + [NOT_FOUND] * 3
    assert list(track.flags) == expected
    assert np.ptp(track.boxes, axis=0).max() == 0


def test_more_frames_are_tried_before_giving_up():
    wall = picture(background(320, 240))
    (face,) = (picture(image) for image in face_frames([(160, 120)]))
    track = track_one_face(
        [wall, face, face, wall, wall, wall, wall, wall, wall], HaarDetector(), detections=3
    )  # 0 4 8
    assert track.flags[1:3] == (DETECTED, DETECTED)
    assert set(track.flags[3:]) | {track.flags[0]} == {NOT_FOUND}


def test_the_face_seen_most_often_wins_over_a_larger_visitor():
    pictures = []
    for number in range(9):
        image = background(640, 360)
        draw_face(image, (150, 180), 130)
        if number == 0:
            draw_face(image, (480, 180), 200)
        pictures.append(picture(image))
    track = track_one_face(pictures, HaarDetector(), detections=5)
    assert np.abs(centers(track.boxes) - (150, 180)).max() < 12
    assert track.flags[0] is NOT_FOUND  # another face was detected there


def test_no_face_anywhere():
    with pytest.raises(ClipError, match="no face found in any frame"):
        track_one_face([picture(background(320, 240))] * 8, HaarDetector(), detections=3)


def test_interpolation_smooths_jitter_and_keeps_straight_lines():
    line = np.linspace(0, 40, 5)[:, None] * np.ones((1, 4), np.float32)
    between = interpolate(np.arange(9), np.arange(0, 9, 2), line.astype(np.float32))
    assert between[:, 0] == pytest.approx(np.linspace(0, 40, 9))
    jitter = np.array([[10], [12], [10], [12], [10]], np.float32) * np.ones((1, 4), np.float32)
    assert interpolate(np.arange(5), np.arange(5), jitter)[1:-1] == pytest.approx(11)
