"""Video: decoded frames by their presentation time, whatever the container says about frame rate and duration.

Nothing here trusts the duration or frame rate in a header: phones write variable rates, and a file that was cut off
keeps the duration of the whole one. The time stamps of the packets say when each frame is shown, and can be read
without decoding.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from cfnsr.errors import ClipError
from cfnsr.media.container import MediaReader, decoding_errors, open_reader

if TYPE_CHECKING:
    from av.packet import Packet
    from av.video.stream import VideoStream

_PLANAR_420 = frozenset({"yuv420p", "yuvj420p"})
_COLORSPACE_UNSPECIFIED = 2  # FFmpeg's AVCOL_SPC_UNSPECIFIED
_USUAL_RATE = 25  # frames/s, for a stream with neither time stamps nor a frame rate
_LARGEST = 4096 * 2304  # pixels; a picture is not decoded if it is larger than this and than the header says
_ASPECTS = (0.25, 4.0)  # plausible range of a pixel's width by its height
_SD_HEIGHT = 576  # pixels; players take untagged pictures above it for BT.709, the others for BT.601


@dataclass(frozen=True, eq=False)
class Picture:
    """A decoded frame, kept as 8-bit 4:2:0 planes (12 bits per pixel) and converted on demand.

    Sizes and pixels are those of the picture as it is shown, with the rotation flag of phone videos applied.
    """

    time: float
    """Presentation time in seconds from the file's start."""
    frame: av.VideoFrame
    turns: int
    """Quarter turns counter-clockwise from the stored to the shown picture."""

    @classmethod
    def of(cls, time: float, frame: av.VideoFrame, canvas: Canvas | None = None) -> Picture:
        """Keep a frame; formats other than 8-bit 4:2:0 are converted, so that memory stays bounded.

        Raises:
            ClipError: its colour format can't be converted.
        """
        turns = round(frame.rotation / 90) % 4
        if frame.format.name not in _PLANAR_420:
            to_space = "ITU601" if frame.format.is_rgb else None
            frame = _reformat(frame, format="yuv420p", dst_colorspace=to_space)
        return cls(time, canvas.fit(frame) if canvas else frame, turns)

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
        return np.ascontiguousarray(np.rot90(stored, self.turns))


class Canvas:
    """Brings all pictures of a file to the size of the first one, with square pixels.

    Recordings of calls change their size; a face must be in the same place in the pictures before and after.

    Args:
        aspect: width of a pixel by its height (DVDs and HDV store squeezed pictures).
    """

    def __init__(self, aspect: float) -> None:
        self._aspect = aspect
        self._size: tuple[int, int] | None = None

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


def frame_times(path: Path) -> list[float]:
    """Presentation times of all frames, in seconds from the start of the file, ascending.

    They are read from the packets, without decoding. Frames that the file marks as not to be shown (edit lists) are
    excluded.

    Raises:
        ClipError: the file can't be read or has no video track.
    """
    with open_reader(path) as reader:
        reader.drop(reader.audio)
        stream = _video_of(reader)
        return _times(reader, reader.packets(stream))


def read_frames(path: Path, wanted: Collection[float] | None = None) -> Iterator[tuple[float, av.VideoFrame]]:
    """Decode a video as a stream: yields `(time, frame)` in the order of presentation, see `decode`."""
    with open_reader(path) as reader:
        reader.drop(reader.audio)
        for decoded in decode(reader, wanted):
            yield decoded.time, decoded.frame


class Decoded(NamedTuple):
    """A frame from `decode`."""

    time: float
    """Presentation time in seconds from the start of the file."""
    frame: av.VideoFrame
    canvas: Canvas
    """Of the file."""

    def picture(self) -> Picture:
        """The frame, ready to be kept."""
        return Picture.of(*self)


def decode(reader: MediaReader, wanted: Collection[float] | None = None) -> Iterator[Decoded]:
    """Decode the video track as a stream, in the order of presentation.

    Damaged packets are skipped.

    Args:
        reader: of the file.
        wanted: times, as `frame_times` gives them, of the frames that matter. Of the other frames, those that no frame
            refers to (most B-frames, often half of a clip) may be skipped without being decoded.

    Raises:
        ClipError: the file can't be read or has no video track.
    """
    stream = _video_of(reader)
    try:
        decoder = stream.codec_context
        if decoder is None:
            raise ClipError(f"the video of {reader.name} has a codec that FFmpeg can't decode; convert it to H.264")
        decoder.thread_count = 1  # clips are processed by one process per core
        # A header may state a small size while the packets hold a huge one.
        decoder.options = {"max_pixels": str(max(_LARGEST, decoder.width * decoder.height))}
        clock, shown, canvas = _Clock(reader), 0, Canvas(_aspect(stream))
        with decoding_errors(reader.name):
            for packet in reader.packets(stream):
                if wanted is not None and packet.pts is not None:
                    decoder.skip_frame = "DEFAULT" if clock.time(packet.pts, 0) in wanted else "NONREF"
                for frame in reader.decode(packet):
                    yield Decoded(clock.time(frame.pts, shown), frame, canvas)
                    shown += 1
    finally:
        reader.drop(stream)


