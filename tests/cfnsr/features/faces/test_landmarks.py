import numpy as np
import pytest
from helpers.landmark_files import FPS, write_landmarks

from cfnsr.errors import ClipError
from cfnsr.features.faces.landmarks import track_from_landmarks
from cfnsr.features.faces.track import BoxSource


@pytest.mark.parametrize("space", ["", " "])
def test_box_at_each_time(tmp_path, space):
    centers = [(400 + 2 * number, 300) for number in range(60)]
    path = write_landmarks(tmp_path / "clip.csv", centers, [1] * 60, space=space)
    times = (np.arange(10) + 0.5) / 5
    track = track_from_landmarks(path, times)
    assert track.flags == (BoxSource.DETECTED,) * 10
    assert track.boxes[:, 2] == pytest.approx(100, abs=0.1)
    assert track.boxes[:, 3] == pytest.approx(125, abs=0.1)  # with the lower half of the forehead
    assert track.boxes[1:-1, 0] == pytest.approx(350 + 2 * FPS * times[1:-1], abs=0.1)
    assert track.boxes[:, 1] == pytest.approx(225, abs=0.1)


def test_frames_where_openface_failed(tmp_path):
    success = [0] * 10 + [1] * 20 + [0] * 10 + [1] * 10 + [0] * 10
    path = write_landmarks(tmp_path / "clip.csv", [(400, 300)] * 60, success)
    track = track_from_landmarks(path, [5 / FPS, 20 / FPS, 35 / FPS, 45 / FPS, 55 / FPS])
    assert track.flags == (
        BoxSource.NOT_FOUND,
        BoxSource.DETECTED,
        BoxSource.INTERPOLATED,
        BoxSource.DETECTED,
        BoxSource.NOT_FOUND,
    )
    assert np.ptp(track.boxes, axis=0) == pytest.approx(0, abs=1e-3)  # zeros of failed frames don't get into a box


def test_no_face_in_the_whole_file(tmp_path):
    assert track_from_landmarks(write_landmarks(tmp_path / "clip.csv", [(1, 1)] * 5, [0] * 5), [0.1]) is None


@pytest.mark.parametrize("content", ["", "frame,timestamp\n1,0\n", "timestamp,success\n0,x\n", "\x00\xff\xfe"])
def test_files_that_are_no_landmarks(tmp_path, content):
    path = tmp_path / "clip.csv"
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(ClipError, match=r"clip\.csv is not an OpenFace CSV"):
        track_from_landmarks(path, [0.1])
