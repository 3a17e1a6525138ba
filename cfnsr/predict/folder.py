"""Which files of a folder are clips."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from cfnsr.errors import InputError
from cfnsr.files import visible_files

_VIDEO = "3g2 3gp asf avi flv m2ts m4v mkv mov mp4 mpeg mpg mts mxf ogv ts vob webm wmv"
_AUDIO = "aac ac3 aif aiff amr flac m4a mka mp3 oga ogg opus wav wma"
SUFFIXES = frozenset(f".{name}" for name in f"{_VIDEO} {_AUDIO}".split(" "))
"""Of what is taken from a folder. A file that is named itself may have any."""


def clips_of(paths: Iterable[Path]) -> list[Path]:
    """The files that were named, and every video and audio file below the folders that were named.

    Raises:
        InputError: a folder has none.
    """
    clips: list[Path] = []
    for path in paths:
        if not path.is_dir():
            clips.append(path)
            continue
        found = [file for file in visible_files(path) if file.suffix.lower() in SUFFIXES]
        if not found:
            raise InputError(f"there is no video or audio file below {path}; name a folder that has some.")
        clips += found
    return clips
