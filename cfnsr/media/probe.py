"""Whether a media file is complete and what it holds, read from its packets without decoding."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cfnsr.config.corpus import SYNTHETIC
from cfnsr.errors import ClipError
from cfnsr.media.container import open_media

if TYPE_CHECKING:
    from av.container import InputContainer

TOLERANCE = 0.25
"""Seconds by which a track may end before its header says so. Encoders round to whole frames; 0.25 s is more than any
frame of RAVDESS or of a phone, and too short to matter."""


@dataclass(frozen=True)
class MediaInfo:
    """Length of the video and audio track of a media file in seconds, 0 for a missing track."""

    video: float
    audio: float


def probe_media(path: Path) -> MediaInfo:
    """Read all packets of a file and compare them with the lengths in its header.

    Takes a few milliseconds for a clip of RAVDESS. Damage inside a packet is found only by the decoder.

    Raises:
        ClipError: the file is missing, empty, not a media file, cut off, or holds neither video nor audio.
    """
    with open_media(path) as container:
        ends = _packet_ends(container, path)
        lengths = {"video": 0.0, "audio": 0.0}
        for stream in container.streams:
            end = ends.get(stream.index, 0.0)
            if stream.type not in lengths or not end:
                continue
            promised = float((stream.duration or 0) * (stream.time_base or 0))
            start = float((stream.start_time or 0) * (stream.time_base or 0))
            if end - start < promised - TOLERANCE:
                raise ClipError(f"{path.name} is cut off: its {stream.type} ends at {end:.2f} of {promised:.2f} s")
            lengths[stream.type] = max(lengths[stream.type], end - start)
    if not any(lengths.values()):
        raise ClipError(f"{path.name} holds neither video nor audio")
    return MediaInfo(**lengths)


def is_synthetic(path: Path) -> bool:
    """Whether the metadata of a clip marks it as part of the synthetic sample corpus.

    Raises:
        ClipError: the file can't be read.
    """
    with open_media(path) as container:
        return container.metadata.get("comment") == SYNTHETIC


def _packet_ends(container: InputContainer, path: Path) -> dict[int, float]:
    """Time at which the last packet of each stream ends, in seconds; streams without packets are not listed."""
    ends: dict[int, float] = {}
    for packet in container.demux():
        if packet.is_corrupt:  # FFmpeg marks the packet in which the file ends too early
            raise ClipError(f"{path.name} is cut off or damaged in the middle")
        if packet.size and packet.pts is not None and packet.time_base is not None:
            end = float((packet.pts + (packet.duration or 0)) * packet.time_base)
            ends[packet.stream.index] = max(ends.get(packet.stream.index, 0.0), end)
    return ends
