"""Cutting a face out of a picture."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray


def crop_face(
    image: NDArray[np.uint8], box: NDArray[np.float32], *, size: int, margin: float, square: bool
) -> NDArray[np.uint8]:
    """Cut out a box with a margin and resize it; outside of the picture its border is repeated.

    Args:
        image: (H, W, 3).
        box: x, y, width, height in pixels.
        size: side of the result in pixels.
        margin: share of the box added on each side.
        square: first widen the box to a square, so that the face keeps its proportions.

    Returns:
        (size, size, 3)
    """
    x, y, width, height = (float(value) for value in box)
    wide, high = width * (1 + 2 * margin), height * (1 + 2 * margin)
    if square:
        wide = high = max(wide, high)
    columns, rows = max(round(wide), 1), max(round(high), 1)
    # At least one row and column stay inside, so that a box that has left the picture is filled with its border.
    left = int(np.clip(round(x + width / 2 - wide / 2), 1 - columns, image.shape[1] - 1))
    top = int(np.clip(round(y + height / 2 - high / 2), 1 - rows, image.shape[0] - 1))
    right, bottom = left + columns, top + rows
    inside = image[max(top, 0) : bottom, max(left, 0) : right]
    outside = (max(-top, 0), max(bottom - image.shape[0], 0), max(-left, 0), max(right - image.shape[1], 0))
    if any(outside):
        inside = np.asarray(cv2.copyMakeBorder(inside, *outside, cv2.BORDER_REPLICATE), np.uint8)
    # Area interpolation averages when shrinking, but repeats pixels when enlarging.
    method = cv2.INTER_AREA if max(rows, columns) >= size else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(inside, (size, size), interpolation=method), np.uint8)


def encode_jpeg(image: NDArray[np.uint8], quality: int) -> bytes:
    """Compress an image (H, W, 3) in OpenCV's channel order, blue first, to the content of a JPEG file."""
    done, content = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert done
    return content.tobytes()


def decode_jpeg(content: bytes) -> NDArray[np.uint8]:
    """An image (H, W, 3), red first."""
    return np.asarray(cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR_RGB), np.uint8)
