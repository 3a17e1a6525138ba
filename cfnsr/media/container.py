"""Opening and reading media files with PyAV; every way in which a file can be broken becomes a `ClipError`."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import av
from av.stream import Disposition

from cfnsr.errors import ClipError
from cfnsr.media.formats import FORMATS

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.packet import Packet
    from av.stream import Stream

Track = TypeVar("Track", bound="Stream")

MOST_PIXELS = 8192 * 4320
"""Of a picture: 8K video. All pictures of a window are in memory at once."""
_OPTIONS = {
    "format_whitelist": ",".join(FORMATS),
    "protocol_whitelist": "file",
    # PyAV asks FFmpeg to guess the times of presentation that a file lacks, and gets them wrong for AVI and WMV.
    "fflags": "-genpts",
    # FFmpeg decodes pictures to find their format. A file of 1 MB may hold one that takes 1 GB.
    "max_pixels": str(MOST_PIXELS),
}
_PICTURES = (b"GIF8", b"\x89PNG", b"WEBP", *(b"ftyp" + brand for brand in (b"avi", b"hei", b"hev", b"mif", b"msf")))
"""What the first 12 bytes of pictures have in them: GIF, PNG, WebP, and AVIF and HEIF by their brands."""

_ENCRYPTED = frozenset({"aavd", "drmi", "drms", "enca", "encv"})
"""Codec tags of protected tracks in MP4 files: of Audible, iTunes and the common encryption (ISO/IEC 23001-7)."""


class MediaReader:
    """One pass over the packets of a file's first video track and first audio track.

    Either track can be read ahead of the other: the packets of the other one are kept until they are asked for.

    Attributes:
        name: of the file.
        video: the video track, or None. The cover picture of a song is not a video track.
        audio: the audio track, or None.
        start: time stamp at which the file starts, in seconds.
    """

    def __init__(self, container: InputContainer, name: str) -> None:
        videos = [track for track in container.streams.video if Disposition.attached_pic not in track.disposition]
        self.container, self.name = container, name
        self.video = videos[0] if videos else None
        self.audio = container.streams.audio[0] if container.streams.audio else None
        self.start = (container.start_time or 0) / av.time_base
        self.tracks = [track for track in (self.video, self.audio) if track is not None]
        self._kept: dict[int, deque[Packet[Any]]] = {track.index: deque() for track in self.tracks}
        self._packets = cast("Iterator[Packet[Any]]", container.demux(self.tracks)) if self.tracks else iter(())
        self._damage = ""

    def drop(self, *tracks: Stream | None) -> None:
        """Keep no packets of these tracks; they will not be read."""
        for track in tracks:
            if track is not None:
                self._kept.pop(track.index, None)

    def read_packet(self) -> Packet[Any] | None:
        """The next packet of either track, without decoding; None at the end of the file, or where it is damaged.

        Raises:
            ClipError: the packet is encrypted.
        """
        try:
            packet = next(self._packets, None)
        except av.FFmpegError as error:
            self._packets, self._damage = iter(()), _damaged(self.name, error)
            return None
        if packet is not None and packet.has_sidedata("encryption_info"):
            raise ClipError(_encrypted(self.name))
        # Not `packet.stream_index`, which is 0 for all of the empty packets that flush the decoders at the end.
        if packet is not None and packet.stream.index in self._kept:
            self._kept[packet.stream.index].append(packet)
        return packet

    def kept(self, track: Track) -> tuple[Packet[Track], ...]:
        """The packets of a track that were read and wait to be decoded."""
        return tuple(self._kept[track.index])

    def packets(self, track: Track) -> Iterator[Packet[Track]]:
        """All packets of a track, each of them once.

        Raises:
            ClipError: the file is damaged; raised after the packets before the damage, and for decoding errors.
        """
        kept = self._kept[track.index]
        try:
            while kept or self.read_packet() is not None:
                if kept:
                    yield kept.popleft()
            if self._damage:
                raise ClipError(self._damage)
        finally:
            self.drop(track)


@contextmanager
def open_media(path: Path) -> Iterator[InputContainer]:
    """Open a media file for reading; nothing else is opened, whatever other files it names.

    Raises:
        ClipError: the file is missing, empty, unreadable, in a format that is not read (see `cfnsr.media.formats`), or
            FFmpeg can't read it; also for decoding errors raised inside the block.
    """
    with _open(path) as container, decoding_errors(path.name):
        if any(_tag(track) in _ENCRYPTED for track in container.streams):
            raise ClipError(_encrypted(path.name))
        yield container


def _open(path: Path) -> InputContainer:
    try:
        if not path.exists():
            raise ClipError(f"{path.name} is missing")
        if not path.is_file():
            raise ClipError(f"{path.name} is a folder or a device, not a file")
        with path.open("rb") as file:
            head = file.read(12)
        if not head:
            raise ClipError(f"{path.name} is empty (zero bytes)")
        if any(signature in head for signature in _PICTURES):
            raise ClipError(f"{path.name} is a picture or an animated picture, not a video; convert it to MP4")
        # As a URL, because a name with a colon would be taken for one.
        return av.open(f"file:{path}", mode="r", metadata_errors="replace", options=_OPTIONS)
    except (av.ArgumentError, av.InvalidDataError):  # the format is not allowed, or not recognised
        raise ClipError(
            f"{path.name} is damaged or not a media file that can be read (playlists and pictures can't); convert it "
            "to MP4 or WAV"
        ) from None
    except av.FFmpegError as error:
        raise ClipError(_damaged(path.name, error)) from None
    except PermissionError:
        raise ClipError(f"{path.name} may not be read; change its permissions") from None
    except OSError as error:
        raise ClipError(f"{path.name} can't be read ({error.strerror})") from None


def _tag(track: Stream) -> str:
    try:
        return str(track.codec_context.codec_tag) if track.codec_context else ""
    except UnicodeDecodeError:
        return ""


@contextmanager
def open_reader(path: Path) -> Iterator[MediaReader]:
    """Open a media file for one pass over its tracks.

    Raises:
        ClipError: see `open_media`.
    """
    with open_media(path) as container:
        yield MediaReader(container, path.name)


@contextmanager
def decoding_errors(name: str) -> Iterator[None]:
    """Turn FFmpeg's errors inside the block into a `ClipError` that names the file."""
    try:
        yield
    except av.FFmpegError as error:
        raise ClipError(_damaged(name, error)) from None


def _encrypted(name: str) -> str:
    return f"{name} is encrypted; name a copy without copy protection"


def _damaged(name: str, error: av.FFmpegError) -> str:
    return f"{name} is damaged or not a media file ({error.strerror})"
