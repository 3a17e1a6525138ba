"""Damage to the bytes of a file, as disks, networks and editors do it."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple


def flip(content: bytearray, rng: random.Random) -> bytearray:
    """Replace 1 to 256 bytes anywhere."""
    for _ in range(2 ** rng.randint(0, 8)):
        content[rng.randrange(len(content))] ^= rng.randint(1, 255)
    return content


def truncate(content: bytearray, rng: random.Random) -> bytearray:
    """Keep only the beginning."""
    return content[: rng.randrange(1, len(content))]


def swap(content: bytearray, rng: random.Random) -> bytearray:
    """Exchange two parts of equal length."""
    size = rng.randint(1, max(1, len(content) // 8))
    first = rng.randrange(len(content) - 2 * size + 1)
    second = rng.randrange(first + size, len(content) - size + 1)
    one, other = content[first : first + size], content[second : second + size]
    content[first : first + size], content[second : second + size] = other, one
    return content


def edit_header(content: bytearray, rng: random.Random) -> bytearray:
    """Overwrite 1 to 4 numbers of four bytes in the first or last two kilobytes, where sizes and lengths are."""
    for _ in range(rng.randint(1, 4)):
        near = rng.randrange(min(2048, len(content) - 3))
        place = near if rng.random() < 0.5 else len(content) - 4 - near
        value = rng.choice((0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, rng.getrandbits(32)))
        content[place : place + 4] = value.to_bytes(4, rng.choice(("big", "little")))
    return content


MUTATIONS: dict[str, Callable[[bytearray, random.Random], bytearray]] = {
    "flip": flip,
    "truncate": truncate,
    "swap": swap,
    "header": edit_header,
}
"""By name; each takes a copy of the content, of at least 64 bytes."""


class Task(NamedTuple):
    """A file to be made."""

    number: int
    source: Path
    mutation: str
    seed: int

    @property
    def name(self) -> str:
        """Its name."""
        return f"{self.number:04d}-{self.mutation}-{self.source.stem}{self.source.suffix}"

    def write(self, folder: Path) -> Path:
        """Make the file."""
        content = bytearray(self.source.read_bytes())
        path = folder / self.name
        path.write_bytes(MUTATIONS[self.mutation](content, random.Random(f"{self.seed} {self.number}")))
        return path
