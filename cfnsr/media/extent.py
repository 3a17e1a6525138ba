"""How long a file really is and which tracks it has, read from its first packets."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import av
from av.stream import Disposition
from av.video.stream import VideoStream

from cfnsr.errors import ClipError
from cfnsr.media.container import continuous, open_media
from cfnsr.media.probe import TOLERANCE
from cfnsr.media.video import frame_rate, shown_pixels


@dataclass(frozen=True)
class Extent:
    """What `find_extent` saw of a file."""

    video: bool
    """It has a video track (a song's cover picture is none)."""
    audio: bool
    seconds: float
    """Where the packets that were read end."""
    promised: float
    """The length that its header names for these tracks; 0 where it names none."""
    whole: bool
    """All packets were read."""
    pixels: int = 0
    """Of a picture as it is shown, as the header says it."""

    @property
    def cut_off(self) -> bool:
        """The file ends before its header says so."""
        return self.whole and self.seconds < self.promised - TOLERANCE


def find_extent(path: Path, limit: float) -> Extent:
    """Read packets, without decoding, until one lies beyond `limit` seconds: headers can't be trusted with a length.

    Raises:
        ClipError: the file is missing, empty, not a media file, or holds neither video nor audio.
    """
    with open_media(path) as container:
        pictures = [track for track in container.streams.video if Disposition.attached_pic not in track.disposition]
        tracks = [*pictures[:1], *container.streams.audio[:1]]
        if not tracks:
            raise ClipError(f"{path.name} holds neither video nor audio")
        # The whole file's length may be that of a track that nobody looks at, such as a second language.
        lengths = [float((track.duration or 0) * (track.time_base or 0)) for track in tracks]
        others = len(container.streams) > len(tracks)
        promised = max(lengths) if others else (container.duration or 0) / av.time_base
        start = (container.start_time or 0) / av.time_base
        seconds, whole = 0.0, False
        unstamped: Counter[int] = Counter()  # packets by track
        packets = continuous(container, tracks)
        while seconds <= limit:
            try:
                packet = next(packets)
            except (StopIteration, av.FFmpegError):  # an error: what came before it can still be used
                whole = True
                break
            stamp = packet.dts if packet.pts is None else packet.pts
            if packet.size and stamp is not None and packet.time_base:
                seconds = max(seconds, float((stamp + (packet.duration or 0)) * packet.time_base) - start)
            elif packet.size and isinstance(packet.stream, VideoStream):  # bare streams have no time stamps
                unstamped[packet.stream.index] += 1
                seconds = max(seconds, unstamped[packet.stream.index] / frame_rate(packet.stream))
        pixels = max(map(shown_pixels, pictures), default=0)
        return Extent(bool(pictures), bool(container.streams.audio), seconds, promised, whole, pixels)
