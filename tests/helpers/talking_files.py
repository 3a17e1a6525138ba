"""Clips of people who talk: drawn faces and a rising tone, in any container and codec."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from fractions import Fraction
from itertools import repeat
from pathlib import Path
from typing import Any

import av
import numpy as np
from helpers.media_files import Sound, chirp
from helpers.permissions import no_realtime
from helpers.video_files import Image, background, draw_face

FPS = 25
CENTRE, SIZE = (160, 120), 120
"""Of the face, in pixels of a 320 x 240 picture."""

_TICKS = 1000  # a second
_BLOCK = 1024  # samples a packet, where the codec has no length of its own


def people(*centres: tuple[int, int], width: int = 320, height: int = 240, size: int = SIZE) -> Image:
    """A picture with a face at each of these points."""
    image = background(width, height)
    for centre in centres:
        draw_face(image, centre, size)
    return image


def write_talk(
    path: Path,
    seconds: float,
    frames: Iterable[Image] | None = None,
    sound: Sound | None = None,
    *,
    video: str | None = "libx264",
    audio: str | None = "aac",
    rate: int = 48000,
    layout: str = "mono",
    pix_fmt: str = "yuv420p",
    rotation: int = 0,
    times: Sequence[float] | None = None,
    options: dict[str, str] | None = None,
) -> Path:
    """Write a clip; the suffix chooses the container.

    Args:
        path: where.
        seconds: of picture and sound.
        frames: one a time; None: one face that stays where it is.
        sound: (channels, n) at `rate`; None: a tone.
        video, audio: codecs as FFmpeg calls them; None for no such track.
        rate: of the sound, Hz.
        layout: of the sound's channels.
        pix_fmt: of the video.
        rotation: degrees by which a player turns the picture counter-clockwise.
        times: of the frames, in seconds; None: 25 a second.
        options: of the container.
    """
    stamps = [number / FPS for number in range(round(seconds * FPS))] if times is None else times
    images = iter(repeat(people(CENTRE)) if frames is None else frames)
    with no_realtime(), av.open(str(path), "w", options=options or {}) as container:
        pictures: Any = None
        voice: Any = container.add_stream(audio, rate=rate) if audio else None
        if voice:
            voice.layout = layout
            voice.bit_rate = 64000  # Windows Media has no default
        if video:
            first = next(images)
            pictures = container.add_stream(video, rate=FPS)
            pictures.height, pictures.width = first.shape[:2]
            pictures.pix_fmt = pix_fmt
            if times is not None:
                pictures.codec_context.time_base = Fraction(1, _TICKS)
            if video == "libx264":
                pictures.options = {"preset": "ultrafast"}
            if rotation:
                pictures.set_display_rotation(rotation)
            unit = _TICKS if times is not None else FPS
            for number, stamp in enumerate(stamps):
                image = first if number == 0 else next(images)
                frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
                frame.pts, frame.time_base = round(stamp * unit), Fraction(1, unit)
                container.mux(pictures.encode(frame))
            container.mux(pictures.encode())
        if voice:
            samples = chirp(seconds, rate) if sound is None else sound
            for begin in range(0, samples.shape[1], _BLOCK):
                block = np.ascontiguousarray(samples[:, begin : begin + _BLOCK])
                wave = av.AudioFrame.from_ndarray(block, format="fltp", layout=layout)
                wave.sample_rate, wave.time_base, wave.pts = rate, Fraction(1, rate), begin
                container.mux(voice.encode(wave))
            container.mux(voice.encode())
    return path


def promise(path: Path, seconds: int) -> Path:
    """Make the header of a Matroska file say that it is so long; what it holds stays."""
    content = bytearray(path.read_bytes())
    duration = content.index(b"\x44\x89\x88")  # the element's name and its size, a double of 8 bytes, in milliseconds
    struct.pack_into(">d", content, duration + 3, 1000.0 * seconds)
    path.write_bytes(content)
    return path
