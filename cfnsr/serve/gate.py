"""Which requests a server answers: those sent to one of its names and, in a browser, from its own pages.

Otherwise any page that a user visits could use a server on the user's machine or network through the user's browser:
by sending requests to it, or by letting a name of its own lead to the server's address (DNS rebinding).
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Collection
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send


def own_names() -> frozenset[str]:
    """Names of this server, from CFNSR_ALLOWED_HOSTS (separated by commas or spaces)."""
    return frozenset(os.environ.get("CFNSR_ALLOWED_HOSTS", "").lower().replace(",", " ").split())


class OwnNamesOnly:
    """ASGI middleware that answers foreign hosts and foreign origins with 403, for WebSockets too.

    `localhost` and IP addresses are allowed as hosts, because only a page at that very address has them in its own.

    Args:
        app: the server.
        hosts: other names of this server, in lower case and without ports. They are allowed as origins too, because a
            proxy in front of the server may replace the host.
    """

    def __init__(self, app: ASGIApp, hosts: Collection[str] = ()) -> None:
        self._app = app
        self._hosts = frozenset(hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse a request, or hand it on to the server."""
        if scope["type"] in ("http", "websocket") and (reason := self._refusal(Headers(scope=scope))):
            await PlainTextResponse(reason, 403)(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _refusal(self, headers: Headers) -> str:
        host = _address(headers.get("host", ""))
        if not (host[0] in self._hosts or host[0] == "localhost" or _is_ip(host[0])):
            return f"this server does not answer to the name {host[0]!r}; CFNSR_ALLOWED_HOSTS lists its names"
        if "origin" in headers:
            origin = _address(headers["origin"].partition("://")[2])
            if origin != host and origin[0] not in self._hosts:
                return "this server answers no requests from other servers' pages; CFNSR_ALLOWED_HOSTS lists its names"
        return ""


def _address(netloc: str) -> tuple[str, int | None]:
    """Host and port; the loopback's addresses count as `localhost`."""
    try:
        parts = urlsplit(f"//{netloc}")
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return "", None
    return "localhost" if _is_ip(host) and ipaddress.ip_address(host).is_loopback else host, port


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
