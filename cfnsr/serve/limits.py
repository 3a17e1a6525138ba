"""What a server accepts: how large and how long a clip may be, and where it may come from."""

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


def _split(value: object) -> object:
    return value.lower().replace(",", " ").split() if isinstance(value, str) else value


def _known_schemes(schemes: frozenset[str]) -> frozenset[str]:
    if unknown := schemes - {"http", "https"}:
        raise ValueError(f"{', '.join(sorted(unknown))} can't be fetched; only http and https can")
    return schemes


class ServerLimits(BaseModel):
    """What a server accepts. The operator sets the limits, not the clients."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_megabytes: float = Field(200.0, gt=0, allow_inf_nan=False)
    """Size of a clip; a minute of video from a phone has about 130."""
    max_seconds: float = Field(600.0, gt=0, allow_inf_nan=False)
    """Duration of a clip."""
    max_megapixels: float = Field(9.0, gt=0, allow_inf_nan=False)
    """Size of a frame; 4K has 8.3. All frames of a window are in memory at once."""
    max_rows: int = Field(1000, gt=0)
    """Rows of a request, with one clip each."""
    max_at_once: int = Field(2, gt=0)
    """Requests to the REST server that are answered at the same time; the page answers one visitor at a time."""
    max_waiting: int = Field(100, gt=0)
    """Visitors or requests that wait for their turn."""
    url_schemes: Annotated[frozenset[str], BeforeValidator(_split), AfterValidator(_known_schemes)] = frozenset()
    """Schemes of URLs that are fetched; none by default, so that clients can't make the server send requests."""
    private_urls: bool = False
    """Whether URLs may lead to private addresses, as needed in a closed network."""
    paths_below: Path = Path()
    """Folder whose files clients may name by path; by default the one that the server runs in."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> ServerLimits:
        """Read CFNSR_MAX_MEGABYTES, CFNSR_MAX_SECONDS, CFNSR_MAX_MEGAPIXELS, CFNSR_MAX_ROWS, CFNSR_MAX_AT_ONCE,
        CFNSR_MAX_WAITING, CFNSR_URL_SCHEMES, CFNSR_PRIVATE_URLS and CFNSR_PATHS_BELOW.

        Raises:
            InputError: a value is invalid.
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
        """Maximum size of a clip in bytes."""
        return round(self.max_megabytes * _MEGABYTE)

    def check_size(self, size: float) -> None:
        """Check the size of a clip in bytes.

        Raises:
            ClipError: it is too large.
        """
        if size > self.max_bytes:
            raise ClipError(
                f"the clip has {size / _MEGABYTE:.1f} MB or more; this server accepts up to {self.max_megabytes:g} MB"
            )

    def check(self, clip: Path) -> Extent:
        """Check a file before anything in it is decoded, and return its duration and frame size.

        The duration is that of the file's packets, because headers can't be trusted.

        Raises:
            ClipError: it is too large or too long, or not a media file.
        """
        if clip.exists():
            self.check_size(clip.stat().st_size)
        extent = find_extent(clip, self.max_seconds)
        if extent.pixels > self.max_megapixels * _MEGAPIXEL:
            raise ClipError(
                f"the frames of {clip.name} have {extent.pixels / _MEGAPIXEL:.1f} megapixels; this server accepts up "
                f"to {self.max_megapixels:g}"
            )
        if extent.seconds > self.max_seconds:
            raise ClipError(f"{clip.name} is longer than {clock(self.max_seconds)}, the maximum on this server")
        return extent
