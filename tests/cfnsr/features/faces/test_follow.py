import numpy as np
import pytest
from helpers.pictures import picture
from helpers.video_files import background, draw_face

from cfnsr.features.faces.detect import HaarDetector
from cfnsr.features.faces.follow import DETECTION_INTERVAL, FaceTracker, track_faces

FPS = 10
SMALL, LARGE = 100, 130
LEFT, RIGHT = (170, 180), (470, 180)


class Counting(HaarDetector):
    """The real detector, counting its detections."""

    detections = 0

    def __call__(self, picture, near=None):
        self.detections += 1
        return super().__call__(picture, near)


def film(seconds, who):
    """Pictures of 640 x 360; `who(time)` gives the faces' centres and sizes."""
    for number in range(round(seconds * FPS)):
        image = background(640, 360)
        for centre, size in who(number / FPS):
            draw_face(image, centre, size)
        yield picture(image, number / FPS)


def centre(box):
    return tuple(box[:2] + box[2:] / 2)


def test_every_picture_comes_with_its_faces():
    detect = Counting()
    seen = list(track_faces(film(4, lambda time: [((100 + round(80 * time), 180), SMALL)]), detect))
    assert [round(each.picture.time * FPS) for each in seen] == list(range(40))
    assert {name for each in seen for name in each.boxes} == {1}
    for each in seen:
        assert centre(each.boxes[1]) == pytest.approx((100 + 80 * each.picture.time, 180), abs=10)
    jumps = np.diff([each.boxes[1] for each in seen], axis=0)
    assert np.abs(jumps).max() < 14  # 8 pixels a picture, and no jumps at the detections
    assert detect.detections == pytest.approx(4 / DETECTION_INTERVAL, abs=1)


def test_two_people_who_meet_keep_their_numbers():
    def who(time):
        return [((150 + round(30 * time), 180), LARGE), ((490 - round(30 * time), 180), SMALL)]

    first, *_, last = track_faces(film(4, who), HaarDetector())
    left, right = sorted(first.boxes, key=lambda name: first.boxes[name][0])
    assert left != right
    assert sorted(last.boxes, key=lambda name: last.boxes[name][0]) == [left, right]


def test_somebody_else_in_another_place_gets_a_new_number():
    seen = list(track_faces(film(6, lambda time: [(LEFT if time < 3 else RIGHT, LARGE)]), HaarDetector()))
    assert list(seen[0].boxes) == [1]
    assert list(seen[-1].boxes) == [2]


def test_what_is_seen_only_once_is_no_face():
    seen = list(track_faces(film(3, lambda time: [(LEFT, LARGE)] if time == 1.0 else []), HaarDetector()))
    assert [each.boxes for each in seen] == [{}] * 30


def test_a_face_is_there_only_between_detections():
    seen = list(track_faces(film(4, lambda time: [(LEFT, LARGE)] if time < 2 else []), HaarDetector()))
    there = [each.picture.time for each in seen if each.boxes]
    assert there[0] == 0
    assert 1.9 <= there[-1] < 2 + DETECTION_INTERVAL


def test_pictures_wait_no_longer_than_for_two_detections():
    read = []

    def watched():
        for each in film(4, lambda _: [(LEFT, LARGE)]):
            read.append(each.time)
            yield each

    for each in track_faces(watched(), HaarDetector()):
        assert read[-1] - each.picture.time <= 2 * DETECTION_INTERVAL + 1e-6


def test_a_number_is_free_again_after_missed_detections():
    tracker = FaceTracker(HaarDetector())
    (face,), (wall,) = film(0.1, lambda _: [(LEFT, LARGE)]), film(0.1, lambda _: [])
    assert list(tracker.update(face)) == [1]
    assert not tracker.is_confirmed(1)
    assert list(tracker.update(face)) == [1]
    assert tracker.is_confirmed(1)
    for _ in range(3):
        tracker.update(wall)
    assert list(tracker.update(face)) == [1]
    for _ in range(4):
        tracker.update(wall)
    assert list(tracker.update(face)) == [2]
