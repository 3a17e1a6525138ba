"""Face detectors: OpenCV's Haar cascade, or YuNet where its ONNX file is given."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from threading import Lock
from typing import Protocol

import cv2
import cv2.data
import numpy as np
from numpy.typing import NDArray

from cfnsr.errors import InputError
from cfnsr.media.picture import Picture

Boxes = NDArray[np.float32]
"""(K, 4): x, y, width, height in pixels."""

_LONGEST = 480  # pixels; pictures are shrunk to this; the smallest face of a 16:9 picture still has 27
_SMALLEST = 0.1  # of the picture's shorter side; smaller faces are ignored
_AROUND = 0.5  # of the last box, on each side: how far a face may move between two detections
_SIZES = (0.6, 1.6)  # of the last box: how much its size may change between two detections


class Detector(Protocol):
    """Finds faces in a picture."""

    def __call__(self, picture: Picture, near: NDArray[np.float32] | None = None) -> Boxes:
        """Faces, largest first.

        Args:
            picture: to search.
            near: a box (4,) detected shortly before; only faces around it and of about its size are searched for.
        """


class HaarDetector:
    """The frontal face cascade that OpenCV ships."""

    _STEP = 1.1  # between the sizes searched
    _NEIGHBOURS = 5  # overlapping hits that make a face

    def __init__(self) -> None:
        self._cascade = cv2.CascadeClassifier(cv2.data.haarcascades + "haarcascade_frontalface_default.xml")
        self._alone = Lock()  # OpenCV's detectors are not thread-safe

    def __call__(self, picture: Picture, near: NDArray[np.float32] | None = None) -> Boxes:
        """See `Detector`."""
        luma = picture.luma(_LONGEST)  # (H, W)
        scale = picture.width / luma.shape[1]
        left, top, right, bottom = 0, 0, luma.shape[1], luma.shape[0]
        smallest, largest = round(_SMALLEST * min(luma.shape)), max(luma.shape)
        if near is not None:
            x, y, width, height = near / scale
            left, right = max(int(x - _AROUND * width), 0), int(x + (1 + _AROUND) * width)
            top, bottom = max(int(y - _AROUND * height), 0), int(y + (1 + _AROUND) * height)
            smallest, largest = (round(size * min(width, height)) for size in _SIZES)
        with self._alone:
            found = self._cascade.detectMultiScale(
                luma[top:bottom, left:right],
                scaleFactor=self._STEP,
                minNeighbors=self._NEIGHBOURS,
                minSize=(smallest, smallest),
                maxSize=(largest, largest),
            )
        boxes = np.array(found, np.float32).reshape(-1, 4)
        corner = np.array([left, top, 0, 0], np.float32)
        return _largest_first((boxes + corner) * scale)


class YunetDetector:
    """YuNet (Wu et al., 2023), which also finds turned and partly occluded faces."""

    _SCORE = 0.7  # lowest confidence of a face

    def __init__(self, model: Path) -> None:
        """Load the network.

        Raises:
            InputError: the file is missing or OpenCV can't use it.
        """
        if not model.is_file():
            raise InputError(f"The YuNet file {model} is missing; put it there, or set faces.yunet to null for Haar.")
        self._alone = Lock()
        try:
            self._network = cv2.FaceDetectorYN.create(str(model), "", (_LONGEST, _LONGEST), self._SCORE)
        except cv2.error:
            raise InputError(
                f"{model} is not a YuNet network that OpenCV can read; download face_detection_yunet_2023mar.onnx "
                "again, or set faces.yunet to null for Haar."
            ) from None

    def __call__(self, picture: Picture, near: NDArray[np.float32] | None = None) -> Boxes:
        """See `Detector`."""
        image = picture.bgr(_LONGEST)  # (H, W, 3)
        scale = picture.width / image.shape[1]
        with self._alone:
            self._network.setInputSize((image.shape[1], image.shape[0]))
            _, found = self._network.detect(image)  # (K, 15): box, five landmarks, score; None without a face
        boxes = np.zeros((0, 4)) if found is None else found[:, :4] * scale
        boxes = boxes[np.minimum(boxes[:, 2], boxes[:, 3]) >= _SMALLEST * min(picture.width, picture.height)]
        if near is not None:
            boxes = boxes[[is_near(box, near) for box in boxes]]
        return _largest_first(boxes)


@cache
def load_detector(yunet: Path | None) -> Detector:
    """The detector, loaded once per process.

    Args:
        yunet: YuNet's ONNX file; None for the Haar cascade.

    Raises:
        InputError: the file is missing or not a network that OpenCV can use.
    """
    return HaarDetector() if yunet is None else YunetDetector(yunet)


def is_near(box: NDArray[np.float32], other: NDArray[np.float32]) -> bool:
    """Whether two boxes (4,) of successive detections may be the same face: close by, and of about the same size."""
    sides = np.sqrt([box[2] * box[3], other[2] * other[3]])
    close = centre_distance(box, other) <= sides[1] * _AROUND * 2
    return bool(close and _SIZES[0] <= sides[0] / sides[1] <= _SIZES[1])


def centre_distance(box: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Pixels between the centres of two boxes (4,)."""
    return float(np.hypot(*(box[:2] + box[2:] / 2 - other[:2] - other[2:] / 2)))


def _largest_first(boxes: NDArray[np.floating]) -> Boxes:
    return boxes[np.argsort(-boxes[:, 2] * boxes[:, 3], kind="stable")].astype(np.float32)
