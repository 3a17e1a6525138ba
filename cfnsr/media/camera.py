"""Pictures of a camera, or of a video file that stands in for one."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import av
import cv2
import numpy as np

from cfnsr.errors import InputError
from cfnsr.media.container import open_reader
from cfnsr.media.picture import Picture
from cfnsr.media.video import stream_pictures


def camera_pictures(source: int | Path, spacing: float) -> Iterator[Picture]:
    """Yield pictures as they arrive, at least `spacing` seconds apart, until the source ends.

    Args:
        source: number of a camera, or a video file that stands in for one and is read as fast as its pictures are used.
        spacing: in seconds.

    Raises:
        InputError: the source can't be opened.
    """
    if isinstance(source, int):
        yield from _live_pictures(source, spacing)
        return
    with open_reader(source) as reader:
        reader.drop(reader.audio)
        yield from stream_pictures(reader, spacing)


def _live_pictures(number: int, spacing: float) -> Iterator[Picture]:
    capture = cv2.VideoCapture(number)
    try:
        if not capture.isOpened():
            raise InputError(f"the camera {number} can't be opened; connect it, allow its use, or name another number.")
        start, last = time.monotonic(), float("-inf")
        while True:
            success, image = capture.read()
            if not success:
                return
            now = time.monotonic() - start
            if now - last >= spacing - 1e-6:
                last = now
                yield Picture.of(now, av.VideoFrame.from_ndarray(np.asarray(image, np.uint8), format="bgr24"))
    finally:
        capture.release()
