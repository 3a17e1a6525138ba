import numpy as np
import pytest
from helpers.pictures import picture
from helpers.video_files import background, draw_face
from helpers.yunet_files import FACE_SIDE, write_white_block_detector

from cfnsr.errors import InputError
from cfnsr.features.faces.detect import HaarDetector, is_near, load_detector


@pytest.fixture(scope="module")
def haar() -> HaarDetector:
    return HaarDetector()


def test_boxes_are_in_full_resolution_pixels(haar):
    image = background(1280, 720)
    draw_face(image, (900, 300), 400)
    (box,) = haar(picture(image))
    assert box.dtype == np.float32
    assert box[:2] + box[2:] / 2 == pytest.approx((900, 300), abs=20)
    assert box[2:] == pytest.approx((430, 430), abs=40)


def test_largest_face_comes_first(haar):
    image = background(640, 360)
    draw_face(image, (120, 180), 90)
    draw_face(image, (450, 180), 180)
    boxes = haar(picture(image))
    assert len(boxes) == 2
    assert boxes[0, 0] > 320 > boxes[1, 0]


def test_near_restricts_the_search(haar):
    image = background(640, 360)
    draw_face(image, (120, 180), 120)
    draw_face(image, (480, 180), 160)
    left = np.array([65, 115, 120, 120], np.float32)
    (box,) = haar(picture(image), left)
    assert box[:2] == pytest.approx((55, 112), abs=15)
    assert not len(haar(picture(image), np.array([240, 0, 100, 100], np.float32)))  # a face is next to it, none in it
    assert not len(haar(picture(image), left * (1, 1, 0.4, 0.4)))  # the face there is much larger


def test_search_at_the_picture_border(haar):
    image = background(320, 240)
    draw_face(image, (90, 150), 130)
    for near in ([-60, 60, 150, 150], [15, 100, 150, 200]):
        assert len(haar(picture(image), np.array(near, np.float32)))


@pytest.mark.parametrize(
    ("other", "same"),
    [
        ((110, 95, 100, 100), True),
        ((100, 100, 145, 145), True),
        ((100, 100, 210, 210), False),
        ((300, 100, 100, 100), False),
    ],
)
def test_is_near(other, same):
    assert is_near(np.array(other, np.float32), np.array([100, 100, 100, 100], np.float32)) is same


def test_yunet_interface(tmp_path):
    detect = load_detector(write_white_block_detector(tmp_path / "yunet.onnx"))
    image = np.zeros((540, 960, 3), np.uint8)  # the detector sees half of it
    image[160:176, 320:336] = image[400:416, 800:816] = 255
    boxes = detect(picture(image))
    expected = [(x - FACE_SIDE, y - FACE_SIDE, 2 * FACE_SIDE, 2 * FACE_SIDE) for x, y in ((328, 168), (808, 408))]
    assert sorted(boxes.tolist()) == [pytest.approx(box, abs=1) for box in expected]
    assert detect(picture(image), boxes[1] + 10).tolist() == [boxes[1].tolist()]
    assert detect(picture(np.zeros_like(image))).shape == (0, 4)


def test_an_unusable_yunet_file(tmp_path):
    with pytest.raises(InputError, match=r"yunet\.onnx is missing"):
        load_detector(tmp_path / "yunet.onnx")
    broken = tmp_path / "broken.onnx"
    broken.write_text("not a network")
    with pytest.raises(InputError, match="not a YuNet network"):
        load_detector(broken)
