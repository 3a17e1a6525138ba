"""Fetching a clip from a URL that a stranger has named."""

from __future__ import annotations

import ipaddress
import socket
import time
from contextlib import closing
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
    deadline = time.monotonic() + _DEADLINE
    with urllib3.PoolManager(timeout=urllib3.Timeout(connect=_CONNECT, read=_READ), retries=False) as pool:
        if not limits.private_urls:
            pool.pool_classes_by_scheme = {"http": _PublicHTTPPool, "https": _PublicHTTPSPool}
        for _ in range(_REDIRECTS):
            _check(url, limits)
            try:
                with closing(pool.request("GET", url, redirect=False, preload_content=False)) as response:
                    location = response.get_redirect_location()
                    if not location:
                        _save(response, target, limits, deadline)
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


def _save(response: urllib3.BaseHTTPResponse, target: Path, limits: Limits, deadline: float) -> None:
    if response.status != 200:
        raise ClipError(f"the URL's server answered {response.status}")
    promised = response.headers.get("Content-Length", "")
    limits.check_size(int(promised) if promised.isdecimal() else 0)
    size = 0
    with target.open("wb") as file:
        for chunk in response.stream(_CHUNK, decode_content=False):
            size += len(chunk)
            limits.check_size(size)
            if time.monotonic() > deadline:
                raise ClipError(f"the URL's server takes more than {_DEADLINE:.0f} s for the clip")
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


def _connect(host: str, port: int) -> socket.socket:
    return socket.create_connection((_public_address(host, port), port), _CONNECT)


class _PublicHTTP(HTTPConnection):
    """Connects to public addresses only."""

    def _new_conn(self) -> socket.socket:
        return _connect(self.host, self.port)


class _PublicHTTPS(HTTPSConnection):
    """Connects to public addresses only; the certificate is still checked against the name."""

    def _new_conn(self) -> socket.socket:
        return _connect(self.host, self.port)


class _PublicHTTPPool(urllib3.HTTPConnectionPool):
    ConnectionCls = _PublicHTTP


class _PublicHTTPSPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _PublicHTTPS
