"""HTTP: downloads that resume where they stopped, and small JSON answers."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from cfnsr import __version__
from cfnsr.corpus.download.transfer import RETRY_POLICY, Interrupted, Published, RetryPolicy, mismatch, progress_bar
from cfnsr.errors import InputError
from cfnsr.files import PARTIAL
from cfnsr.text import printable

if TYPE_CHECKING:
    import requests

logger = logging.getLogger(__name__)

# Zenodo asks clients to identify themselves; those that do not are the first to be throttled.
USER_AGENT = f"cfnsr/{__version__}"
CHUNK = 1 << 18  # bytes; upper limit of one read
FULL_TRANSFERS = 2  # of a file that arrives complete but with the wrong content

_RETRYABLE = frozenset({408, 425, 429, 500, 502, 503, 504})


class _TransientError(Exception):
    """A transfer failed in a way that a retry may cure."""

    def __init__(self, reason: str, retry_after: float | None = None) -> None:
        super().__init__(printable(reason))
        self.retry_after = retry_after  # s, as the server asks for


def fetch(
    file: Published, url: str, target: Path, policy: RetryPolicy = RETRY_POLICY, stop: Event | None = None
) -> None:
    """Download a file to `target`, which exists only once size and md5 are verified.

    Received bytes are kept in `<name>.part` beside it, and a later call resumes from there.

    Args:
        file: name, size and md5 of the file.
        url: where it is published.
        target: where it goes; the folder exists.
        policy: timeouts and retries.
        stop: when set, the transfer ends with `Interrupted`.

    Raises:
        InputError: the server refuses the request, keeps failing, or sends something other than the published file.
    """
    if target.exists():
        if mismatch(file, target) is None:
            return
        target.unlink()
    part = target.with_name(target.name + PARTIAL)
    difference: str | None = None
    with progress_bar(file, initial=_size(part)) as bar:
        for _ in range(FULL_TRANSFERS):
            _receive_all(file, url, part, bar, policy, stop or Event())
            difference = mismatch(file, part)
            if difference is None:
                part.replace(target)
                return
            part.unlink()
            bar.reset()
            logger.warning("%s: the download has %s and was discarded.", file.name, difference)
    raise InputError(f"{file.name} has {difference}, {FULL_TRANSFERS} times: {url} is not the published file.")


def get_json(url: str, policy: RetryPolicy) -> Any:
    """Return the answer of a JSON API, after retries.

    Raises:
        InputError: the server can't be reached.
        LookupError: the server gives no usable answer; the message says why.
    """
    import requests
    from requests.adapters import HTTPAdapter
    from urllib3.util import Retry

    retry = Retry(
        total=policy.attempts,
        connect=2,  # a machine without a network should be told so soon
        backoff_factor=policy.first_delay,
        backoff_max=policy.longest_delay,
        backoff_jitter=policy.first_delay,
        status_forcelist=_RETRYABLE,
        raise_on_status=False,
        retry_after_max=int(policy.longest_retry_after),
    )
    with requests.Session() as session:
        for scheme in ("http://", "https://"):
            session.mount(scheme, HTTPAdapter(max_retries=retry))
        try:
            response = session.get(url, headers={"User-Agent": USER_AGENT}, timeout=_timeouts(policy))
            if not response.ok:
                raise LookupError(printable(f"it answered {response.status_code} {response.reason}"))
            return response.json()
        except requests.JSONDecodeError:
            raise LookupError("the answer is not JSON") from None
        except requests.RequestException as error:
            raise InputError(
                f"{url} can't be reached ({_reason(error)}): check the network and dataset.zenodo_url."
            ) from None


def _receive_all(file: Published, url: str, part: Path, bar: tqdm, policy: RetryPolicy, stop: Event) -> None:
    """Append to the partial file until it has the size of the published one."""
    failures = 0
    furthest = _size(part)
    while _size(part) < file.size:
        try:
            _receive(file, url, part, bar, policy, stop)
        except _TransientError as error:
            # Compared with the furthest point: a server that always restarts at zero and always fails must end, too.
            failures = 1 if _size(part) > furthest else failures + 1
            furthest = max(furthest, _size(part))
            kept = f"{_size(part)} of {file.size} bytes"
            if failures >= policy.attempts:
                raise InputError(
                    f"{file.name}: {error}, {failures} times in a row; {kept} are kept: "
                    "run the same command again later to resume."
                ) from None
            delay = policy.delay(failures, error.retry_after)
            logger.warning("%s: %s at %s; retrying in %.1f s.", file.name, error, kept, delay)
            if stop.wait(delay):
                raise Interrupted from None


def _receive(file: Published, url: str, part: Path, bar: tqdm, policy: RetryPolicy, stop: Event) -> None:
    """Make one request for the rest of the file."""
    import requests

    offset = _size(part)
    headers = {"User-Agent": USER_AGENT, "Accept-Encoding": "identity"}
    if offset:
        headers["Range"] = f"bytes={offset}-"
    with (
        _transient_errors(policy),
        requests.get(url, headers=headers, stream=True, timeout=_timeouts(policy)) as response,
    ):
        if response.status_code == 416:  # the server's file is shorter than what is here
            part.unlink()
            bar.reset()
        _check_status(response)
        if response.status_code == 200:  # the whole file, also where a range was asked for
            offset = 0
        length = response.headers.get("Content-Length", "")
        if length.isdigit() and offset + int(length) != file.size:
            # Often an error page with status 200. What has arrived before is kept.
            raise _TransientError(f"the server offers {offset + int(length)} bytes instead of {file.size}")
        if not offset:
            bar.reset()
        with part.open("ab" if offset else "wb") as out:
            # read1 returns what has arrived instead of waiting for a full chunk, so a stall loses nothing.
            while (chunk := response.raw.read1(CHUNK, decode_content=False)) and out.tell() <= file.size:
                out.write(chunk)
                out.flush()  # a SIGKILL loses nothing that has arrived
                bar.update(len(chunk))
                if stop.is_set():
                    raise Interrupted
    if _size(part) < file.size:
        raise _TransientError("the connection was closed early")


def _check_status(response: requests.Response) -> None:
    from urllib3.util import Retry

    status = response.status_code
    if status in (200, 206):
        return
    answer = f"the server answered {status} {response.reason or ''}".rstrip()
    if status in _RETRYABLE or status == 416:
        retry_after = response.headers.get("Retry-After")
        raise _TransientError(answer, Retry().parse_retry_after(retry_after) if retry_after else None)
    hints = {
        403: "access is denied; wait a while, or use another network or an S3 mirror",
        404: "there is no such file; check dataset.zenodo_url",
    }
    raise InputError(f"{response.url}: {answer} ({hints.get(status, 'the request was refused')}).")


@contextmanager
def _transient_errors(policy: RetryPolicy) -> Iterator[None]:
    import requests
    from urllib3.exceptions import HTTPError, ProtocolError, ReadTimeoutError

    try:
        yield
    except (requests.ReadTimeout, ReadTimeoutError):
        raise _TransientError(f"no data for {policy.read_timeout:g} s") from None
    except ProtocolError:
        raise _TransientError("the connection was closed early") from None
    except (requests.RequestException, HTTPError) as error:
        raise _TransientError(f"the connection failed ({_reason(error)})") from None


def _timeouts(policy: RetryPolicy) -> tuple[float, float]:
    return policy.connect_timeout, policy.read_timeout


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _reason(error: BaseException) -> str:
    """Readable part of an error of requests or urllib3, without its wrappers and object addresses."""
    inner = getattr(error, "reason", None) or next((arg for arg in error.args if isinstance(arg, BaseException)), None)
    if isinstance(inner, BaseException):
        return _reason(inner)
    return str(error).rsplit(": ", 1)[-1] or type(error).__name__
