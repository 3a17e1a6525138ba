"""Writing files so that a killed process never leaves half of one under its final name."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from cfnsr.errors import InputError

PARTIAL = ".part"


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it is flushed to disk and renamed, on failure removed.

    The name is stable (`<name>.part`), so what a SIGKILL leaves behind is overwritten by the next run instead of piling
    up.

    Raises:
        OSError: as the block does; one that says that the disk is full names `path`, if it names no file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + PARTIAL)
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT) and error.filename is None:
            error.filename = str(path)  # a write to an open file does not say which one it is
        raise


@contextmanager
def locked(path: Path, busy: str) -> Iterator[None]:
    """Hold a lock file, which the system lets go when this process ends, however it does.

    Raises:
        InputError: another process holds it; its sentence is `busy`.
    """
    from filelock import FileLock, Timeout

    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(path, timeout=0):
            yield
    except Timeout:
        raise InputError(busy) from None


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8, atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def visible_files(folder: Path) -> Iterator[Path]:
    """All files below a folder but hidden ones and those in hidden folders; broken symbolic links are among them.

    Linked folders are followed, but each folder is entered only once, so that links in circles end.

    Raises:
        InputError: one of the folders can't be read; its files would be missed in silence.
    """

    def refuse(error: OSError) -> None:
        if isinstance(error, FileNotFoundError | NotADirectoryError):
            return  # there are no files in what is not there
        raise InputError(
            f"the folder {error.filename} can't be read ({error.strerror}): change its permissions, or move it away."
        ) from error

    seen = set()
    for parent, subfolders, names in os.walk(folder, followlinks=True, onerror=refuse):
        if (real := os.path.realpath(parent)) in seen:
            subfolders.clear()
            continue
        seen.add(real)
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        yield from (Path(parent, name) for name in sorted(names) if not name.startswith("."))


def file_digest(path: Path, algorithm: str = "md5") -> str:
    """Hex digest of a file's content, read in blocks (md5 because that is what Zenodo publishes)."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def code_digest(sources: Iterable[str]) -> str:
    """Digest of Python sources, so that what older code made is not taken for what the present code makes.

    Args:
        sources: files and folders of this package as dvc.yaml names them, for example `cfnsr/media`.
    """
    digest = hashlib.sha256()
    for source in sources:
        path = Path(__file__).parent.parent / source
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            digest.update(file.read_bytes())
    return digest.hexdigest()
