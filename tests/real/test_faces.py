"""Faces of the real RAVDESS clips; skipped without them."""

from pathlib import Path

import numpy as np
import pytest
from helpers.real_ravdess import RAVDESS, needs_ravdess

from cfnsr.config.sections import FacesSettings
from cfnsr.features.faces.crop import decode_jpeg
from cfnsr.features.faces.detect import HaarDetector
from cfnsr.features.faces.extract import FaceTask, extract_faces
from cfnsr.media.video import frame_times, read_frames, sample_pictures

CLIPS = sorted((RAVDESS / "Actor_01").glob("0[12]-*.mp4"))
pytestmark = needs_ravdess


@pytest.fixture(scope="module", params=CLIPS, ids=lambda path: path.stem)
def clip(request) -> Path:
    return request.param


def test_thirty_frames_evenly_over_the_clip(clip):
    times = frame_times(clip)
    chosen = [picture.time for picture in sample_pictures(clip, 30)]
    assert set(chosen) <= set(times)
    assert np.diff(chosen) == pytest.approx((times[-1] + 1001 / 30000) / 30, abs=1001 / 30000)


def test_chosen_frames_are_those_of_a_full_decode(clip):
    everything = {time: frame.to_ndarray() for time, frame in read_frames(clip)}
    assert sorted(everything) == frame_times(clip)
    for picture in sample_pictures(clip, 30):
        assert np.array_equal(picture.frame.to_ndarray(), everything[picture.time])


def test_face_is_centred_in_colour_and_steady(clip):
    row = extract_faces(FaceTask(clip.stem[3:], 1, "", clip, None, FacesSettings()))
    assert row["flags"].count("detected") == 5
    assert row["flags"].count("not found") == 0
    crops = np.stack([decode_jpeg(content) for content in row["frames"]])  # (30, 224, 224, 3)
    assert crops.shape == (30, 224, 224, 3)

    skin = crops[:, 95:150, 85:140].reshape(-1, 3).mean(axis=0)
    assert skin[0] > skin[1] > skin[2]  # red, green, blue
    assert crops[:, :40, :20].mean() > 200  # RAVDESS has a white wall

    detect = HaarDetector()
    for picture, box in zip(sample_pictures(clip, 30), row["boxes"], strict=True):
        found = detect(picture, np.array(box, np.float32))[0]  # what a detector on every frame would have given
        middle, expected = (np.array(one[:2]) + np.array(one[2:]) / 2 for one in (box, found))
        assert np.abs(middle - expected).max() < 0.08 * found[2]
        assert box[2] == pytest.approx(found[2], rel=0.08)
