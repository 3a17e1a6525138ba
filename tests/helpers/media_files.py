"""Media files made on the fly, in any container and codec, and sound to put into them."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from itertools import count
from pathlib import Path
from typing import Any

import av
import numpy as np
from helpers.permissions import no_realtime
from numpy.typing import NDArray

Image = NDArray[np.uint8]  # (H, W, 3), RGB
Sound = NDArray[np.float32]  # (channels, n), between -1 and 1

CODECS = {".wav": "pcm_s16le", ".flac": "flac", ".mp4": "aac", ".mp3": "libmp3lame"}
FPS = 25
_TICKS = 1000  # per second, of frames at given times
_BLOCK = 1024  # samples per packet, for codecs that prescribe no length


def chirp(seconds: float, rate: int = 48000, level: float = 0.5) -> Sound:
    """A mono tone that rises from 200 Hz to 1800 Hz, so that no two moments of it sound alike: (1, n)."""
    time = np.arange(round(seconds * rate)) / rate
    phase = 2 * np.pi * (200 * time + 800 / seconds * time**2)
    return (level * np.sin(phase))[None].astype(np.float32)


def tone(seconds: float, pitch: float, rate: int = 16000) -> Sound:
    """A mono tone of `pitch` Hz."""
    return (0.5 * np.sin(2 * np.pi * pitch * np.arange(round(seconds * rate)) / rate))[None].astype(np.float32)


def silence(seconds: float, rate: int = 48000) -> Sound:
    """Digital silence, mono."""
    return np.zeros((1, round(seconds * rate)), np.float32)


def encode(
    path: Path,
    frames: Iterable[Image] | None = None,
    sound: Sound | None = None,
    *,
    times: Iterable[float] | None = None,
    video: str = "libx264",
    pix_fmt: str = "yuv420p",
    rotation: int = 0,
    mirrored: bool = False,
    video_options: dict[str, str] | None = None,
    audio: str = "",
    rate: int = 48000,
    layout: str = "mono",
    sound_delay: float = 0.0,
    options: dict[str, str] | None = None,
) -> Path:
    """Write a media file. `video` and `audio` are codecs by their FFmpeg names.

    Args:
        path: the suffix chooses the container; the folder is created.
        frames: of one size; None for no video track.
        sound: (channels, n) at `rate`; None for no audio track.
        times: of the frames, in seconds; None for 25 frames/s.
        video: codec.
        pix_fmt: pixel format of the video.
        rotation: degrees by which a player turns the picture counter-clockwise.
        mirrored: whether a player turns it upside down after that.
        video_options: of the video encoder.
        audio: codec; empty for the usual one of the container.
        rate: of the sound, Hz.
        layout: channel layout of the sound.
        sound_delay: seconds by which the audio track starts after the video.
        options: of the container.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with no_realtime(), av.open(str(path), "w", options=options or {}) as container:
        stream: Any = None
        voice: Any = None
        if frames is not None:
            preset = {"preset": "ultrafast"} if video == "libx264" else {}
            stream = container.add_stream(video, rate=FPS, options=video_options or preset)
            stream.pix_fmt = pix_fmt
        if sound is not None:
            voice = container.add_stream(audio or CODECS[path.suffix], rate=rate, layout=layout)
            if audio.startswith("wma"):
                voice.bit_rate = 64000  # it has no default
        if frames is not None:
            _encode_frames(container, stream, frames, times, rotation, mirrored)
        if voice:
            for start in range(0, sound.shape[1], _BLOCK):
                samples = np.ascontiguousarray(sound[:, start : start + _BLOCK])
                block = av.AudioFrame.from_ndarray(samples, format="fltp", layout=layout)
                block.sample_rate, block.time_base = rate, Fraction(1, rate)
                block.pts = start + round(sound_delay * rate)
                container.mux(voice.encode(block))
            container.mux(voice.encode())
    return path


def _encode_frames(
    container: Any,
    stream: Any,
    frames: Iterable[Image],
    times: Iterable[float] | None,
    rotation: int,
    mirrored: bool,
) -> None:
    unit = FPS if times is None else _TICKS
    stamps = (number / FPS for number in count()) if times is None else times
    stream.codec_context.time_base = Fraction(1, unit)
    for number, (stamp, image) in enumerate(zip(stamps, frames, strict=False)):
        if number == 0:
            stream.height, stream.width = image.shape[:2]
            if rotation or mirrored:
                stream.set_display_rotation(rotation, vflip=mirrored)
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
        frame.pts, frame.time_base = round(stamp * unit), Fraction(1, unit)
        container.mux(stream.encode(frame))
    container.mux(stream.encode())


def write_media(path: Path, sound: Sound | None = None, *, codec: str = "", picture: float = 0.0, **more: Any) -> Path:
    """A file of sound and of `picture` seconds of small grey pictures; `codec` is of the sound, see `encode`."""
    greys = (np.full((48, 64, 3), (40 + number) % 256, np.uint8) for number in range(round(picture * FPS)))
    # The index of an mp4 file comes first, so that a truncated file can still be opened.
    options = {"movflags": "faststart"} if path.suffix == ".mp4" else {}
    return encode(path, greys if picture else None, sound, audio=codec, options=options, **more)


def cut(path: Path, share: float) -> Path:
    """Keep only the first `share` of a file's bytes."""
    path.write_bytes(path.read_bytes()[: round(path.stat().st_size * share)])
    return path
