"""Sound and clip files made on the fly: any codec, channel layout and rate; delayed, cut off, without a track."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

Sound = NDArray[np.float32]  # (channels, n), between -1 and 1

CODECS = {".wav": "pcm_s16le", ".flac": "flac", ".mp4": "aac", ".mp3": "libmp3lame"}
LANDMARK_HEADER = ", ".join(["frame", "timestamp", *(f"{axis}_{point}" for axis in "xy" for point in range(68))])


def chirp(seconds: float, rate: int = 48000, level: float = 0.5) -> Sound:
    """A mono tone that rises from 200 Hz to 1800 Hz, so that no two moments of it sound alike: (1, n)."""
    time = np.arange(round(seconds * rate)) / rate
    phase = 2 * np.pi * (200 * time + 800 / seconds * time**2)
    return (level * np.sin(phase))[None].astype(np.float32)


def silence(seconds: float, rate: int = 48000) -> Sound:
    """Digital silence, mono."""
    return np.zeros((1, round(seconds * rate)), np.float32)


def write_media(
    path: Path,
    sound: Sound | None = None,
    *,
    rate: int = 48000,
    layout: str = "mono",
    codec: str = "",
    sound_delay: float = 0.0,
    picture: float = 0.0,
) -> Path:
    """Write a media file; the suffix chooses the container.

    Args:
        path: where; its folder is made.
        sound: None for no audio track.
        rate: of the sound, Hz.
        layout: of the sound's channels, as FFmpeg calls it.
        codec: of the sound, as FFmpeg calls it; empty for the container's usual one.
        sound_delay: seconds by which the audio track begins after the picture.
        picture: seconds of a small grey picture; 0 for no video track.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # The index of an mp4 file comes first, so that a file that is cut off can still be opened.
    options = {"movflags": "faststart"} if path.suffix == ".mp4" else {}
    with av.open(str(path), "w", options=options) as container:
        video: Any = container.add_stream("libx264", rate=25, options={"preset": "ultrafast"}) if picture else None
        audio: Any = container.add_stream(codec or CODECS[path.suffix], rate=rate) if sound is not None else None
        if video:
            video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        if audio:
            audio.layout = layout
        if video:
            for number in range(round(picture * 25)):
                grey = np.full((48, 64, 3), (40 + number) % 256, np.uint8)
                frame = av.VideoFrame.from_ndarray(grey, format="rgb24")
                frame.pts, frame.time_base = number, Fraction(1, 25)
                container.mux(video.encode(frame))
            container.mux(video.encode())
        if audio and sound is not None:
            samples = av.AudioFrame.from_ndarray(np.ascontiguousarray(sound), format="fltp", layout=layout)
            samples.sample_rate, samples.time_base = rate, Fraction(1, rate)
            samples.pts = round(sound_delay * rate)
            container.mux(audio.encode(samples))
            container.mux(audio.encode())
    return path


def cut(path: Path, share: float) -> Path:
    """Keep only the first `share` of a file's bytes."""
    path.write_bytes(path.read_bytes()[: round(path.stat().st_size * share)])
    return path


def write_landmarks(path: Path) -> Path:
    """A table with the columns of OpenFace and one frame."""
    path.write_text(f"{LANDMARK_HEADER}\n1, 0.0, {', '.join(['10'] * 136)}\n", encoding="utf-8")
    return path
