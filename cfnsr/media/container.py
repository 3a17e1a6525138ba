"""Opening and reading media files with PyAV; every way in which a file can be broken becomes a `ClipError`."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import av
from av.stream import Disposition

from cfnsr.errors import ClipError, LimitError
from cfnsr.media.ending import ends_too_early, has_open_length
from cfnsr.media.formats import FORMATS
from cfnsr.media.progress import RAW, TOLERANCE, Progress

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.packet import Packet
    from av.stream import Stream
    from av.video.stream import VideoStream

_ENCODER_DELAY = 0.1  # s; AAC has 0.02 to 0.09, MP3 and WMA up to 0.05
_MOST_KEPT = 2**30  # bytes of packets

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
    """One pass over the packets of a file's main video track and main audio track, and what is wrong with them.

    The main tracks are those that players take: the default ones, and of several programmes in a broadcast the sound
    that belongs to the picture. Either track can be read ahead of the other: the packets of the other one are kept
    until they are asked for.

    Attributes:
        name: of the file.
        video: the video track, or None. The cover picture of a song is not a video track.
        audio: the audio track, or None.
        start: time stamp at which the file starts, in seconds.
        progress: what was read of each track, by the index of the track.
        damage: a clause that says what is damaged, as far as the file was read and decoded; empty for nothing.
        has_others: the file has more video or audio tracks than these.
    """

    def __init__(self, container: InputContainer, path: Path) -> None:
        self.container, self.name, self._path = container, path.name, path
        videos = [track for track in container.streams.video if Disposition.attached_pic not in track.disposition]
        sounds = container.streams.audio
        self.video = _choose(container.streams.best("video"), videos)
        self.audio = _choose(container.streams.best("audio", self.video), sounds)
        self.start = _start(container, self.video)
        self.tracks: list[Stream] = [track for track in (self.video, self.audio) if track is not None]
        self.progress = {track.index: Progress(path.name, container, track, self.start) for track in self.tracks}
        self.damage, self._broken = "", ""
        self.has_others = len(videos) > 1 or len(sounds) > 1
        self._kept: dict[int, deque[Packet[Any]]] = {track.index: deque() for track in self.tracks}
        self._kept_bytes = 0
        self._packets = cast("Iterator[Packet[Any]]", container.demux(self.tracks)) if self.tracks else iter(())

    def drop(self, *tracks: Stream | None) -> None:
        """Keep no packets of these tracks; they will not be read."""
        for track in tracks:
            if track is not None:
                self._kept_bytes -= sum(packet.size for packet in self._kept.pop(track.index, ()))

    def read_packet(self) -> Packet[Any] | None:
        """The next packet of either track, without decoding; None at the end of the file, or where it is damaged.

        Raises:
            LimitError: there are more packets than their time stamps leave room for, or than memory should hold.
            ClipError: the packet is encrypted.
        """
        try:
            packet = next(self._packets, None)
        except IndexError:
            # A track that appeared later in the file; PyAV raises this after the last packet of the others.
            self._packets, self.has_others = iter(()), True
            return None
        except av.FFmpegError as error:
            self._packets, self.damage, self._broken = iter(()), str(error.strerror), _damaged(self.name, error)
            return None
        if packet is None:
            return None
        if packet.has_sidedata("encryption_info"):
            raise ClipError(_encrypted(self.name))
        # Not `packet.stream_index`, which is 0 for all of the empty packets that flush the decoders at the end.
        index = packet.stream.index
        if packet.is_corrupt and not (self.container.format.name == "wav" and has_open_length(self._path)):
            self.damage = "a packet is incomplete"
        self.progress[index].add_packet(packet)
        if index in self._kept:
            self._kept[index].append(packet)
            self._kept_bytes += packet.size
            if self._kept_bytes > _MOST_KEPT:
                raise LimitError(f"{self.name} has its picture and sound too far apart; convert it to MP4 first")
        return packet

    def kept(self, track: Track) -> tuple[Packet[Track], ...]:
        """The packets of a track that were read and wait to be decoded."""
        return tuple(self._kept[track.index])

    def packets(self, track: Track) -> Iterator[Packet[Track]]:
        """All packets of a track, each of them once.

        Raises:
            ClipError: the file can't be read on; raised after the packets before that place.
        """
        kept = self._kept[track.index]
        try:
            while kept or self.read_packet() is not None:
                if kept:
                    self._kept_bytes -= kept[0].size
                    yield kept.popleft()
            if self._broken:
                raise ClipError(self._broken)
        finally:
            self.drop(track)

    def decode(self, packet: Packet[Any]) -> list[Any]:
        """The frames of a packet; none for one that the decoder refuses.

        Raises:
            LimitError: there are more than the time stamps leave room for.
            ClipError: there is no decoder for the track.
        """
        track = packet.stream
        if track.codec_context is None:
            raise ClipError(f"the {track.type} of {self.name} has a codec that FFmpeg can't decode; convert it to MP4")
        if not packet.size and (packet.pts, packet.pos) != (None, None):
            return []  # a decoder would take it for the end; Theora repeats a picture with such a packet
        self.progress[track.index].check_packet(packet)
        try:
            frames = packet.decode()
        except av.FFmpegError as error:  # the kind depends on the decoder
            self.damage = str(error.strerror)
            return []
        if any(frame.is_corrupt for frame in frames):
            self.damage = "a part is not decodable"
        self.progress[track.index].add_frames(frames)
        return list(frames)

    def fault(self) -> str:
        """A clause that says how the part of the file that was read is damaged or cut off; empty for nothing.

        Whether a track ends too early is known only after the last packet.
        """
        if self.damage:
            return f"is cut off or damaged ({self.damage})"
        for track in self.tracks:
            progress = self.progress[track.index]
            if progress.seconds < progress.promised - TOLERANCE:
                what = f"its {track.type} ends at {progress.seconds:.2f} of {progress.promised:.2f} s"
                return f"is cut off: {what}"
        kind, promised = self.container.format.name, (self.container.duration or 0) / av.time_base
        # The length of a file with further tracks, such as a second language, may be that of one of these.
        if kind not in RAW and len(self.container.streams) == len(self.tracks):
            begin = (self.container.start_time or 0) / av.time_base
            end = max(progress.end for progress in self.progress.values()) + self.start - begin
            if end < promised - TOLERANCE:
                return f"is cut off: it ends at {end:.2f} of {promised:.2f} s"
        return "is cut off" if ends_too_early(self._path, kind) else ""


def _choose(best: Stream | None, tracks: Sequence[Track]) -> Track | None:
    """FFmpeg's best track; the first one if FFmpeg takes a cover picture, or none because they lack data."""
    return next((track for track in tracks if track is best), next(iter(tracks), None))


def _start(container: InputContainer, video: VideoStream | None) -> float:
    """Time stamp of the first picture or sound, in seconds.

    Sound that starts only just before the picture is the delay of its encoder, which MPEG-TS, FLV and ASF can't mark:
    then the file starts with the picture, as the same clip does in MP4.
    """
    start = (container.start_time or 0) / av.time_base
    picture = start if video is None else float((video.start_time or 0) * (video.time_base or 0))
    return picture if start < picture <= start + _ENCODER_DELAY else start


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
        yield MediaReader(container, path)


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
