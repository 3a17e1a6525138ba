"""Pictures and sound of a file of any length, decoded as they are asked for; memory does not grow with the length."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
from numpy.typing import NDArray

from cfnsr.errors import ClipError
from cfnsr.media.audio import FULL_SCALE, mixable
from cfnsr.media.container import continuous, open_media
from cfnsr.media.video import Picture, decode

_GAP = 0.1  # s; time stamps that are off by more are a gap in the sound, by less they are rounding


class Sound(NamedTuple):
    """A piece of sound."""

    time: float
    """Of its first sample, in seconds from the file's start."""
    samples: NDArray[np.float32]
    """Mono, (n,), between -1 and 1."""


def stream_pictures(path: Path, spacing: float) -> Iterator[Picture]:
    """Pictures in the order of time, no two of them closer than `spacing` seconds.

    Raises:
        ClipError: the file can't be read or has no video track.
    """
    last = -np.inf
    for decoded in decode(path):
        if decoded.time - last >= spacing - 1e-6:
            last = decoded.time
            yield decoded.picture()


def stream_sound(path: Path, sample_rate: int) -> Iterator[Sound]:
    """The first audio track as one channel, resampled; gaps in its time stamps are gaps between the pieces.

    Args:
        path: media file.
        sample_rate: of the result, in Hz.

    Raises:
        ClipError: the file can't be read or has no audio track.
    """
    with open_media(path) as container:
        if not container.streams.audio:
            raise ClipError(f"{path.name} has no audio track")
        stream = container.streams.audio[0]
        origin = (container.start_time or 0) / av.time_base
        run = _Run(0.0, sample_rate)
        for packet in continuous(container, [stream]):
            try:
                frames = packet.decode()
            except av.InvalidDataError:
                continue
            for frame in map(mixable, frames):
                time = run.until if frame.time is None else frame.time - origin
                if abs(time - run.until) > _GAP or not run.takes(frame):
                    yield from run.finish()
                    run = _Run(time, sample_rate)
                yield from run.resample(frame)
        yield from run.finish()


class _Run:
    """Sound without a gap, of one format."""

    def __init__(self, begin: float, sample_rate: int) -> None:
        self.until = begin  # s, end of what came in
        self._begin, self._rate, self._given = begin, sample_rate, 0
        self._format: tuple[str, str, int] | None = None
        # 32-bit integers, as in `read_audio`: for those FFmpeg normalises the mix-down.
        self._resampler = av.AudioResampler(format="s32", layout="mono", rate=sample_rate)

    def takes(self, frame: av.AudioFrame) -> bool:
        """Whether the frame has the format of those before."""
        return self._format in (None, _format(frame))

    def resample(self, frame: av.AudioFrame) -> Iterator[Sound]:
        """What can be given of the sound up to this frame's end."""
        self._format = _format(frame)
        self.until += frame.samples / frame.sample_rate
        yield from self._sounds(frame)

    def finish(self) -> Iterator[Sound]:
        """What the resampler still holds."""
        if self._format:
            yield from self._sounds(None)

    def _sounds(self, frame: av.AudioFrame | None) -> Iterator[Sound]:
        for piece in self._resampler.resample(frame):
            samples = (piece.to_ndarray()[0] / FULL_SCALE).astype(np.float32)
            yield Sound(self._begin + self._given / self._rate, samples)
            self._given += len(samples)


def _format(frame: av.AudioFrame) -> tuple[str, str, int]:
    return frame.format.name, frame.layout.name, frame.sample_rate
