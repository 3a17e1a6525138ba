"""Sound of a media file: any container and codec FFmpeg reads, as mono samples at the rate asked for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import av
import numpy as np
from numpy.typing import NDArray

from cfnsr.errors import ClipError
from cfnsr.media.container import open_media

if TYPE_CHECKING:
    from av.audio.stream import AudioStream
    from av.container import InputContainer

PREROLL = 0.5
"""Seconds decoded before and after a window: what decoders (Opus: 80 ms) and the resampler's filter need to settle."""

FULL_SCALE = np.float64(2**31)
"""What 32-bit samples are divided by."""


def read_audio(
    path: Path, sample_rate: int, start: float = 0.0, duration: float | None = None, *, damaged: bool = False
) -> NDArray[np.float32]:
    """Decode the first audio track, mixed down to one channel and resampled.

    Channels are weighted so that they never overflow (stereo: the mean; 5.1: FFmpeg's matrix, normalised; channels of
    which the file does not say what they are, as recorders with many microphones write them: the mean). Time is counted
    from the beginning of the file: where the track begins later than the picture, zeros fill the gap. A window costs
    what the window costs, however long the file is.

    Args:
        path: media file.
        sample_rate: of the result, in Hz.
        start: of the window, in seconds.
        duration: of the window, in seconds; None reads to the end.
        damaged: pass over packets that can't be decoded, such as the last one of a file that is cut off.

    Returns:
        Samples (n,) between -1 and 1; fewer than asked for where the track ends earlier, none beyond its end.

    Raises:
        ClipError: there is no audio track, it holds nothing, or it can't be decoded.
    """
    with open_media(path) as container:
        if not container.streams.audio:
            raise ClipError(f"{path.name} has no audio track")
        stream = container.streams.audio[0]
        origin = (container.start_time or 0) / av.time_base
        if start > PREROLL and stream.time_base:
            container.seek(int((origin + start - PREROLL) / stream.time_base), stream=stream)
        # 32-bit integers out: for those (not for floats) FFmpeg normalises the mix-down, and none of 24 bits is lost.
        resampler = av.AudioResampler(format="s32", layout="mono", rate=sample_rate)
        pieces: list[NDArray[np.int32]] = []
        begin: float | None = None  # time of the first sample kept, s
        now = 0.0
        for frame in map(mixable, _decoded(container, stream, damaged)):
            if frame.time is not None:
                now = frame.time - origin
            if duration is not None and now >= start + duration + PREROLL:
                begin = now if begin is None else begin
                break
            end = now + frame.samples / frame.sample_rate
            if end > start - PREROLL:
                begin = now if begin is None else begin
                try:
                    pieces += [piece.to_ndarray()[0] for piece in resampler.resample(frame)]
                except ValueError:
                    raise ClipError(f"{path.name} changes its sample rate or channels in the middle") from None
            now = end
        if pieces:
            pieces += [piece.to_ndarray()[0] for piece in resampler.resample(None)]
    if begin is None:
        if start == 0:
            raise ClipError(f"{path.name} has an audio track without any sound data")
        return np.zeros(0, np.float32)
    first = round((start - begin) * sample_rate)  # negative: the track begins later than the window
    length = None if duration is None else round(duration * sample_rate)
    silence = np.zeros(max(-first, 0), np.int32)[:length]
    return (np.concatenate([silence, *pieces])[max(first, 0) :][:length] / FULL_SCALE).astype(np.float32)


def mixable(frame: av.AudioFrame) -> av.AudioFrame:
    """The frame, or the mean of its channels where the file does not say what they are.

    FFmpeg would guess, and leave out what it takes for the bass of 7.1 or for no loudspeaker at all.
    """
    channels = frame.layout.channels
    if len(channels) <= 2 or any(channel.name != "NONE" for channel in channels):
        return frame
    samples = frame.to_ndarray()
    each = samples if frame.format.is_planar else samples.reshape(-1, len(channels)).T
    mean = each.mean(axis=0, dtype=np.float64)
    if each.dtype == np.uint8:
        mean -= 128
    full = 1.0 if each.dtype.kind == "f" else 2.0 ** (8 * each.itemsize - 1)
    mixed = np.clip(mean / full * FULL_SCALE, -FULL_SCALE, FULL_SCALE - 1).astype(np.int32)
    whole = av.AudioFrame.from_ndarray(mixed[None], format="s32p", layout="mono")
    whole.sample_rate, whole.pts, whole.time_base = frame.sample_rate, frame.pts, frame.time_base
    return whole


def _decoded(container: InputContainer, stream: AudioStream, damaged: bool) -> Iterator[av.AudioFrame]:
    for packet in container.demux(stream):
        try:
            frames = packet.decode()
        except av.InvalidDataError:
            if not damaged:
                raise
            continue
        yield from frames
