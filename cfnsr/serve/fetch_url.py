"""Downloads a clip from an untrusted URL."""

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
from cfnsr.serve.limits import ServerLimits

_REDIRECTS = 5
_CONNECT, _READ = 5.0, 10.0  # s of silence
_DEADLINE = 120.0  # s for the whole download, so that a server that sends a byte now and then can't block a thread
_CHUNK = 1 << 16  # bytes
# From IANA's registries of special-purpose addresses: the public part of IPv6, and blocks of it and of IPv4 of which
# `ipaddress` takes all or some addresses for public although they are not.
_UNICAST = ipaddress.ip_network("2000::/3")
_SPECIAL = [
    ipaddress.ip_network(block)
    for block in (
        "192.0.0.0/24",  # protocol assignments, such as 192.0.0.8
        "192.88.99.0/24",  # relays of 6to4
        "2001::/23",  # protocol assignments, such as the tunnels of Teredo
        "2002::/16",  # 6to4, which contains an IPv4 address
        "3fff::/20",  # documentation
    )
]


class _ForbiddenAddressError(Exception):
    """A host has an address that is not public."""


def download(url: str, target: Path, limits: ServerLimits) -> None:
    """Download a URL to a file.

    Addresses are checked when a connection is made, after its name is resolved, and again for every redirect, because a
    name may resolve differently each time.

    Raises:
        ClipError: the scheme or address is not allowed, the server can't be reached, or the clip is too large.
    """
    opened: list[socket.socket] = []
    late = threading.Event()

    def give_up() -> None:
        late.set()
        for connection in opened:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)  # ends a pending read

    # Not a socket timeout, which every single byte would reset, in the headers too.
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
        raise ClipError(f"the download takes more than {_DEADLINE:.0f} s")


def _fetch(url: str, target: Path, limits: ServerLimits, opened: list[socket.socket], late: threading.Event) -> None:
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
                raise ClipError(f"{urlsplit(url).hostname} can't be reached, or closed the connection early") from None
    raise ClipError(f"the URL is redirected more than {_REDIRECTS - 1} times")


def _check(url: str, limits: ServerLimits) -> None:
    try:
        parts = urlsplit(url)
    except ValueError:
        raise ClipError("`url` is not a URL") from None
    if parts.scheme not in limits.url_schemes:
        allowed = f"only {', '.join(sorted(limits.url_schemes))} URLs" if limits.url_schemes else "no URLs"
        raise ClipError(f"this server accepts {allowed} (CFNSR_URL_SCHEMES)")
    if not parts.hostname:
        raise ClipError("`url` has no host")


def _save(response: urllib3.BaseHTTPResponse, target: Path, limits: ServerLimits) -> None:
    if response.status != 200:
        raise ClipError(f"the URL's server answered {response.status}")
    declared = response.headers.get("Content-Length", "")
    limits.check_size(int(declared) if declared.isdecimal() else 0)
    size = 0
    with target.open("wb") as file:
        for chunk in response.stream(_CHUNK, decode_content=False):
            size += len(chunk)
            limits.check_size(size)
            file.write(chunk)


def _public_address(host: str, port: int) -> str:
    """Return an address of a host, all of whose addresses are public."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = [str(sockaddr[0]) for *_, sockaddr in found]
    if not all(map(is_public, addresses)):
        raise _ForbiddenAddressError
    return addresses[0]


def is_public(address: str) -> bool:
    """Whether an IP address is reached through the internet, and nowhere else.

    IPv6 addresses that stand for IPv4 ones, or lead to them through a tunnel or a translator, are not public.
    """
    parsed = ipaddress.ip_address(address)
    if parsed.version == 6 and parsed not in _UNICAST:
        return False
    return parsed.is_global and not parsed.is_multicast and not any(parsed in block for block in _SPECIAL)


def _pool_classes(
    limits: ServerLimits, opened: list[socket.socket], late: threading.Event
) -> dict[str, type[urllib3.HTTPConnectionPool]]:
    """Return connection pools that add their connections to `opened` and reach what `limits` allow.

    Once `late` is set, they make no more connections.
    """

    def connect(host: str, port: int) -> socket.socket:
        address = host if limits.private_urls else _public_address(host, port)
        connection = socket.create_connection((address, port), _CONNECT)
        opened.append(connection.dup())  # TLS takes over the original
        if late.is_set():  # after the deadline has closed the others
            connection.close()
            raise TimeoutError
        return connection

    class Http(HTTPConnection):
        def _new_conn(self) -> socket.socket:
            return connect(self.host, self.port)

    class Https(HTTPSConnection):
        # The certificate is still checked against the host name.
        def _new_conn(self) -> socket.socket:
            return connect(self.host, self.port)

    class HttpPool(urllib3.HTTPConnectionPool):
        ConnectionCls = Http

    class HttpsPool(urllib3.HTTPSConnectionPool):
        ConnectionCls = Https

    return {"http": HttpPool, "https": HttpsPool}
