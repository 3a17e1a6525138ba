"""What all transfers share: the published size and md5, the retry policy and the progress bar."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from cfnsr.files import file_digest


@dataclass(frozen=True)
class Published:
    """Size and md5 of a file at its source; a download must match both."""

    name: str
    size: int  # bytes
    md5: str  # hex


@dataclass(frozen=True)
class RetryPolicy:
    """Timeouts, and how often and after what delay a failed request is repeated."""

    attempts: int = 8  # in a row without a new byte; any progress resets the count
    first_delay: float = 1.0  # s, doubled after each attempt
    longest_delay: float = 60.0  # s
    longest_retry_after: float = 600.0  # s, upper limit for the delay that a server asks for
    connect_timeout: float = 15.0  # s
    read_timeout: float = 30.0  # s without a byte

    def delay(self, failures: int, retry_after: float | None = None) -> float:
        """Seconds to wait after the n-th failure in a row: exponential with jitter, at least `retry_after`."""
        backoff = min(self.longest_delay, self.first_delay * 2 ** (failures - 1)) * random.uniform(0.5, 1.0)
        return max(backoff, min(retry_after or 0.0, self.longest_retry_after))


RETRY_POLICY = RetryPolicy()


class Interrupted(Exception):  # noqa: N818 - requested by the caller, not an error
    """The transfer stopped because its stop event was set."""


def mismatch(file: Published, path: Path) -> str | None:
    """How a downloaded file differs from the published one, for example `5 bytes instead of 9`; None if it does not."""
    size = path.stat().st_size
    if size != file.size:
        return f"{size} bytes instead of {file.size}"
    digest = file_digest(path)
    return None if digest == file.md5 else f"md5 {digest} instead of {file.md5}"


def progress_bar(file: Published, initial: int = 0, note: str = "") -> tqdm:
    """Progress bar of one transfer, in bytes."""
    return tqdm(
        total=file.size,
        initial=initial,
        desc=f"{file.name}{note}",
        unit="B",
        unit_scale=True,
        unit_divisor=1024,
        leave=False,
    )
