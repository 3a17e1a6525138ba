"""Pictures of a camera, or of a video file that stands in for one."""

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
    """Yield pictures as they arrive, at least `spacing` seconds apart, until the source ends.

    Args:
        source: number of a camera, or a video file that stands in for one and is read as fast as its pictures are used.
        spacing: in seconds.

    Raises:
        InputError: the source can't be opened.
    """
    live = isinstance(source, int)
    capture = cv2.VideoCapture(source if live else str(source))
    try:
        if not capture.isOpened():
            remedy = "connect it, allow its use, or name another number" if live else "name a video file"
            raise InputError(f"the camera {source} can't be opened; {remedy}.")
        start, last = time.monotonic(), float("-inf")
        while True:
            success, image = capture.read()
            if not success:
                return
            now = time.monotonic() - start if live else capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
            if now - last >= spacing - 1e-6:
                last = now
                yield Picture.of(now, av.VideoFrame.from_ndarray(np.asarray(image, np.uint8), format="bgr24"))
    finally:
        capture.release()
