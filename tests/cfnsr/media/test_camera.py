from itertools import pairwise
from pathlib import Path

import pytest
from helpers.video_files import frame_number, numbered_frames, write_video

from cfnsr.errors import InputError
from cfnsr.media.camera import camera_pictures


def test_a_file_as_camera(tmp_path):
    path = write_video(tmp_path / "a.mp4", numbered_frames(50))
    pictures = list(camera_pictures(path, 0.08))
    numbers = [frame_number(picture.bgr()) for picture in pictures]
    assert numbers == pytest.approx(range(0, 50, 2), abs=1)  # colours take the way from BGR to planes and back
    assert {later - number for number, later in pairwise(numbers)} == {2}
    assert [picture.time for picture in pictures] == pytest.approx([0.08 * number for number in range(25)], abs=0.041)


@pytest.mark.parametrize(("source", "message"), [(Path("none.mp4"), "is missing"), (97, "connect it")])
def test_a_source_that_can_not_be_opened(source, message):
    with pytest.raises(InputError, match=message):
        next(camera_pictures(source, 0.1))
