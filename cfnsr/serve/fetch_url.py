"""Fetching a clip from a URL that a stranger has named."""

from __future__ import annotations

import ipaddress
import socket
import threading
from contextlib import closing, suppress
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection

from cfnsr.errors import ClipError
from cfnsr.serve.limits import Limits

_REDIRECTS = 5
_CONNECT, _READ = 5.0, 10.0  # s of silence
_DEADLINE = 120.0  # s for the whole download: a server that sends a byte now and then must not hold a thread for ever
_CHUNK = 1 << 16  # bytes


class _ForbiddenAddressError(Exception):
    """A host's address is that of this machine or of a neighbour."""


def download(url: str, target: Path, limits: Limits) -> None:
    """Write what a URL has to a file.

    Addresses are checked where the connection is made, after names are resolved, and again for every redirect: what a
    name meant a moment ago does not count.

    Raises:
        ClipError: its scheme or address is not allowed, it can't be reached, or it is too large.
    """
    opened: list[socket.socket] = []
    late = threading.Event()

    def give_up() -> None:
        late.set()
        for connection in opened:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)  # whoever waits for it reads its end

    # A byte now and then keeps every time-out of a socket from running out, in the headers too.
    timer = threading.Timer(_DEADLINE, give_up)
    timer.start()
    try:
        _fetch(url, target, limits, opened, late)
    except ClipError:
        if not late.is_set():
            raise
    finally:
        timer.cancel()
        for connection in opened:
            connection.close()
    if late.is_set():
        raise ClipError(f"the URL's server takes more than {_DEADLINE:.0f} s for the clip")


def _fetch(url: str, target: Path, limits: Limits, opened: list[socket.socket], late: threading.Event) -> None:
    with urllib3.PoolManager(timeout=urllib3.Timeout(connect=_CONNECT, read=_READ), retries=False) as pool:
        pool.pool_classes_by_scheme = _pool_classes(limits, opened, late)
        for _ in range(_REDIRECTS):
            _check(url, limits)
            try:
                with closing(pool.request("GET", url, redirect=False, preload_content=False)) as response:
                    location = response.get_redirect_location()
                    if not location:
                        _save(response, target, limits)
                        return
                    url = urljoin(url, location)
            except _ForbiddenAddressError:
                raise ClipError(f"the URL leads to {urlsplit(url).hostname}, which is not a public address") from None
            except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
                if isinstance(error, ClipError):
                    raise
                raise ClipError(f"{urlsplit(url).hostname} can't be reached or breaks off") from None
    raise ClipError(f"the URL is redirected more than {_REDIRECTS - 1} times")


def _check(url: str, limits: Limits) -> None:
    try:
        parts = urlsplit(url)
    except ValueError:
        raise ClipError("`url` is not a URL") from None
    if parts.scheme not in limits.url_schemes:
        allowed = f"only {', '.join(sorted(limits.url_schemes))} URLs" if limits.url_schemes else "no URLs"
        raise ClipError(f"this server fetches {allowed} (CFNSR_URL_SCHEMES)")
    if not parts.hostname:
        raise ClipError("`url` names no host")


def _save(response: urllib3.BaseHTTPResponse, target: Path, limits: Limits) -> None:
    if response.status != 200:
        raise ClipError(f"the URL's server answered {response.status}")
    promised = response.headers.get("Content-Length", "")
    limits.check_size(int(promised) if promised.isdecimal() else 0)
    size = 0
    with target.open("wb") as file:
        for chunk in response.stream(_CHUNK, decode_content=False):
            size += len(chunk)
            limits.check_size(size)
            file.write(chunk)


def _public_address(host: str, port: int) -> str:
    """An address of a host, all of whose addresses are public ones."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = [str(sockaddr[0]) for *_, sockaddr in found]
    for address in addresses:
        parsed = ipaddress.ip_address(address)
        mapped = getattr(parsed, "ipv4_mapped", None) or getattr(parsed, "sixtofour", None)
        if not parsed.is_global or parsed.is_multicast or (mapped and not mapped.is_global):
            raise _ForbiddenAddressError
    return addresses[0]


def _pool_classes(
    limits: Limits, opened: list[socket.socket], late: threading.Event
) -> dict[str, type[urllib3.HTTPConnectionPool]]:
    """Connections that are remembered in `opened`, and lead to public addresses only unless `limits` allow others.

    Once it is `late`, none is made any more.
    """

    def connect(host: str, port: int) -> socket.socket:
        address = host if limits.private_urls else _public_address(host, port)
        connection = socket.create_connection((address, port), _CONNECT)
        opened.append(connection.dup())  # TLS takes the first one over
        if late.is_set():  # whoever ends the others may have come before this one was among them
            connection.close()
            raise TimeoutError
        return connection

    class Http(HTTPConnection):
        def _new_conn(self) -> socket.socket:
            return connect(self.host, self.port)

    class Https(HTTPSConnection):
        # The certificate is still checked against the name.
        def _new_conn(self) -> socket.socket:
            return connect(self.host, self.port)

    class HttpPool(urllib3.HTTPConnectionPool):
        ConnectionCls = Http

    class HttpsPool(urllib3.HTTPSConnectionPool):
        ConnectionCls = Https

    return {"http": HttpPool, "https": HttpsPool}
