"""Sound of a media file: any container and codec that FFmpeg reads, as mono samples at the rate asked for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
from numpy.typing import NDArray

from cfnsr.errors import ClipError
from cfnsr.media.container import MediaReader, decoding_errors, open_reader

_FULL_SCALE = np.float64(2**31)  # of the resampler's 32-bit samples
_CANCELLED = 0.01  # of the power of the channels: their mean has less only if they cancel each other out
_MOST_PLANES = 8  # of FFmpeg's fixed list of pointers; PyAV reads those of further channels from beyond its end
_GAP = 0.1  # s; time stamps that differ by more mark a gap in the sound, by less they are rounding


class Sound(NamedTuple):
    """A piece of sound."""

    first: int
    """Number of its first sample, counted from the start of the file."""
    samples: NDArray[np.float32]
    """Mono, (n,), between -1 and 1."""

    @property
    def end(self) -> int:
        """Number of the sample that follows its last one."""
        return self.first + len(self.samples)


def read_audio(path: Path, sample_rate: int, start: float = 0.0, duration: float | None = None) -> NDArray[np.float32]:
    """Decode the main audio track, mixed down to one channel and resampled.

    Time is counted from the start of the file, see `stream_sound`; zeros fill the gaps, and the time before a track
    that starts later than the picture.

    Args:
        path: media file.
        sample_rate: of the result, in Hz.
        start: of the window, in seconds.
        duration: of the window, in seconds; None reads to the end.

    Returns:
        Samples (n,) between -1 and 1; fewer than asked for where the track ends earlier.

    Raises:
        ClipError: there is no audio track, it is empty, or it can't be decoded.
    """
    first = round(start * sample_rate)
    last = None if duration is None else first + round(duration * sample_rate)
    pieces: list[Sound] = []
    end = None
    with open_reader(path) as reader:
        reader.drop(reader.video)
        for sound in stream_sound(reader, sample_rate, strict=True):
            end = sound.end
            if end > first:
                pieces.append(sound)
            if last is not None and end >= last:
                break
    if end is None:
        raise ClipError(f"{path.name} has an audio track without any sound data")
    return join_sound(pieces, first, max(end if last is None else min(end, last), first))


def join_sound(sounds: Iterable[Sound], first: int, last: int) -> NDArray[np.float32]:
    """The samples from number `first` to before `last` (last - first,), zeros where there is no sound."""
    window = np.zeros(last - first, np.float32)
    for sound in sounds:
        begin, end = max(sound.first, first), min(sound.end, last)
        if begin < end:
            window[begin - first : end - first] = sound.samples[begin - sound.first : end - sound.first]
    return window


def stream_sound(reader: MediaReader, sample_rate: int, *, strict: bool = False) -> Iterator[Sound]:
    """The audio track as one channel, resampled, in small pieces; memory does not grow with the length of the file.

    Channels are weighted so that they never overflow (stereo: the mean; 5.1: FFmpeg's normalised matrix); where they
    cancel each other out, the loudest one is taken. Gaps in the time stamps are gaps between the pieces.

    Args:
        reader: of the file.
        sample_rate: of the result, in Hz.
        strict: raise an error for damage, instead of skipping it.

    Raises:
        LimitError: there is more sound than the time stamps leave room for.
        ClipError: the file can't be read or has no audio track.
    """
    if reader.audio is None:
        raise ClipError(f"{reader.name} has no audio track")
    run = _Run(0.0, sample_rate)
    with decoding_errors(reader.name):
        for packet in reader.packets(reader.audio):
            for frame in reader.decode(packet):
                time = run.until if frame.time is None else frame.time - reader.start
                if abs(time - run.until) > _GAP or not run.accepts(frame) or run.is_empty:
                    yield from run.finish()
                    run = _Run(time, sample_rate)
                yield from run.resample(frame)
            if strict and reader.damage:
                raise ClipError(f"{reader.name} {reader.fault()}")
        yield from run.finish()


class _Run:
    """Sound without a gap, of one format."""

    def __init__(self, start: float, sample_rate: int) -> None:
        self.until = start  # s, end of the frames so far
        self._first = round(start * sample_rate)
        self._format: tuple[str, str, int] | None = None
        # 32-bit integers: for these (not for floats) FFmpeg normalises the mix-down, and 24-bit sound loses nothing.
        self._resampler = av.AudioResampler(format="s32", layout="mono", rate=sample_rate)

    @property
    def is_empty(self) -> bool:
        return self._format is None

    def accepts(self, frame: av.AudioFrame) -> bool:
        """Whether the frame has the format of those before."""
        return self._format in (None, _format(frame))

    def resample(self, frame: av.AudioFrame) -> Iterator[Sound]:
        """The samples that are ready after this frame."""
        self._format = _format(frame)
        self.until += frame.samples / frame.sample_rate
        yield from self._sounds(frame)

    def finish(self) -> Iterator[Sound]:
        """The samples that the resampler still holds."""
        if not self.is_empty:
            yield from self._sounds(None)

    def _sounds(self, frame: av.AudioFrame | None) -> Iterator[Sound]:
        for piece in self._resampler.resample(frame if frame is None else _mixable(frame)):
            samples = (piece.to_ndarray()[0] / _FULL_SCALE).astype(np.float32)
            yield Sound(self._first, samples)
            self._first += len(samples)


def _format(frame: av.AudioFrame) -> tuple[str, str, int]:
    return frame.format.name, frame.layout.name, frame.sample_rate


def _mixable(frame: av.AudioFrame) -> av.AudioFrame:
    """A frame that can be mixed down: samples that are not numbers are silence, and no channels cancel each other out.

    In stereo of opposite phase, from a cable that is wired the wrong way round, the mean of the channels is nothing.
    """
    count, kind = frame.layout.nb_channels, frame.format.name
    is_float = kind.startswith(("flt", "dbl"))
    if (count == 1 and not is_float) or kind.startswith("s64"):  # which PyAV can't convert
        return frame
    if frame.format.is_planar and count > _MOST_PLANES:
        return frame
    stored = frame.to_ndarray()
    channels = stored if frame.format.is_planar else stored.reshape(-1, count).T  # (channels, n)
    mended = np.nan_to_num(channels, posinf=0, neginf=0) if is_float and not np.isfinite(channels).all() else channels
    if count > 1:
        levels = mended - mended.mean(axis=1, keepdims=True, dtype=np.float64)
        powers = np.square(levels).mean(axis=1)
        if np.square(levels.mean(axis=0)).mean() < _CANCELLED * powers.mean():
            mended = np.repeat(mended[powers.argmax()][None], count, axis=0)
    if mended is channels:
        return frame
    packed = mended if frame.format.is_planar else mended.T.reshape(1, -1)
    result = av.AudioFrame.from_ndarray(np.ascontiguousarray(packed), format=kind, layout=frame.layout.name)
    result.sample_rate, result.pts, result.time_base = frame.sample_rate, frame.pts, frame.time_base
    return result
