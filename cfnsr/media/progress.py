"""How far a track was read, whether it ends too early, and how much may be decoded from it.

Headers can't be trusted with a length, and packets can't be trusted with what they decode to: 350 kB may claim two
seconds and decode to half an hour. So the time stamps of the packets bound all that is decoded, and a limit on the
length of a clip, which is checked on its time stamps, holds for its decoded sound and pictures too.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import av
from av.audio.codeccontext import AudioCodecContext

from cfnsr.errors import LimitError

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.packet import Packet
    from av.stream import Stream

TOLERANCE = 0.25
"""Seconds by which a track may end before its header says so. Encoders round to whole frames; 0.25 s is more than any
frame of RAVDESS or of a phone, and too short to matter."""

RAW = frozenset({"aac", "ac3", "amr", "dts", "eac3", "loas", "mp3"})
"""FFmpeg's names of formats whose files state no length, except those of MP3 with a Xing header."""

_ESTIMATE = 0.02  # of the length: an estimate is exact but for tags at the start and the end of the file
_AHEAD = 10.0  # s by which the decoded sound may be longer than the time stamps say
_MOST_PER_SECOND = 1000  # packets or pictures; high-speed cameras of phones take 960 pictures
_LOWEST_RATE = 1000  # Hz; resampling a lower rate would multiply the samples
_LARGEST_PACKET = 2**17  # bytes of compressed sound for each channel; a block of a lossless codec has up to about 90 kB


class Progress:
    """What was read of one track.

    Attributes:
        end: where its last packet ends, in seconds from the start of the file.
        packets: their number.
        stamped: at least one of them has a time stamp.
    """

    def __init__(self, name: str, container: InputContainer, track: Stream, file_start: float) -> None:
        self.end, self.packets, self.stamped = 0.0, 0, False
        self._name, self._container, self._track, self._file_start = name, container, track, file_start
        self._sound, self._pictures = 0.0, 0

    @property
    def seconds(self) -> float:
        """Length of the track, as far as it was read; 0 without packets."""
        return max(self.end - self._start, 0.0) if self.packets else 0.0

    @property
    def promised(self) -> float:
        """The length that its header states, in seconds; 0 where it states none."""
        unit = float(self._track.time_base or 0)
        if self._track.type == "video" and self._container.format.name == "avi":
            # FFmpeg shortens the duration of a file that was cut off; the number of pictures stays that of the header.
            return self._track.frames * unit
        if self._track.duration is not None:
            seconds = self._track.duration * unit
            return 0.0 if self._is_estimated(seconds) else seconds
        stated = _clock(self._track.metadata.get("DURATION", ""))  # of Matroska, from the start of the file
        whole = (self._container.duration or 0) / av.time_base
        # A track that is longer than its file: the file was cut by a tool that kept the old statement.
        return max(stated - self._start, 0.0) if stated <= whole + TOLERANCE else 0.0

    def _is_estimated(self, seconds: float) -> bool:
        """Whether FFmpeg derived a length from the size of the file and the bit rate of its first packets."""
        rate = getattr(self._track, "bit_rate", None)
        if not rate or self._container.format.name not in RAW:
            return False
        return bool(abs(seconds - 8 * self._container.size / rate) < _ESTIMATE * seconds)

    @property
    def _start(self) -> float:
        """Seconds from the start of the file."""
        return float((self._track.start_time or 0) * (self._track.time_base or 0)) - self._file_start

    def add_packet(self, packet: Packet[Any]) -> None:
        """Note a packet that was read.

        Raises:
            LimitError: the track has more packets than its time stamps leave room for.
        """
        if not packet.size:
            return
        self.packets += 1
        stamp = packet.dts if packet.pts is None else packet.pts
        if stamp is not None and packet.time_base:
            self.stamped = True
            self.end = max(self.end, float((stamp + (packet.duration or 0)) * packet.time_base) - self._file_start)
        self._check(self.packets <= _MOST_PER_SECOND * (self.end + 1), "too many packets at the same time")

    def check_packet(self, packet: Packet[Any]) -> None:
        """Check a packet before it is decoded.

        Raises:
            LimitError: it is larger than the codec can need, so that it may decode to any amount.
        """
        decoder = packet.stream.codec_context
        if isinstance(decoder, AudioCodecContext) and not decoder.name.startswith("pcm_"):
            largest = _LARGEST_PACKET * max(decoder.channels, 1)
            self._check(packet.size <= largest, "a packet of sound that is too large")

    def add_frames(self, frames: Sequence[Any]) -> None:
        """Note what was decoded.

        Raises:
            LimitError: it is more than the time stamps leave room for.
        """
        for frame in frames:
            if isinstance(frame, av.AudioFrame):
                self._check(frame.sample_rate >= _LOWEST_RATE, f"a sample rate of {frame.sample_rate} Hz")
                self._sound += frame.samples / frame.sample_rate
            else:
                self._pictures += 1
        self._check(self._sound <= self.end + _AHEAD, "more sound than its time stamps have room for")
        self._check(self._pictures <= _MOST_PER_SECOND * (self.end + 1), "too many pictures at the same time")

    def _check(self, fine: bool, what: str) -> None:
        if not fine:
            raise LimitError(f"{self._name} has {what}; convert it to MP4 first")


def _clock(text: str) -> float:
    """Seconds of a time such as 00:01:02.500000000; 0 for anything else."""
    match = re.fullmatch(r"(\d+):(\d\d):(\d\d(?:\.\d*)?)", text)
    return 3600 * int(match[1]) + 60 * int(match[2]) + float(match[3]) if match else 0.0
