"""Video: decoded frames by their presentation time, whatever the container says about frame rate and duration.

Nothing here trusts the duration or frame rate in a header: phones write variable rates, and a file that was cut off
keeps the duration of the whole one. The time stamps of the packets say when each frame is shown, and can be read
without decoding.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import av
import numpy as np
from numpy.typing import NDArray

from cfnsr.errors import ClipError
from cfnsr.media.container import MOST_PIXELS, MediaReader, open_reader
from cfnsr.media.picture import Canvas, Picture

if TYPE_CHECKING:
    from av.packet import Packet
    from av.video.stream import VideoStream

_USUAL_RATE = 25  # frames/s, for a stream with neither time stamps nor a frame rate
_LARGEST = 4096 * 2304  # pixels; a picture is not decoded if it is larger than this and than the header says
_ASPECTS = (0.25, 4.0)  # plausible range of a pixel's width by its height


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

    Packets that the decoder refuses are skipped.

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
        if (pixels := decoder.width * decoder.height) > MOST_PIXELS:
            raise ClipError(
                f"the pictures of {reader.name} have {pixels / 1e6:.0f} megapixels; convert them to 8K "
                f"({MOST_PIXELS / 1e6:.0f} megapixels) or less"
            )
        # A header may state a small size while the packets hold a huge one.
        decoder.options = {"max_pixels": str(max(_LARGEST, pixels))}
        clock, canvas = _Clock(reader), Canvas(_aspect(stream))
        for packet in reader.packets(stream):
            if wanted is not None and packet.pts is not None:
                decoder.skip_frame = "DEFAULT" if clock.seconds(packet.pts) in wanted else "NONREF"
            for frame in reader.decode(packet):
                yield Decoded(clock.time(frame), frame, canvas)
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


def sample_pictures(path: Path, count: int, start: float = 0.0, end: float = np.inf) -> list[Picture]:
    """Pictures at even times of a clip, which may be a part of its file.

    The clip is cut into `count` equal segments, and the frame next to each middle is taken.

    One pass of decoding; never more than the chosen frames are held. When the clip has fewer frames than `count`,
    frames repeat (as the same object).

    Args:
        path: media file.
        count: number of pictures.
        start: of the clip in the file, s.
        end: of the clip in the file, s.

    Raises:
        ClipError: the file can't be read, has no video track, or none of its frames can be decoded.
    """
    times = [time for time in frame_times(path) if start <= time < end]
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
        raise ClipError(f"{reader.name} has a video track without any frame in the clip")
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
        raise ClipError(f"{reader.name} has no frame that can be decoded; the file is damaged or encrypted")
    return chosen + [last.picture()] * (count - len(chosen))


def _times(reader: MediaReader, packets: Iterable[Packet]) -> list[float]:
    clock, decoder = _Clock(reader), _video_of(reader).codec_context
    times, late = [], 0
    for packet in packets:
        if packet.size and not packet.is_discard:
            times.append(clock.time(packet))
            if packet.pts is None and packet.dts is not None and decoder:
                late = decoder.reorder_depth  # packets that the decoder reads after that of the first frame
    times.sort()
    return times[late:] + [times[-1] + clock.spacing * number for number in range(1, late + 1)]


class _Clock:
    """Turns time stamps of the video track into seconds from the start of the file."""

    def __init__(self, reader: MediaReader) -> None:
        stream = _video_of(reader)
        self.spacing = 1 / float(stream.average_rate or stream.base_rate or _USUAL_RATE)
        """Usual time from a frame to the next, s."""
        self._unit = float(stream.time_base or 0)  # s
        self._start = reader.start  # s
        self._last = -self.spacing

    def time(self, item: Packet | av.VideoFrame) -> float:
        """Seconds of a packet, or of a frame in the order of presentation.

        In files that store no times of presentation (AVI, WMV) the time of decoding takes their place: for a frame it
        is that of the packet after which it was ready. Without either, it follows the one before.
        """
        stamp = item.dts if item.pts is None else item.pts
        self._last = self._last + self.spacing if stamp is None else self.seconds(stamp)
        return self._last

    def seconds(self, stamp: int) -> float:
        """Seconds of a time stamp."""
        return stamp * self._unit - self._start


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
