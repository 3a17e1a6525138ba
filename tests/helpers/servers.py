"""Real servers on the loopback: one that serves files and misbehaves on request, and S3."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Fault:
    """What goes wrong with one answer; each request uses up one of its path's faults."""

    status: int = 200  # another one: no content
    headers: tuple[tuple[str, str], ...] = ()
    cut_after: int | None = None  # bytes of the body, then the connection is closed
    stall_after: int | None = None  # bytes of the body, then silence
    corrupt: bool = False  # the body's last byte is wrong
    ignore_range: bool = False
    garbage: bytes | None = None  # sent instead of the body, with status 200


@dataclass
class Request:
    """What a client asked, and how much it got."""

    path: str
    headers: dict[str, str]
    sent: int = 0  # bytes of the body


@dataclass
class FileServer:
    """Files by path, their faults, and the requests so far."""

    files: dict[str, bytes] = field(default_factory=dict)
    faults: defaultdict[str, list[Fault]] = field(default_factory=lambda: defaultdict(list))
    always: dict[str, Fault] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    url: str = ""

    def to(self, name: str) -> list[Request]:
        """Requests for the file of that name."""
        return [request for request in self.requests if request.path.split("/content")[0].endswith(name)]

    def publish(self, record: int, archives: dict[str, bytes]) -> None:
        """Serve archives as a Zenodo record does: its API answer and its files."""
        listing = [
            {"key": name, "size": len(content), "checksum": f"md5:{hashlib.md5(content).hexdigest()}"}
            for name, content in archives.items()
        ]
        self.files[f"/api/records/{record}"] = json.dumps({"id": record, "files": listing}).encode()
        self.files |= {f"/api/records/{record}/files/{name}/content": content for name, content in archives.items()}

    @staticmethod
    def path(name: str, record: int = 1188976) -> str:
        """Path of an archive of a record."""
        return f"/api/records/{record}/files/{name}/content"


@contextmanager
def file_server() -> Iterator[FileServer]:
    """A file server on a free port, with ranges."""
    state = FileServer()
    closing = threading.Event()
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self._head(200, len(state.files[self.path]), {})

        def do_GET(self) -> None:
            request = Request(self.path, dict(self.headers))
            with lock:
                state.requests.append(request)
                fault = state.faults[self.path].pop(0) if state.faults[self.path] else state.always.get(self.path)
            self._answer(request, fault or Fault())

        def _answer(self, request: Request, fault: Fault) -> None:
            if self.path not in state.files:
                fault = Fault(status=404)
            if fault.status != 200:
                self._head(fault.status, 0, dict(fault.headers))
                return
            content = state.files[self.path] if fault.garbage is None else fault.garbage
            asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
            start = int(asked[1]) if asked else 0
            if fault.ignore_range or fault.garbage is not None:
                start = 0
            if start and start >= len(content):
                self._head(416, 0, {})
                return
            length = len(content) - start
            span = {"Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"} if start else {}
            self._head(206 if start else 200, length, span)
            body = content[start:]
            if fault.corrupt:
                body = body[:-1] + bytes([body[-1] ^ 0xFF])
            until = min((n for n in (fault.cut_after, fault.stall_after) if n is not None), default=length)
            for at in range(0, until, 1 << 14):
                piece = body[at : min(at + (1 << 14), until)]
                request.sent += len(piece)  # before the write, since the test may read it as soon as the client is done
                self.wfile.write(piece)
            if fault.stall_after is not None:
                closing.wait(60)
            if until < length:
                self.close_connection = True

        def _head(self, status: int, length: int, headers: dict[str, str]) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(length))
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: Any) -> None:
            """Say nothing: connections break here on purpose, and clients are killed."""

    server = Server(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        closing.set()
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def s3_server() -> Iterator[str]:
    """An S3 server on a free port, empty; yields its endpoint."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        yield f"http://{host}:{port}"
    finally:
        server.stop()
