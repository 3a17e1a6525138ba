import subprocess
import sys

import numpy as np
import pytest
from helpers.landmark_files import write_landmarks
from helpers.video_files import SKIN, background, draw_face, face_frames, numbered_frames, write_video

from cfnsr.config.sections import FacesSettings
from cfnsr.features.faces.crop import decode_jpeg
from cfnsr.features.faces.extract import FaceTask, extract_faces

SETTINGS = FacesSettings(frames=10, size=64, detections=4)


def task(video, landmarks=None, settings=SETTINGS):
    return FaceTask("01-01-01-01-01-01", 1, "digest", video, landmarks, settings)


def test_row_of_a_clip(tmp_path):
    path = [(110 + 5 * number, 115) for number in range(20)]
    row = extract_faces(task(write_video(tmp_path / "clip.mp4", face_frames(path))))
    assert {name: len(row[name]) for name in ("frames", "boxes", "flags", "times")} == dict.fromkeys(
        ("frames", "boxes", "flags", "times"), 10
    )
    assert (row["width"], row["height"]) == (320, 240)
    assert row["times"] == pytest.approx((np.arange(10) * 2 + 0.5) / 25, abs=0.021)
    crops = np.stack([decode_jpeg(content) for content in row["frames"]])
    crops = crops.astype(int)
    assert crops.shape == (10, 64, 64, 3)
    assert crops[:, 36, 24] == pytest.approx(np.tile(SKIN, (10, 1)), abs=14)  # a cheek, in the right colours
    assert np.abs(crops - crops[0]).mean() < 12  # the face stays where it is while the clip moves


def test_rotated_clip_is_shown_upright(tmp_path):
    upright = next(face_frames([(120, 160)], width=240, height=320))
    stored = np.rot90(upright, -1)
    row = extract_faces(task(write_video(tmp_path / "phone.mp4", [stored] * 10, rotation=90)))
    assert (row["width"], row["height"]) == (240, 320)
    x, y, width, height = row["boxes"][0]
    assert (x + width / 2, y + height / 2) == pytest.approx((120, 160), abs=10)
    assert decode_jpeg(row["frames"][0])[36, 24].astype(int) == pytest.approx(SKIN, abs=14)


def test_landmarks_are_used_where_they_are(tmp_path):
    clip = write_video(tmp_path / "clip.mp4", numbered_frames(30))  # a detector would find nothing here
    landmarks = write_landmarks(tmp_path / "clip.csv", [(48, 32)] * 40, [1] * 40, size=20)
    row = extract_faces(task(clip, landmarks))
    assert set(row["flags"]) == {"detected"}
    assert np.array(row["boxes"]) == pytest.approx(np.tile([38, 17, 20, 25], (10, 1)), abs=0.1)


def test_the_detector_replaces_openface_where_it_found_nothing(tmp_path):
    clip = write_video(tmp_path / "clip.mp4", face_frames([(160, 120)] * 20))
    landmarks = write_landmarks(tmp_path / "clip.csv", [(0, 0)] * 20, [0] * 20)
    assert "detected" in extract_faces(task(clip, landmarks))["flags"]


def test_4k_clip_stays_within_half_of_the_memory(tmp_path):
    """Two workers and their parent share 1.5 GB."""
    image = background(3840, 2160)
    draw_face(image, (1900, 1000), 1000)
    frames = (np.roll(image, 16 * number, axis=1) for number in range(32))
    clip = write_video(tmp_path / "4k.mp4", frames, options={"preset": "ultrafast", "bf": "3", "refs": "4"})
    script = (
        "import sys; from pathlib import Path; from cfnsr.config.sections import FacesSettings\n"
        "from cfnsr.features.faces.extract import FaceTask, extract_faces\n"
        "row = extract_faces(FaceTask('', 1, '', Path(sys.argv[1]), None, FacesSettings(frames=30)))\n"
        "assert (row['width'], len(row['frames'])) == (3840, 30)\n"
        "print(Path('/proc/self/status').read_text().split('VmHWM:')[1].split()[0])"
    )
    result = subprocess.run([sys.executable, "-c", script, clip], capture_output=True, text=True, check=True)
    assert int(result.stdout) / 1024 < 640  # MB; the two workers' share, less what the parent holds
