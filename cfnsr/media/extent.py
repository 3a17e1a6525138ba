"""How long a file really is and which tracks it has, read from its first packets."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cfnsr.errors import ClipError
from cfnsr.media.container import MediaReader, open_reader
from cfnsr.media.video import shown_pixels

SHORTEST = 0.5
"""Seconds; a shorter clip, voice or window is too short to tell an emotion."""


@dataclass(frozen=True)
class Extent:
    """Length and tracks of a file, as far as it was read."""

    video: bool
    """It has a video track (the cover picture of a song is not one)."""
    audio: bool
    """It has an audio track."""
    seconds: float
    """Where the packets that were read end."""
    whole: bool
    """All packets were read."""
    pixels: int = 0
    """Of a picture as it is shown, according to the header."""


def find_extent(path: Path, limit: float) -> Extent:
    """Read packets until one lies beyond `limit` seconds, see `read_extent`.

    Raises:
        ClipError: the file is missing, empty, not a media file, too short, or holds neither video nor audio.
    """
    with open_reader(path) as reader:
        reader.drop(*reader.tracks)
        return read_extent(reader, limit)


def read_extent(reader: MediaReader, limit: float) -> Extent:
    """Read packets, without decoding, until one lies beyond `limit` seconds: headers can't be trusted with a length.

    Raises:
        ClipError: the file holds neither video nor audio, it is shorter than `SHORTEST`, or its packets have no time
            stamps.
    """
    if not reader.tracks:
        raise ClipError(f"{reader.name} holds neither video nor audio")
    progress = reader.progress.values()
    seconds, whole = 0.0, False
    while seconds <= limit and not whole:
        whole = reader.read_packet() is None
        seconds = max(track.end for track in progress)
    if any(track.packets for track in progress) and not any(track.stamped for track in progress):
        raise ClipError(f"{reader.name} has no time stamps; convert it to MP4 first")
    if whole and 0 < seconds < SHORTEST:
        short = f"is too short ({seconds:.2f} s); a clip needs {SHORTEST:g} s or more"
        raise ClipError(f"{reader.name} {reader.fault() or short}")
    pixels = 0 if reader.video is None else shown_pixels(reader.video)
    return Extent(reader.video is not None, reader.audio is not None, seconds, whole, pixels)
