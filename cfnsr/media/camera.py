"""A camera's pictures, or a file's through the same door."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import av
import cv2
import numpy as np

from cfnsr.errors import InputError
from cfnsr.media.video import Picture


def camera_pictures(source: int | Path, spacing: float) -> Iterator[Picture]:
    """Pictures as they come, no two of them closer than `spacing` seconds, until the source ends.

    Args:
        source: number of a camera, or a video file that plays the camera's part, at the pace of its reader.
        spacing: s.

    Raises:
        InputError: it can't be opened.
    """
    live = isinstance(source, int)
    capture = cv2.VideoCapture(source if isinstance(source, int) else str(source))
    try:
        if not capture.isOpened():
            remedy = "connect it, allow its use, or name another number" if live else "name a video file"
            raise InputError(f"the camera {source} can't be opened; {remedy}.")
        begin, last = time.monotonic(), float("-inf")
        while True:
            done, image = capture.read()
            if not done:
                return
            now = time.monotonic() - begin if live else capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
            if now - last >= spacing - 1e-6:
                last = now
                yield Picture.of(now, av.VideoFrame.from_ndarray(np.asarray(image, np.uint8), format="bgr24"))
    finally:
        capture.release()