def stream_pictures(reader: MediaReader, spacing: float) -> Iterator[Picture]:
    """Pictures in the order of time, at least `spacing` seconds apart.

    Raises:
        ClipError: the file can't be read or has no video track.
    """
    last = -np.inf
    for decoded in decode(reader):
        if decoded.time - last >= spacing - 1e-6:
            last = decoded.time
            yield decoded.picture()


def sample_pictures(path: Path, count: int) -> list[Picture]:
    """Pictures at even times: the clip is cut into `count` equal segments, and the frame next to each middle is taken.

    One pass of decoding; never more than the chosen frames are held. When the clip has fewer frames than `count`,
    frames repeat (as the same object).

    Raises:
        ClipError: the file can't be read, has no video track, or none of its frames can be decoded.
    """
    times = frame_times(path)
    with open_reader(path) as reader:
        reader.drop(reader.audio)
        return _pictures_at_even_times(reader, times, count)


def sample_kept_pictures(reader: MediaReader, count: int) -> list[Picture]:
    """`sample_pictures` of a file of which all packets were read and kept.

    Raises:
        ClipError: see `sample_pictures`.
    """
    return _pictures_at_even_times(reader, _times(reader, reader.kept(_video_of(reader))), count)


def _pictures_at_even_times(reader: MediaReader, frame_times: list[float], count: int) -> list[Picture]:
    times = np.array(frame_times)
    if not len(times):
        raise ClipError(f"{reader.name} has a video track without any frame")
    targets = _middles(times, count)
    wanted = frozenset(times[nearest(times, targets)].tolist())

    chosen: list[Picture] = []
    last: Decoded | None = None
    # Frames that aren't wanted are considered too: one may be the best there is where a wanted one is damaged.
    for decoded in decode(reader, wanted):
        if last is not None:
            due = int(np.searchsorted(targets, (last.time + decoded.time) / 2, side="right")) - len(chosen)
            if due > 0:
                chosen += [last.picture()] * due
            if len(chosen) == count:
                return chosen
        last = decoded
    if last is None:
        raise ClipError(f"{reader.name} has no frame that can be decoded; the file is damaged")
    return chosen + [last.picture()] * (count - len(chosen))


def _times(reader: MediaReader, packets: Iterable[Packet]) -> list[float]:
    clock = _Clock(reader)
    shown = (packet for packet in packets if packet.size and not packet.is_discard)
    return sorted(clock.time(packet.pts, index) for index, packet in enumerate(shown))


class _Clock:
    """Turns time stamps of the video track into seconds from the start of the file."""

    def __init__(self, reader: MediaReader) -> None:
        stream = _video_of(reader)
        self._unit = float(stream.time_base or 0)  # s
        self._start = reader.start  # s
        self._rate = float(stream.average_rate or stream.base_rate or _USUAL_RATE)  # frames/s

    def time(self, stamp: int | None, index: int) -> float:
        """Seconds of a frame; one without a time stamp (some AVI files) is timed by its number."""
        return index / self._rate if stamp is None else stamp * self._unit - self._start


def _video_of(reader: MediaReader) -> VideoStream:
    if reader.video is None:
        raise ClipError(f"{reader.name} has no video track")
    return reader.video


def shown_pixels(stream: VideoStream) -> int:
    """Pixels of a picture as it is shown, according to the header; 0 where the video can't be decoded."""
    decoder = stream.codec_context
    if decoder is None:
        return 0
    return round(decoder.width * decoder.height * max(_aspect(stream), 1.0))


def _aspect(stream: VideoStream) -> float:
    """Width of a pixel by its height; 1 where the file states none, or an implausible one."""
    named = float(stream.sample_aspect_ratio or 1)
    return named if _ASPECTS[0] <= named <= _ASPECTS[1] else 1.0


def _middles(times: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """Ideal start times of frames that lie in the middle of `count` equal segments of the clip."""
    # The last frame is assumed to be shown as long as the others: files often state a wrong duration for it.
    frame = float(np.median(np.diff(times))) if len(times) > 1 else 0.0
    span = times[-1] + frame - times[0]
    return times[0] + span * (np.arange(count) + 0.5) / count - frame / 2


def nearest(times: NDArray[np.float64], targets: NDArray[np.float64]) -> NDArray[np.intp]:
    """Index of the time nearest to each target; both are ascending, and ties go to the earlier time."""
    return np.searchsorted((times[1:] + times[:-1]) / 2, targets)


def _shrink(image: NDArray[np.uint8], longest: int) -> NDArray[np.uint8]:
    height, width = image.shape[:2]
    scale = longest / max(height, width)
    if scale >= 1:
        return image
    size = (max(round(width * scale), 1), max(round(height * scale), 1))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
