"""Clips of people who talk: drawn faces and a rising tone, in any container and codec."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from itertools import islice, repeat
from pathlib import Path
from typing import Any

from helpers.media_files import FPS, Image, Sound, chirp, encode
from helpers.video_files import background, draw_face

CENTRE, SIZE = (160, 120), 120
"""Of the face, in pixels of a 320 x 240 picture."""


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
    times: Sequence[float] | None = None,
    **more: Any,
) -> Path:
    """A clip of `seconds`, see `encode`: by default a face that stays where it is, and a rising tone.

    `video` or `audio` of None leaves that track out.
    """
    images = repeat(people(CENTRE)) if frames is None else frames
    pictures = islice(images, round(seconds * FPS) if times is None else len(times))
    voice = chirp(seconds, rate) if sound is None else sound
    codecs = {"video": video or "", "audio": audio or ""}
    return encode(path, pictures if video else None, voice if audio else None, times=times, rate=rate, **codecs, **more)


def promise(path: Path, seconds: int) -> Path:
    """Make the header of a Matroska file say that it is so long; what it holds stays."""
    content = bytearray(path.read_bytes())
    duration = content.index(b"\x44\x89\x88")  # the element's name and its size, a double of 8 bytes, in milliseconds
    struct.pack_into(">d", content, duration + 3, 1000.0 * seconds)
    path.write_bytes(content)
    return path
