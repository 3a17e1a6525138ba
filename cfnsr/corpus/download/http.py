"""HTTP: opening a file at an offset, and small JSON answers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from cfnsr import __version__
from cfnsr.corpus.download.transfer import CHUNK, Patience, Stream, Transient
from cfnsr.errors import InputError

if TYPE_CHECKING:
    import requests

# Zenodo asks clients to name themselves; unnamed ones are the first to be throttled.
USER_AGENT = f"cfnsr/{__version__}"

_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")


@contextmanager
def open_url(url: str, patience: Patience, offset: int, etag: str | None) -> Iterator[Stream]:
    """Open a file at an offset.

    Raises:
        Transient: timeouts, broken connections, 408, 429 and 5xx; also while the stream is read inside the block.
        InputError: any other refusal, or a malformed URL.
    """
    import requests

    headers = {"User-Agent": USER_AGENT, "Accept-Encoding": "identity"}
    if offset:
        headers["Range"] = f"bytes={offset}-"
        if etag:
            headers["If-Range"] = etag  # another version since then: the server sends it whole, with status 200
    timeout = (patience.connect_timeout, patience.stall_timeout)
    with (
        _transient_errors(url, patience),
        requests.get(url, headers=headers, stream=True, timeout=timeout) as response,
    ):
        _check_status(response)
        yield _stream(response, offset)


def get_json(url: str, patience: Patience) -> Any:
    """Answer of a JSON API, after retries.

    Raises:
        InputError: the server can't be reached at all.
        LookupError: it can, but gives no usable answer; the message says why.
    """
    import requests
    from requests.adapters import HTTPAdapter
    from urllib3.exceptions import NewConnectionError
    from urllib3.util import Retry

    retry = Retry(
        total=patience.attempts,
        connect=2,  # who has no network should hear of it soon
        backoff_factor=patience.first_wait,
        backoff_max=patience.longest_wait,
        backoff_jitter=patience.first_wait,
        status_forcelist=_PASSING,
        retry_after_max=int(patience.longest_retry_after),
    )
    timeout = (patience.connect_timeout, patience.stall_timeout)
    with requests.Session() as session:
        for scheme in ("http://", "https://"):
            session.mount(scheme, HTTPAdapter(max_retries=retry))
        try:
            with _malformed_urls(url):
                response = session.get(url, headers={"User-Agent": USER_AGENT}, timeout=timeout)
            if not response.ok:
                raise LookupError(f"it answered {response.status_code} {response.reason}")
            return response.json()
        except requests.ConnectionError as error:
            if isinstance(error, requests.ConnectTimeout) or isinstance(_root(error), NewConnectionError):
                raise InputError(
                    f"{url} can't be reached ({_words(error)}): check the network and try again."
                ) from None
            raise LookupError(_words(error)) from None
        except requests.JSONDecodeError:
            raise LookupError("the answer is not JSON") from None
        except requests.RequestException as error:
            raise LookupError(_words(error)) from None


def _stream(response: requests.Response, offset: int) -> Stream:
    etag = response.headers.get("ETag", "")
    total: int | None
    if response.status_code == 206:
        match = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
        if not match or int(match[1]) != offset:
            raise Transient("the server sent another range than the one asked for", start_over=True)
        total = None if match[2] == "*" else int(match[2])
    else:
        offset = 0
        length = response.headers.get("Content-Length", "")
        total = int(length) if length.isdigit() else None
    # read1 gives what has arrived instead of waiting for a full chunk, so a stall loses nothing.
    read = partial(response.raw.read1, CHUNK, decode_content=False)
    return Stream(offset, total, etag if etag.startswith('"') else None, read)  # a weak ETag promises no equal bytes


def _check_status(response: requests.Response) -> None:
    status = response.status_code
    if status in (200, 206):
        return
    said = f"the server answered {status} {response.reason or ''}".rstrip()
    if status == 416:
        raise Transient("the server has nothing from here on (416)", start_over=True)
    if status in _PASSING:
        raise Transient(said, retry_after=_retry_after(response.headers.get("Retry-After")))
    hints = {
        401: "it wants a login",
        403: "access is denied; wait a while, or use another network or an S3 mirror",
        404: "there is no such file; check dataset.zenodo_url",
        410: "the file was withdrawn",
    }
    raise InputError(f"{response.url}: {said} ({hints.get(status, 'the request can not be answered')}).")


def _retry_after(header: str | None) -> float | None:
    from urllib3.exceptions import InvalidHeader
    from urllib3.util import Retry

    try:
        return Retry().parse_retry_after(header) if header else None
    except InvalidHeader:
        return None


@contextmanager
def _transient_errors(url: str, patience: Patience) -> Iterator[None]:
    import requests
    from urllib3.exceptions import HTTPError, ProtocolError, ReadTimeoutError

    with _malformed_urls(url):
        try:
            yield
        except (requests.ReadTimeout, ReadTimeoutError):
            raise Transient(f"no byte came for {patience.stall_timeout:g} s") from None
        except ProtocolError:
            raise Transient("the connection was closed early") from None
        except (requests.ConnectionError, requests.Timeout, HTTPError) as error:
            raise Transient(f"the connection failed ({_words(error)})") from None


@contextmanager
def _malformed_urls(url: str) -> Iterator[None]:
    from requests.exceptions import InvalidSchema, InvalidURL, MissingSchema, TooManyRedirects

    try:
        yield
    except (InvalidSchema, InvalidURL, MissingSchema, TooManyRedirects) as error:
        raise InputError(f"{url} is not a usable address ({error}): correct dataset.zenodo_url.") from None


def _root(error: BaseException) -> BaseException:
    """What lies below the wrappers of requests and urllib3."""
    inner = getattr(error, "reason", None) or next((arg for arg in error.args if isinstance(arg, BaseException)), None)
    return _root(inner) if isinstance(inner, BaseException) else error


def _words(error: BaseException) -> str:
    """The part of an error's text that a person can use: without object addresses and nested reprs."""
    root = _root(error)
    return str(root).rsplit(": ", 1)[-1] or type(root).__name__
