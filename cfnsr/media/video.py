"""Video: decoded frames by their presentation time, whatever the container says about frame rate and duration.

Nothing here trusts a header's duration or frame rate: phones write variable rates, cut files keep the whole one's
duration. The packets' time stamps say when each frame is shown, and reading them needs no decoding.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import av
import cv2
import numpy as np
from av.stream import Disposition
from numpy.typing import NDArray

from cfnsr.errors import ClipError
from cfnsr.media.container import open_media

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.stream import VideoStream

_PLANAR_420 = frozenset({"yuv420p", "yuvj420p"})
_COLORSPACE_UNSPECIFIED = 2  # FFmpeg's AVCOL_SPC_UNSPECIFIED
_USUAL_RATE = 25  # frames/s, where a stream without time stamps doesn't name its rate either
_SD_HEIGHT = 576  # pixels; players take untagged pictures above it for BT.709, the others for BT.601


@dataclass(frozen=True, eq=False)
class Picture:
    """A decoded frame, kept as 8-bit 4:2:0 planes (12 bits a pixel); other forms are made when they are asked for.

    All sizes and pixels are those of the picture as it is shown, the rotation flag of phone videos applied.
    """

    time: float
    """Presentation time in seconds from the file's start."""
    frame: av.VideoFrame
    turns: int
    """Quarter turns counter-clockwise from the stored to the shown picture."""

    @classmethod
    def of(cls, time: float, frame: av.VideoFrame) -> Picture:
        """Keep a frame; formats other than 8-bit 4:2:0 are converted, so that memory stays bounded."""
        turns = round(frame.rotation / 90) % 4
        if frame.format.name not in _PLANAR_420:
            to_space = "ITU601" if frame.format.is_rgb else None
            frame = frame.reformat(format="yuv420p", dst_colorspace=to_space, threads=1)
        return cls(time, frame, turns)

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
        converted = self.frame.reformat(
            format="bgr24", src_colorspace="ITU709" if untagged_hd else None, threads=1
        ).to_ndarray()
        stored = np.asarray(converted, np.uint8)
        return self._upright(stored if longest is None else _shrink(stored, longest))

    def _upright(self, stored: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return np.ascontiguousarray(np.rot90(stored, self.turns))


def frame_times(path: Path) -> list[float]:
    """Presentation times of all frames, in seconds from the file's start, ascending.

    They are read from the packets, without decoding. Frames that the file marks as not to be shown (edit lists) are
    left out.

    Raises:
        ClipError: the file can't be read or has no video track.
    """
    with _open_video(path) as (container, stream):
        clock = _Clock(container, stream)
        packets = (packet for packet in container.demux(stream) if packet.size and not packet.is_discard)
        return sorted(clock.time(packet.pts, index) for index, packet in enumerate(packets))


def read_frames(path: Path, wanted: Collection[float] | None = None) -> Iterator[tuple[float, av.VideoFrame]]:
    """Decode a video as a stream: yields `(time, frame)` in the order of presentation.

    Packets that are damaged are passed over; what decodes is yielded.

    Args:
        path: the file.
        wanted: times, as `frame_times` gives them, of the frames that matter. Of the other frames, those that no frame
            refers to (most B-frames, often half of a clip) may be skipped without being decoded.

    Raises:
        ClipError: the file can't be read or has no video track.
    """
    with _open_video(path) as (container, stream):
        clock, decoder, shown = _Clock(container, stream), stream.codec_context, 0
        for packet in container.demux(stream):
            if wanted is not None and packet.pts is not None:
                decoder.skip_frame = "DEFAULT" if clock.time(packet.pts, 0) in wanted else "NONREF"
            try:
                frames = packet.decode()
            except av.InvalidDataError:
                continue
            for frame in frames:
                yield clock.time(frame.pts, shown), frame
                shown += 1


def sample_pictures(path: Path, count: int) -> list[Picture]:
    """Pictures at even times: the clip is cut into `count` equal segments, and the frame next to each middle is taken.

    One pass of decoding; never more than the chosen frames are held. When the clip has fewer frames than `count`,
    frames repeat (as the same object).

    Raises:
        ClipError: the file can't be read, has no video track, or none of its frames can be decoded.
    """
    times = np.array(frame_times(path))
    if not len(times):
        raise ClipError(f"{path.name} has a video track without any frame")
    targets = _middles(times, count)
    wanted = frozenset(times[_nearest(times, targets)].tolist())

    chosen: list[Picture] = []
    last: tuple[float, av.VideoFrame] | None = None
    # Also frames that aren't wanted are considered: one may be the best there is, where a wanted one is damaged.
    for time, frame in read_frames(path, wanted):
        if last is not None:
            due = int(np.searchsorted(targets, (last[0] + time) / 2, side="right")) - len(chosen)
            if due > 0:
                chosen += [Picture.of(*last)] * due
            if len(chosen) == count:
                return chosen
        last = time, frame
    if last is None:
        raise ClipError(f"{path.name} has no frame that can be decoded; the file is damaged")
    return chosen + [Picture.of(*last)] * (count - len(chosen))


def frame_rate(stream: VideoStream) -> float:
    """Frames a second, as the stream names it or as it is usual."""
    return float(stream.average_rate or stream.base_rate or _USUAL_RATE)


class _Clock:
    """Turns a stream's time stamps into seconds from the file's start."""

    def __init__(self, container: InputContainer, stream: VideoStream):
        self._unit = float(stream.time_base or 0)  # s
        self._start = (container.start_time or 0) / av.time_base  # s
        self._rate = frame_rate(stream)

    def time(self, stamp: int | None, index: int) -> float:
        """Seconds of a frame; one without a stamp (bare streams without a container) is timed by its number."""
        return index / self._rate if stamp is None else stamp * self._unit - self._start


@contextmanager
def _open_video(path: Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    with open_media(path) as container:
        # A song's cover picture is stored as a video track too.
        tracks = [track for track in container.streams.video if Disposition.attached_pic not in track.disposition]
        if not tracks:
            raise ClipError(f"{path.name} has no video track")
        tracks[0].codec_context.thread_count = 1  # clips are worked on by one process a core
        yield container, tracks[0]


def _middles(times: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """When a frame should begin whose own middle is the middle of one of `count` equal segments of the clip."""
    # The last frame is taken to be shown as long as the others: its stated duration is the one that files get wrong.
    frame = float(np.median(np.diff(times))) if len(times) > 1 else 0.0
    span = times[-1] + frame - times[0]
    return times[0] + span * (np.arange(count) + 0.5) / count - frame / 2


def _nearest(times: NDArray[np.float64], targets: NDArray[np.float64]) -> NDArray[np.intp]:
    """For each target the index of the time next to it; both ascending, the earlier one of two as near."""
    return np.searchsorted((times[1:] + times[:-1]) / 2, targets)


def _shrink(image: NDArray[np.uint8], longest: int) -> NDArray[np.uint8]:
    height, width = image.shape[:2]
    scale = longest / max(height, width)
    if scale >= 1:
        return image
    size = (max(round(width * scale), 1), max(round(height * scale), 1))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
