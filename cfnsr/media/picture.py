"""Pictures as they are shown: turned and mirrored as the file says, with square pixels, of one size per file."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import av
import cv2
import numpy as np
from av.sidedata.sidedata import Type
from numpy.typing import NDArray

from cfnsr.errors import ClipError

_PLANAR_420 = frozenset({"yuv420p", "yuvj420p"})
_COLORSPACE_UNSPECIFIED = 2  # FFmpeg's AVCOL_SPC_UNSPECIFIED
_SD_HEIGHT = 576  # pixels; players take untagged pictures above it for BT.709, the others for BT.601


@dataclass(frozen=True, eq=False)
class Picture:
    """A decoded frame, kept as 8-bit 4:2:0 planes (12 bits per pixel) and converted on demand.

    Sizes and pixels are those of the picture as it is shown: turned and mirrored as the file says.
    """

    time: float
    """Presentation time in seconds from the file's start."""
    frame: av.VideoFrame
    turns: int
    """Quarter turns counter-clockwise from the stored to the shown picture."""
    mirrored: bool = False
    """The stored picture is upside down before it is turned."""

    @classmethod
    def of(cls, time: float, frame: av.VideoFrame, canvas: Canvas | None = None) -> Picture:
        """Keep a frame; formats other than 8-bit 4:2:0 are converted, so that memory stays bounded.

        Raises:
            ClipError: its colour format can't be converted.
        """
        turns, mirrored = canvas.orientation(frame) if canvas else (0, False)
        if frame.format.name not in _PLANAR_420:
            to_space = "ITU601" if frame.format.is_rgb else None
            frame = _reformat(frame, format="yuv420p", dst_colorspace=to_space)
        return cls(time, canvas.fit(frame) if canvas else frame, turns, mirrored)

    @property
    def width(self) -> int:
        """Pixels."""
        return self.frame.height if self.turns % 2 else self.frame.width

    @property
    def height(self) -> int:
        """Pixels."""
        return self.frame.width if self.turns % 2 else self.frame.height

    def luma(self, longest: int) -> NDArray[np.uint8]:
        """Brightness, shrunk so that its longer side has at most `longest` pixels: (H, W)."""
        plane = self.frame.planes[0]
        stored = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)[: plane.height, : plane.width]
        return self._upright(_shrink(stored, longest))

    def bgr(self, longest: int | None = None) -> NDArray[np.uint8]:
        """Colours in OpenCV's channel order, whole or shrunk as in `luma`: (H, W, 3)."""
        untagged_hd = self.frame.colorspace == _COLORSPACE_UNSPECIFIED and self.frame.height > _SD_HEIGHT
        source = "ITU709" if untagged_hd else None
        converted = _reformat(self.frame, format="bgr24", src_colorspace=source).to_ndarray()
        stored = np.asarray(converted, np.uint8)
        return self._upright(stored if longest is None else _shrink(stored, longest))

    def _upright(self, stored: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return np.ascontiguousarray(np.rot90(stored[::-1] if self.mirrored else stored, self.turns))


def _orientation(frame: av.VideoFrame) -> tuple[int, bool]:
    """The nearest quarter turn of the frame's display matrix, and whether the matrix mirrors."""
    side_data: Any = frame.side_data  # PyAV's annotation lacks the display matrix
    if (matrix := side_data.get(Type.DISPLAYMATRIX)) is None:
        return 0, False
    # The axes of the stored picture, to the right and down, lie along (a, b) and (c, d) in the shown one.
    a, b, _, c, d, *_ = np.frombuffer(matrix, np.int32).tolist()
    return round(math.atan2(-b, a) / (math.pi / 2)) % 4, a * d < b * c


class Canvas:
    """Brings all pictures of a file to the size of the first one, with square pixels.

    Recordings of calls change their size; a face must be in the same place in the pictures before and after.

    Args:
        aspect: width of a pixel by its height (DVDs and HDV store squeezed pictures).
    """

    def __init__(self, aspect: float) -> None:
        self._aspect = aspect
        self._size: tuple[int, int] | None = None
        self._rotation: int | None = None
        self._orientation = (0, False)

    def orientation(self, frame: av.VideoFrame) -> tuple[int, bool]:
        """Quarter turns counter-clockwise from the stored to the shown picture, and whether it is first mirrored."""
        # Not for each frame: one whose side data were read is freed only by Python's cyclic garbage collection.
        if frame.rotation != self._rotation:
            self._rotation, self._orientation = frame.rotation, _orientation(frame)
        return self._orientation

    def fit(self, frame: av.VideoFrame) -> av.VideoFrame:
        """Bring a 4:2:0 frame to the size of the file: scaled, and with black bars if its shape differs."""
        width = frame.width if self._aspect == 1 else _even(frame.width * self._aspect)
        height = frame.height
        if self._size is None:
            self._size = width, height
        if (frame.width, frame.height) == self._size:
            return frame
        whole_width, whole_height = (_even(side) for side in self._size)
        scale = min(whole_width / width, whole_height / height)
        size = _even(width * scale), _even(height * scale)
        scaled = _reformat(frame, width=size[0], height=size[1])
        return scaled if size == (whole_width, whole_height) else _centred(scaled, whole_width, whole_height)


def _even(side: float) -> int:
    return max(2 * int(side / 2 + 0.25), 2)


def _centred(frame: av.VideoFrame, width: int, height: int) -> av.VideoFrame:
    """A 4:2:0 frame of even size in the middle of a larger black one."""
    planes, given, begin = [], frame.to_ndarray().reshape(-1), 0
    for shrink, black in ((1, 0), (2, 128), (2, 128)):
        rows, columns = frame.height // shrink, frame.width // shrink
        plane = given[begin : begin + rows * columns].reshape(rows, columns)
        below, beside = height // shrink - rows, width // shrink - columns
        edges = below // 2, below - below // 2, beside // 2, beside - beside // 2
        planes.append(cv2.copyMakeBorder(plane, *edges, cv2.BORDER_CONSTANT, value=black).reshape(-1))
        begin += rows * columns
    packed = np.asarray(np.concatenate(planes), np.uint8).reshape(height * 3 // 2, width)
    whole = av.VideoFrame.from_ndarray(packed, format=frame.format.name)
    whole.colorspace, whole.color_range = frame.colorspace, frame.color_range
    return whole


def _reformat(frame: av.VideoFrame, **options: Any) -> av.VideoFrame:
    """`frame.reformat` that also accepts colour matrices unknown to FFmpeg's scaler.

    Raises:
        ClipError: the frame can't be converted.
    """
    try:
        try:
            return frame.reformat(**options, threads=1)
        except av.FFmpegError:
            # FFmpeg's scaler lacks some matrices (ICtCp, YCgCo); with the usual one the colours are nearly right.
            frame.colorspace = _COLORSPACE_UNSPECIFIED
            return frame.reformat(**options, threads=1)
    except av.FFmpegError as error:
        raise ClipError(f"the colour format of a picture can't be converted ({error.strerror})") from None


def _shrink(image: NDArray[np.uint8], longest: int) -> NDArray[np.uint8]:
    height, width = image.shape[:2]
    scale = longest / max(height, width)
    if scale >= 1:
        return image
    size = (max(round(width * scale), 1), max(round(height * scale), 1))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
