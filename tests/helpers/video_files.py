"""Video files made on the fly: drawn faces and numbered frames."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from helpers.media_files import FPS, Image, encode

SKIN = (224, 178, 150)  # RGB of a drawn face


def write_video(
    path: Path,
    frames: Iterable[Image],
    times: Iterable[float] | None = None,
    *,
    codec: str = "libx264",
    options: dict[str, str] | None = None,
    **more: Any,
) -> Path:
    """A file without sound; `options` are of the encoder, see `encode`."""
    stamps = (number / FPS for number in count()) if times is None else times
    return encode(path, frames, times=stamps, video=codec, video_options=options, **more)


def numbered_frames(amount: int, width: int = 96, height: int = 64) -> Iterator[Image]:
    """Grey frames; `frame_number` reads a frame's number (at most 60) back from its brightness."""
    for number in range(amount):
        yield np.full((height, width, 3), 8 + 4 * number, np.uint8)


def frame_number(bgr: Image) -> int:
    """Number of one of the `numbered_frames`."""
    return round((float(bgr.mean()) - 8) / 4)


def face_frames(
    centers: Sequence[tuple[int, int]], *, width: int = 320, height: int = 240, size: int = 120
) -> Iterator[Image]:
    """A drawn face whose centre moves through these points (pixels)."""
    for center in centers:
        image = background(width, height)
        draw_face(image, center, size)
        yield image


def background(width: int, height: int) -> Image:
    """A plain wall, lit from above."""
    return np.repeat(np.linspace(210, 170, height, dtype=np.uint8)[:, None, None], width, axis=1).repeat(3, axis=2)


def draw_face(image: Image, center: tuple[int, int], size: int) -> None:
    """Draw a face from forehead to chin, `size` pixels high, that OpenCV's frontal Haar cascade finds."""
    scale = 200 / size
    face = np.zeros((300, 300, 4), np.float32)  # drawn large, RGB and opacity, then shrunk

    def ellipse(x: int, y: int, width: int, height: int, colour: tuple[int, int, int]) -> None:
        cv2.ellipse(face, (x, y), (width, height), 0, 0, 360, (*colour, 1.0), -1, cv2.LINE_AA)

    ellipse(150, 120, 98, 112, (60, 42, 30))  # hair
    ellipse(150, 155, 80, 108, SKIN)
    for x in (115, 185):
        ellipse(x, 132, 29, 17, (150, 108, 88))  # the shade of the eye socket
    ellipse(150, 165, 11, 30, (236, 196, 170))  # bridge of the nose
    face = cv2.GaussianBlur(face, (0, 0), 5)
    for x in (115, 185):
        ellipse(x, 136, 17, 8, (250, 250, 250))
        ellipse(x, 136, 8, 8, (45, 30, 20))
        ellipse(x, 115, 26, 4, (60, 42, 30))  # brow
    ellipse(150, 196, 15, 5, (150, 100, 85))  # shade below the nose
    ellipse(150, 224, 32, 9, (165, 70, 70))  # mouth
    face = cv2.resize(face, None, fx=1 / scale, fy=1 / scale, interpolation=cv2.INTER_AREA)

    top, left = center[1] - round(160 / scale), center[0] - round(150 / scale)
    rows = slice(max(top, 0), min(top + len(face), len(image)))
    columns = slice(max(left, 0), min(left + face.shape[1], image.shape[1]))
    visible = face[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
    opacity = visible[..., 3:]
    image[rows, columns] = (visible[..., :3] * opacity + image[rows, columns] * (1 - opacity)).astype(np.uint8)
