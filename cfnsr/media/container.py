"""Opening media files with PyAV, with a sentence for each way a file can be broken."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, cast

import av

from cfnsr.errors import ClipError

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.packet import Packet
    from av.stream import Stream


Track = TypeVar("Track", bound="Stream")

_RESTART = 0.5
"""s by which a track's decoding times may go back before it counts as another file's beginning; within a file they
never do (presentation times, where a file has no others, do by a few frames)."""


def continuous(container: InputContainer, streams: Sequence[Track]) -> Iterator[Packet[Track]]:
    """Packets of some tracks; where files were joined and time stamps begin again, they go on instead."""
    ends: dict[int, float] = {}  # s, of each track
    shifts = [0.0, 0.0]  # s that are added: before the last joint, as tracks don't get there together, and after it
    for packet in cast("Iterator[Packet[Track]]", container.demux(streams)):
        stamp = packet.pts if packet.dts is None else packet.dts
        if stamp is None or not packet.time_base:
            yield packet
            continue
        index, time = packet.stream_index, float(stamp * packet.time_base)
        end = ends.get(index)
        shift = shifts[1] if end is None else min(shifts, key=lambda each: abs(time + each - end))
        if end is not None and time + shift < end - _RESTART:
            shift = max(ends.values()) - time
            shifts = [shifts[1], shift]
        ends[index] = time + shift + float((packet.duration or 0) * packet.time_base)
        if shift:
            moved = round(shift / packet.time_base)
            packet.pts = None if packet.pts is None else packet.pts + moved
            packet.dts = None if packet.dts is None else packet.dts + moved
        yield packet


@contextmanager
def open_media(path: Path) -> Iterator[InputContainer]:
    """Open a media file for reading.

    Raises:
        ClipError: the file is missing, empty, unreadable, or FFmpeg can't read it; also for decoding errors raised
            inside the block.
    """
    if not path.exists():
        raise ClipError(f"{path.name} is missing")
    if path.stat().st_size == 0:
        raise ClipError(f"{path.name} is empty (zero bytes)")
    try:
        # As a URL, because a name with a colon would be taken for one.
        with av.open(f"file:{path}", mode="r", metadata_errors="replace") as container:
            yield container
    except PermissionError:
        raise ClipError(f"{path.name} may not be read; change its permissions") from None
    except av.FFmpegError as error:
        raise ClipError(f"{path.name} is damaged or not a media file ({error.strerror})") from None
