"""File utilities: atomic writing, locks, traversal and digests."""

from __future__ import annotations

import errno
import hashlib
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from cfnsr.errors import InputError

PARTIAL = ".part"


def ensure_utf8() -> None:
    """Start the program again in Python's UTF-8 mode if the locale has another encoding.

    PyArrow and OpenCV pass file names to the system as UTF-8 in every locale, and Python does from version 3.15 on.
    """
    if sys.getfilesystemencoding() != "utf-8":
        os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it is flushed to disk and renamed, on failure removed.

    The temporary name is fixed (`<name>.part`), so the next run overwrites what a killed process left behind.

    Raises:
        OSError: raised by the block. If the disk is full and the error names no file, `path` is added.
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
            error.filename = str(path)  # errors of writes to an open file do not name it
        raise


@contextmanager
def locked(path: Path, busy: str) -> Iterator[None]:
    """Hold a lock file while the block runs; the system releases it when the process ends, even if it is killed.

    Raises:
        InputError: another process holds it; the message is `busy`.
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
    """All files below a folder, including broken symbolic links, but not hidden files or files in hidden folders.

    Links to folders are followed, but each folder is visited only once, so circular links end.

    Raises:
        InputError: a folder can't be read; its files would be missed silently.
    """

    def refuse(error: OSError) -> None:
        if isinstance(error, FileNotFoundError | NotADirectoryError):
            return  # a folder that does not exist has no files
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


def file_digest(path: Path) -> str:
    """Hex md5 of a file's content, as Zenodo publishes it."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()


def code_digest(sources: Iterable[str]) -> str:
    """Digest of Python sources, which tells whether an output was made by the current version of the code.

    Args:
        sources: files and folders of this project as named in dvc.yaml, for example `cfnsr/media`.
    """
    digest = hashlib.sha256()
    for source in sources:
        path = Path(__file__).parent.parent / source
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            digest.update(file.read_bytes())
    return digest.hexdigest()
