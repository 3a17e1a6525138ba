"""Extracting RAVDESS files from a zip archive, which is not trusted."""

from __future__ import annotations

import stat
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, ZipFile, ZipInfo

from cfnsr.corpus.ravdess import actor_folder, parse_name
from cfnsr.errors import InputError
from cfnsr.files import atomic_path

MIB = 1 << 20
# Far above any archive of RAVDESS: the largest one has 2452 files and unpacks to less than 2 GiB.
MAX_FILES = 10_000
MAX_MIB = 8192


@dataclass(frozen=True)
class Unpacked:
    """Result of `unpack_archive`."""

    files: dict[str, int]  # path below the raw folder -> bytes
    excluded: Counter[str]  # reason -> number of entries


class _Excluded(Exception):  # noqa: N818 - an expected outcome, not an error
    pass


def unpack_archive(archive: Path, raw: Path, actors: Collection[int], suffixes: Collection[str]) -> Unpacked:
    """Extract the speech files of some actors to `raw/Actor_NN/<published name>`, each completely or not at all.

    Every target path is built from the validated file name, so no path in the zip can lead out of `raw`.

    Args:
        archive: the zip.
        raw: folder of the `Actor_NN` folders.
        actors: whose files to extract.
        suffixes: file-name suffixes to extract.

    Raises:
        InputError: the zip is damaged, encrypted, packed in an unusual way, claims absurd sizes, or holds none of these
            files.
    """
    files: dict[str, int] = {}
    excluded: Counter[str] = Counter()
    with _opened(archive) as zipped:
        entries = [entry for entry in zipped.infolist() if not entry.filename.endswith("/")]
        claimed = sum(entry.file_size for entry in entries) / MIB
        if len(entries) > MAX_FILES or claimed > MAX_MIB:
            raise InputError(f"{archive.name} claims {len(entries)} files of {claimed:.0f} MiB: it may be a zip bomb.")
        for entry in entries:
            try:
                relative = _destination(entry, actors, suffixes)
                if relative in files:
                    raise _Excluded("second file of the same name")
            except _Excluded as reason:
                excluded[str(reason)] += 1
                continue
            with atomic_path(raw / relative) as temporary, temporary.open("wb") as out:
                for piece in _content(zipped, entry, archive.name):
                    out.write(piece)
            files[relative] = entry.file_size
    if not files:
        raise InputError(f"{archive.name} holds no RAVDESS file of the configured actors.")
    return Unpacked(files, excluded)


def _destination(entry: ZipInfo, actors: Collection[int], suffixes: Collection[str]) -> str:
    """Path of an entry below the raw folder; raises `_Excluded` with the reason if it is not wanted."""
    path = PurePosixPath(entry.filename)
    kind = stat.S_IFMT(entry.external_attr >> 16)  # 0 where the zip was made without Unix modes
    if path.is_absolute() or ".." in path.parts or "\\" in entry.filename or kind not in (0, stat.S_IFREG):
        raise _Excluded("unsafe path or kind")
    try:
        _, take = parse_name(path.name)
    except ValueError:
        raise _Excluded("unexpected name") from None
    if path.suffix not in suffixes:
        raise _Excluded("unexpected kind of file")
    if take.channel == "song":
        raise _Excluded("song")
    if take.actor not in actors:
        raise _Excluded("other actor")
    return f"{actor_folder(take.actor)}/{path.name}"


@contextmanager
def _opened(archive: Path) -> Iterator[ZipFile]:
    with _input_errors(archive.name):
        zipped = ZipFile(archive)
    with zipped:
        yield zipped


def _content(zipped: ZipFile, entry: ZipInfo, name: str) -> Iterator[bytes]:
    if entry.compress_type not in (ZIP_STORED, ZIP_DEFLATED):  # of others, a few bytes may unpack to gigabytes at once
        raise InputError(f"{name} is packed in another way than RAVDESS's archives; pack it again with deflate.")
    left = entry.file_size
    with _input_errors(name), zipped.open(entry) as packed:
        while piece := packed.read(MIB):
            left -= len(piece)
            yield piece
        if left:
            raise BadZipFile(f"{entry.filename} is {left} bytes shorter than it should be")


@contextmanager
def _input_errors(name: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # reading what can't be trusted may raise anything
        raise InputError(f"{name} is damaged or not a usable zip ({error}).") from None
