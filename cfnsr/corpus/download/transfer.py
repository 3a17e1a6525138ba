"""Fetching one large file: resumed where it was cut, checked by size and md5, patient with a server in trouble.

This module knows nothing of protocols. An `Opener` (HTTP in `http.py`, S3 in `s3.py`) opens the file at an offset and
raises `Transient` for what may pass and `InputError` for what won't.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from threading import Event

from tqdm import tqdm

from cfnsr.errors import InputError
from cfnsr.files import PARTIAL, file_digest, write_text

logger = logging.getLogger(__name__)

ETAG = ".etag"
CHUNK = 1 << 18  # bytes; the most that one read asks for


@dataclass(frozen=True)
class Published:
    """What a file must be when it has arrived."""

    name: str
    size: int  # bytes
    md5: str  # hex


@dataclass(frozen=True)
class Patience:
    """How long to go on with a server that does not answer as it should."""

    attempts: int = 8  # in a row without a new byte; any progress starts the count again
    full_transfers: int = 2  # of a file that arrives complete but wrong
    first_wait: float = 1.0  # s, doubled after each attempt
    longest_wait: float = 60.0  # s
    longest_retry_after: float = 600.0  # s, of what a server may ask for
    connect_timeout: float = 15.0  # s
    stall_timeout: float = 30.0  # s without a byte

    def delay(self, failures: int, retry_after: float | None = None) -> float:
        """Seconds to wait after the n-th failure in a row: doubled each time, with jitter, not less than asked for."""
        backoff = min(self.longest_wait, self.first_wait * 2 ** (failures - 1)) * random.uniform(0.5, 1.0)
        return max(backoff, min(retry_after or 0.0, self.longest_retry_after))


PATIENCE = Patience()


class Transient(Exception):  # noqa: N818 - it is not an error yet
    """A transfer broke in a way that may pass.

    Args:
        reason: half a sentence for the log.
        retry_after: seconds the server asks to wait.
        start_over: the bytes so far can't be continued.
    """

    def __init__(self, reason: str, *, retry_after: float | None = None, start_over: bool = False) -> None:
        super().__init__(reason)
        self.retry_after = retry_after
        self.start_over = start_over


class Interrupted(Exception):  # noqa: N818 - it is the wish of the caller
    """The transfer was told to stop; what has arrived is kept."""


@dataclass(frozen=True)
class Stream:
    """An open remote file."""

    offset: int  # where the server begins: as asked, or 0 when it can't resume
    total: int | None  # size of the whole file, when the server says it
    etag: str | None
    read: Callable[[], bytes]  # the next bytes; empty at the end


Opener = Callable[[int, str | None], AbstractContextManager[Stream]]
"""Opens the file at an offset; the ETag, if any, names the version that the bytes before it are from."""


class _Partial:
    """What has arrived of a file, and the ETag of the version it is from; both outlive the process."""

    def __init__(self, target: Path) -> None:
        self.path = target.with_name(target.name + PARTIAL)
        self._etag = target.with_name(target.name + ETAG)

    @property
    def size(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    @property
    def etag(self) -> str | None:
        return self._etag.read_text(encoding="utf-8") if self._etag.exists() else None

    def restart(self, etag: str | None) -> None:
        self.discard()
        if etag:
            write_text(self._etag, etag)  # before the first byte: bytes never outlive what says where they are from

    def discard(self) -> None:
        self.path.unlink(missing_ok=True)
        self._etag.unlink(missing_ok=True)

    def finish(self, target: Path) -> None:
        self.path.replace(target)
        self._etag.unlink(missing_ok=True)


def fetch(
    file: Published, open_stream: Opener, target: Path, patience: Patience = PATIENCE, stop: Event | None = None
) -> None:
    """Bring a file to `target`, which exists only once its size and md5 are right.

    What arrives is kept beside it as `<name>.part`; a later call goes on from there.

    Args:
        file: name, size and md5 it must have.
        open_stream: opens it at an offset.
        target: where it goes; its folder exists.
        patience: waits and limits.
        stop: when set, the transfer ends with `Interrupted`.

    Raises:
        InputError: the server refuses, stays silent for too long, or sends something else than what was published.
    """
    if target.exists():
        if _flaw(file, target) is None:
            return
        target.unlink()
    partial = _Partial(target)
    flaw: str | None = None
    with tqdm(
        total=file.size,
        initial=partial.size,
        desc=file.name,
        unit="B",
        unit_scale=True,
        unit_divisor=1024,
        leave=False,
    ) as bar:
        for _ in range(patience.full_transfers):
            _receive_all(file, open_stream, partial, bar, patience, stop or Event())
            flaw = _flaw(file, partial.path)
            if flaw is None:
                return partial.finish(target)
            partial.discard()
            logger.warning("%s: what arrived has %s; it was thrown away.", file.name, flaw)
    raise InputError(
        f"{file.name} has {flaw}, {patience.full_transfers} times: the server does not hold the published file."
    )


def _flaw(file: Published, path: Path) -> str | None:
    """What is wrong with a complete file, expected and found, as half a sentence."""
    size = path.stat().st_size
    if size != file.size:
        return f"{size} bytes instead of {file.size}"
    found = file_digest(path)
    return None if found == file.md5 else f"md5 {found} instead of {file.md5}"


def _receive_all(
    file: Published, open_stream: Opener, partial: _Partial, bar: tqdm, patience: Patience, stop: Event
) -> None:
    """Append to the partial file until it has the size it must have."""
    failures = 0
    furthest = partial.size
    while partial.size < file.size:
        try:
            with open_stream(partial.size, partial.etag) as stream:
                _receive(file, stream, partial, bar, stop)
        except Transient as error:
            # Measured against the furthest point: a server that always starts at zero and always breaks ends here too.
            failures = 1 if partial.size > furthest else failures + 1
            furthest = max(furthest, partial.size)
            kept = f"{partial.size} of {file.size} bytes"
            if failures >= patience.attempts:
                raise InputError(
                    f"{file.name}: {error}, {failures} times in a row; {kept} are kept: "
                    "run the same command again later, it goes on from there."
                ) from None
            if error.start_over:
                partial.discard()
                bar.reset()
            delay = patience.delay(failures, error.retry_after)
            logger.warning("%s: %s at %s; trying again in %.1f s.", file.name, error, kept, delay)
            if stop.wait(delay):
                raise Interrupted from None


def _receive(file: Published, stream: Stream, partial: _Partial, bar: tqdm, stop: Event) -> None:
    if stream.total not in (None, file.size):
        # Often an error page with status 200: what has arrived is kept.
        raise Transient(f"the server offers {stream.total} bytes instead of {file.size}")
    if stream.offset == 0:
        partial.restart(stream.etag)
        bar.reset()
    with partial.path.open("ab") as out:
        while (chunk := stream.read()) and out.tell() <= file.size:
            out.write(chunk)
            out.flush()  # a SIGKILL loses nothing that has arrived
            bar.update(len(chunk))
            if stop.is_set():
                raise Interrupted
    if partial.size < file.size:
        raise Transient("the connection was closed")
