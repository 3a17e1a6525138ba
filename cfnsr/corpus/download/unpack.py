"""Taking RAVDESS files out of a zip, trusting nothing that the zip says."""

from __future__ import annotations

import lzma
import shutil
import stat
import struct
import zlib
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from zipfile import BadZipFile, ZipFile, ZipInfo

from cfnsr.corpus.ravdess import actor_folder, parse_name
from cfnsr.errors import InputError
from cfnsr.files import atomic_path

MIB = 1 << 20


@dataclass(frozen=True)
class Limits:
    """What no archive of RAVDESS comes near: its largest has 2452 files, its largest file some 10 MiB."""

    entries: int = 10_000
    entry_bytes: int = 256 * MIB
    total_bytes: int = 8192 * MIB
    ratio: float = 100.0  # unpacked over packed; of entries over a MiB, since a few equal bytes pack well
    packed_well: int = MIB


LIMITS = Limits()


@dataclass(frozen=True)
class Unpacked:
    """What came out of a zip."""

    files: dict[str, int]  # path below the raw folder -> bytes
    skipped: Counter[str]  # reason -> entries left in the zip


class _Skip(Exception):  # noqa: N818 - an ordinary answer
    pass


def unpack(
    archive: Path, raw: Path, actors: Collection[int], suffixes: Collection[str], limits: Limits = LIMITS
) -> Unpacked:
    """Unpack the speech files of some actors to `raw/Actor_NN/<published name>`, each written completely or not at all.

    Every target is put together from the checked file name, so no path in the zip can lead out of `raw`.

    Args:
        archive: the zip.
        raw: folder of the `Actor_NN` folders.
        actors: whose files to take.
        suffixes: which kinds of file to take.
        limits: what an honest zip doesn't exceed.

    Raises:
        InputError: the zip is damaged, encrypted, claims absurd sizes, or holds none of these files.
    """
    files: dict[str, int] = {}
    skipped: Counter[str] = Counter()
    with _sentences(archive.name), ZipFile(archive) as zipped:
        entries = [entry for entry in zipped.infolist() if not entry.is_dir()]
        _refuse_absurd(archive.name, entries, limits)
        for entry in entries:
            try:
                relative = _destination(entry, actors, suffixes)
                if relative in files:
                    raise _Skip("second file of the same name")
            except _Skip as reason:
                skipped[str(reason)] += 1
                continue
            with zipped.open(entry) as packed, atomic_path(raw / relative) as temporary, temporary.open("wb") as out:
                shutil.copyfileobj(packed, out, MIB)
            files[relative] = entry.file_size
    if not files:
        raise InputError(f"{archive.name} holds no RAVDESS file of the configured actors.")
    return Unpacked(files, skipped)


def _destination(entry: ZipInfo, actors: Collection[int], suffixes: Collection[str]) -> str:
    """Path of an entry below the raw folder."""
    path = PurePosixPath(entry.filename)
    kind = stat.S_IFMT(entry.external_attr >> 16)  # 0 where the zip was made without Unix modes
    if path.is_absolute() or ".." in path.parts or "\\" in entry.filename or kind not in (0, stat.S_IFREG):
        raise _Skip("unsafe path or kind")
    try:
        _, take = parse_name(path.name)
    except ValueError:
        raise _Skip("unexpected name") from None
    if path.suffix not in suffixes:
        raise _Skip("unexpected kind of file")
    if not take.is_speech:
        raise _Skip("song")
    if take.actor not in actors:
        raise _Skip("other actor")
    return f"{actor_folder(take.actor)}/{path.name}"


def _refuse_absurd(name: str, entries: list[ZipInfo], limits: Limits) -> None:
    if len(entries) > limits.entries:
        raise InputError(
            f"{name} claims {len(entries)} files, more than {limits.entries}: it is not what it should be."
        )
    for entry in entries:
        if entry.file_size > limits.entry_bytes:
            claim = f"{entry.file_size / MIB:.0f} MiB"
        elif entry.file_size > limits.packed_well and entry.file_size > limits.ratio * entry.compress_size:
            claim = f"{entry.file_size / MIB:.0f} MiB from {entry.compress_size} bytes"
        else:
            continue
        raise InputError(f"{name} claims {claim} for {entry.filename!r}: it is refused as a zip bomb.")
    total = sum(entry.file_size for entry in entries)
    if total > limits.total_bytes:
        raise InputError(f"{name} claims {total / MIB:.0f} MiB in all: it is refused as a zip bomb.")


@contextmanager
def _sentences(name: str) -> Iterator[None]:
    try:
        yield
    except InputError:
        raise
    except (BadZipFile, EOFError, zlib.error, lzma.LZMAError, struct.error, ValueError) as error:
        raise InputError(f"{name} is damaged or not a zip ({error}).") from None
    except RuntimeError as error:  # how zipfile refuses unknown compression, and encryption
        raise InputError(f"{name} can't be unpacked ({error}).") from None
