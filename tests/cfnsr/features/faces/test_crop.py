import io

import numpy as np
import pytest
from PIL import Image

from cfnsr.features.faces.crop import crop_face, decode_jpeg, encode_jpeg


def ramp(height=100, width=200):
    """Blue tells the column, green the row."""
    image = np.zeros((height, width, 3), np.uint8)
    image[..., 0] = np.arange(width)
    image[..., 1] = np.arange(height)[:, None]
    return image


def box(*values):
    return np.array(values, np.float32)


def test_crop_is_the_box():
    crop = crop_face(ramp(), box(40, 20, 50, 50), size=50, margin=0, square=True)
    assert np.array_equal(crop, ramp()[20:70, 40:90])


def test_square_keeps_proportions_and_centre():
    crop = crop_face(ramp(), box(80, 20, 20, 60), size=60, margin=0, square=True)
    assert np.array_equal(crop, ramp()[20:80, 60:120])
    stretched = crop_face(ramp(), box(80, 20, 20, 60), size=60, margin=0, square=False)
    assert stretched.shape == (60, 60, 3)
    assert (stretched[..., 0].min(), stretched[..., 0].max()) == (80, 99)


def test_outside_of_the_picture_repeats_the_border():
    crop = crop_face(ramp(), box(-20, -10, 40, 40), size=40, margin=0, square=True)
    assert np.array_equal(crop[10:, 20:], ramp()[:30, :20])
    assert not crop[:10, :, 1].any()
    assert not crop[:, :20, 0].any()
    corner = crop_face(ramp(), box(190, 90, 40, 40), size=40, margin=0, square=True)
    assert np.array_equal(corner[:10, :10], ramp()[90:, 190:])
    assert (corner[20:, 20:] == ramp()[-1, -1]).all()


@pytest.mark.parametrize("values", [(500, 500, 40, 40), (-500, -500, 40, 40), (50, 50, 0, 0), (-300, -300, 900, 900)])
def test_any_box_gives_a_crop(values):
    assert crop_face(ramp(), box(*values), size=32, margin=0.2, square=True).shape == (32, 32, 3)


def test_shrinking_averages():
    checkers = (np.indices((96, 96)).sum(0) % 2 * 200).astype(np.uint8)[..., None].repeat(3, axis=2)
    crop = crop_face(checkers, box(0, 0, 96, 96), size=32, margin=0, square=True)
    assert np.abs(crop.astype(int) - 100).max() <= 12  # 3 x 3 pixels: five of one kind, four of the other


def test_jpeg_has_the_right_colours():
    blue_first = np.full((64, 64, 3), (30, 90, 200), np.uint8)
    content = encode_jpeg(blue_first, 95)
    with Image.open(io.BytesIO(content)) as image:
        assert image.format == "JPEG"
        assert image.getpixel((32, 32)) == pytest.approx((200, 90, 30), abs=3)
    assert decode_jpeg(content)[32, 32] == pytest.approx((200, 90, 30), abs=3)
