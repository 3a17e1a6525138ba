"""How long a file really is and which tracks it has, read from its first packets."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import av

from cfnsr.errors import ClipError
from cfnsr.media.container import MediaReader, open_reader
from cfnsr.media.probe import TOLERANCE
from cfnsr.media.video import shown_pixels


@dataclass(frozen=True)
class Extent:
    """Length and tracks of a file, as far as it was read."""

    video: bool
    """It has a video track (the cover picture of a song is not one)."""
    audio: bool
    """It has an audio track."""
    seconds: float
    """Where the packets that were read end."""
    promised: float
    """The length that its header states for these tracks; 0 where it states none."""
    whole: bool
    """All packets were read."""
    pixels: int = 0
    """Of a picture as it is shown, according to the header."""

    @property
    def cut_off(self) -> bool:
        """The file ends before its header says so."""
        return self.whole and self.seconds < self.promised - TOLERANCE


def find_extent(path: Path, limit: float) -> Extent:
    """Read packets until one lies beyond `limit` seconds, see `read_extent`.

    Raises:
        ClipError: the file is missing, empty, not a media file, or holds neither video nor audio.
    """
    with open_reader(path) as reader:
        reader.drop(*reader.tracks)
        return read_extent(reader, limit)


def read_extent(reader: MediaReader, limit: float) -> Extent:
    """Read packets, without decoding, until one lies beyond `limit` seconds: headers can't be trusted with a length.

    Raises:
        ClipError: the file holds neither video nor audio, or its packets have no time stamps.
    """
    tracks = reader.tracks
    if not tracks:
        raise ClipError(f"{reader.name} holds neither video nor audio")
    # The length of the whole file may be that of a track that is not used, such as a second language.
    lengths = [float((track.duration or 0) * (track.time_base or 0)) for track in tracks]
    others = len(reader.container.streams) > len(tracks)
    promised = max(lengths) if others else (reader.container.duration or 0) / av.time_base
    seconds, whole, stamped, packets = 0.0, False, False, 0
    while seconds <= limit:
        packet = reader.read_packet()
        if packet is None:
            whole = True
            break
        packets += bool(packet.size)
        stamp = packet.dts if packet.pts is None else packet.pts
        if packet.size and stamp is not None and packet.time_base:
            stamped = True
            seconds = max(seconds, float((stamp + (packet.duration or 0)) * packet.time_base) - reader.start)
    if packets and not stamped:
        raise ClipError(f"{reader.name} has no time stamps; convert it to MP4 first")
    pixels = 0 if reader.video is None else shown_pixels(reader.video)
    return Extent(reader.video is not None, reader.audio is not None, seconds, promised, whole, pixels)
