"""What a server takes: how large, how long, and from where."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from cfnsr.errors import ClipError, InputError
from cfnsr.media.extent import Extent, find_extent
from cfnsr.predict.show.palette import clock

PREFIX = "CFNSR_"
_MEGABYTE = _MEGAPIXEL = 1_000_000
_PLAYLISTS = frozenset({".m3u", ".m3u8", ".mpd", ".ffconcat"})
"""FFmpeg would open the files that they name, wherever those are."""
_BEGINNINGS = (b"ffconcat", b"#extm3u", b"<?xml", b"<mpd", b"v=0")
"""Of playlists, which FFmpeg knows by their content too."""


def _names_files(clip: Path) -> bool:
    if not clip.is_file():
        return False  # opening it says what is wrong
    with clip.open("rb") as file:
        head = file.read(64)
    return head.removeprefix(b"\xef\xbb\xbf").lstrip().lower().startswith(_BEGINNINGS)


def _words(value: object) -> object:
    return value.lower().replace(",", " ").split() if isinstance(value, str) else value


def _known_schemes(schemes: frozenset[str]) -> frozenset[str]:
    if unknown := schemes - {"http", "https"}:
        raise ValueError(f"{', '.join(sorted(unknown))} can't be fetched; only http and https can")
    return schemes


class Limits(BaseModel):
    """What a server takes; whoever runs it sets them, not the clients."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_megabytes: float = Field(200.0, gt=0, allow_inf_nan=False)
    """Of one clip; a minute of a phone's video has about 130."""
    max_seconds: float = Field(600.0, gt=0, allow_inf_nan=False)
    """Of one clip."""
    max_megapixels: float = Field(9.0, gt=0, allow_inf_nan=False)
    """Of one picture of a clip; 4K has 8.3. All pictures of a window are in memory together."""
    max_rows: int = Field(1000, gt=0)
    """Of one request, a clip each."""
    url_schemes: Annotated[frozenset[str], BeforeValidator(_words), AfterValidator(_known_schemes)] = frozenset()
    """What URLs may begin with; none are fetched by default, so that nobody can let the server call others."""
    private_urls: bool = False
    """URLs may lead to this machine and its neighbours, as a tool of a closed network needs it."""
    paths_below: Path = Path()
    """Folder whose files may be named by their path; the one that the server runs in by default."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Limits:
        """Read CFNSR_MAX_MEGABYTES, CFNSR_MAX_SECONDS, CFNSR_MAX_MEGAPIXELS, CFNSR_MAX_ROWS, CFNSR_URL_SCHEMES,
        CFNSR_PRIVATE_URLS and CFNSR_PATHS_BELOW.

        Raises:
            InputError: one of them makes no sense.
        """
        names = {name: PREFIX + name.upper() for name in cls.model_fields}
        try:
            return cls.model_validate({name: environment[key] for name, key in names.items() if environment.get(key)})
        except ValidationError as error:
            first = error.errors()[0]
            key = names[str(first["loc"][0])]
            raise InputError(f"{key} is {environment[key]!r}: {first['msg']}; change it or unset it.") from None

    @property
    def max_bytes(self) -> int:
        """Of one clip."""
        return round(self.max_megabytes * _MEGABYTE)

    def check_size(self, size: float) -> None:
        """Refuse a clip of so many bytes if that is too much.

        Raises:
            ClipError: it is.
        """
        if size > self.max_bytes:
            raise ClipError(
                f"the clip has {size / _MEGABYTE:.1f} MB or more, and this server takes up to {self.max_megabytes:g} MB"
            )

    def check(self, clip: Path) -> Extent:
        """Refuse a file that is too large or too long, before anything of it is decoded. Returns how long it is.

        The length is that of the file's packets: headers can't be trusted with it.

        Raises:
            ClipError: it is, or is no media file.
        """
        if clip.exists():
            self.check_size(clip.stat().st_size)
        if clip.suffix.lower() in _PLAYLISTS or _names_files(clip):
            raise ClipError(f"{clip.name} is a list of files, not a clip")
        extent = find_extent(clip, self.max_seconds)
        if extent.pixels > self.max_megapixels * _MEGAPIXEL:
            raise ClipError(
                f"the pictures of {clip.name} have {extent.pixels / _MEGAPIXEL:.1f} megapixels, and this server takes "
                f"up to {self.max_megapixels:g}"
            )
        if extent.seconds > self.max_seconds:
            raise ClipError(f"{clip.name} is longer than the {clock(self.max_seconds)} that this server takes")
        return extent
