"""How many requests a server works on at once, and how many wait."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import IO

from starlette.requests import ClientDisconnect
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_DEADLINE = 120.0  # s for a body to arrive, so that slow clients don't keep places for ever
_CHUNK = 1 << 20  # bytes


class Turns:
    """ASGI middleware that holds only a few bodies of POST requests in memory at a time.

    The others arrive and wait on disk, in files without a name that are gone when the server is killed. A slow client
    therefore delays nobody.

    Args:
        app: the server.
        at_once: requests that are answered at the same time.
        waiting: further requests that may arrive or wait; those beyond them are answered with 503.
        max_bytes: of a body; larger ones are answered with 413.
    """

    def __init__(self, app: ASGIApp, at_once: int, waiting: int, max_bytes: int) -> None:
        self._app = app
        self._turns = asyncio.Semaphore(at_once)
        self._places = at_once + waiting
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse a request, or hand it on to the server when it is its turn."""
        if scope["type"] != "http" or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        try:
            with self._place(), tempfile.SpooledTemporaryFile(_CHUNK) as body:
                await self._store(receive, body)
                async with self._turns:
                    await self._app(scope, _replay(body, receive), send)
        except _RefusedError as refusal:
            headers = {"Connection": "close"}  # the rest of the body is not read
            await PlainTextResponse(str(refusal), refusal.status, headers)(scope, receive, send)
        except ClientDisconnect:
            return

    @contextmanager
    def _place(self) -> Iterator[None]:
        if not self._places:
            raise _RefusedError(503, "this server has too many requests; send this one again later")
        self._places -= 1
        try:
            yield
        finally:
            self._places += 1

    async def _store(self, receive: Receive, body: IO[bytes]) -> None:
        try:
            async with asyncio.timeout(_DEADLINE):
                async for chunk in _chunks(receive):
                    if body.tell() + len(chunk) > self._max_bytes:
                        raise _RefusedError(
                            413, f"this server accepts requests of up to {self._max_bytes / 1e6:.1f} MB; send several"
                        )
                    body.write(chunk)
        except TimeoutError:
            raise _RefusedError(408, f"the request did not arrive within {_DEADLINE:.0f} s") from None


class _RefusedError(Exception):
    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


async def _chunks(receive: Receive) -> AsyncIterator[bytes]:
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        yield message.get("body", b"")
        more = message.get("more_body", False)


def _replay(body: IO[bytes], receive: Receive) -> Receive:
    body.seek(0)
    ended = False

    async def replayed() -> Message:
        nonlocal ended
        if ended:
            return await receive()  # tells when the client goes away
        chunk = body.read(_CHUNK)
        ended = not chunk
        return {"type": "http.request", "body": chunk, "more_body": not ended}

    return replayed
