from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from helpers.ravdess_zips import HASTY, IMPATIENT, STEADY, noise
from helpers.servers import Fault, FileServer, file_server

from cfnsr.corpus.download.http import fetch
from cfnsr.corpus.download.transfer import Interrupted, Published, RetryPolicy
from cfnsr.errors import InputError

CONTENT = noise(1, 600_000)
FILE = Published("a.zip", len(CONTENT), hashlib.md5(CONTENT).hexdigest())


@pytest.fixture
def server() -> Iterator[FileServer]:
    with file_server() as state:
        state.files["/a.zip"] = CONTENT
        yield state


def get(server: FileServer, folder: Path, policy: RetryPolicy = HASTY) -> None:
    fetch(FILE, f"{server.url}/a.zip", folder / "a.zip", policy)


def assert_complete(folder: Path) -> None:
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {"a.zip": CONTENT}


@pytest.mark.parametrize(
    ("faults", "ranges", "sent"),
    [
        pytest.param([], [None], 600_000, id="nothing wrong"),
        pytest.param([Fault(cut_after=200_000)], [None, "bytes=200000-"], 600_000, id="cut"),
        pytest.param([Fault(stall_after=200_000)], [None, "bytes=200000-"], 600_000, id="stalled"),
        pytest.param(
            [Fault(cut_after=200_000), Fault(ignore_range=True)],
            [None, "bytes=200000-"],
            800_000,
            id="range ignored",
        ),
        pytest.param([Fault(corrupt=True)], [None, None], 1_200_000, id="corrupt, then right"),
        pytest.param(
            [Fault(cut_after=200_000), Fault(status=416)],
            [None, "bytes=200000-", None],
            800_000,
            id="resuming refused",
        ),
        pytest.param([Fault(status=500), Fault(status=503)], [None] * 3, 600_000, id="server errors"),
        pytest.param(
            [Fault(cut_after=200_000), Fault(garbage=b"<html>busy</html>")],
            [None, "bytes=200000-", "bytes=200000-"],
            600_017,
            id="a page instead of the file",
        ),
    ],
)
def test_the_whole_file_arrives_despite_faults(
    server: FileServer, tmp_path: Path, faults: list[Fault], ranges: list[str | None], sent: int
) -> None:
    server.faults["/a.zip"] = faults
    get(server, tmp_path, STEADY if any(fault.stall_after for fault in faults) else HASTY)
    assert_complete(tmp_path)
    assert [request.headers.get("Range") for request in server.requests] == ranges
    assert sum(request.sent for request in server.requests) == sent
    assert all(request.headers["User-Agent"].startswith("cfnsr/") for request in server.requests)


def test_progress_resets_the_count_of_attempts(server: FileServer, tmp_path: Path) -> None:
    server.faults["/a.zip"] = [Fault(cut_after=50_000)] * 11
    get(server, tmp_path)
    assert_complete(tmp_path)
    assert len(server.requests) == 12 > HASTY.attempts
    assert sum(request.sent for request in server.requests) == len(CONTENT)


@pytest.mark.parametrize(("content", "requests"), [(CONTENT, 0), (b"x" * len(CONTENT), 1)], ids=["intact", "corrupt"])
def test_a_complete_file_is_requested_only_if_it_is_corrupt(
    server: FileServer, tmp_path: Path, content: bytes, requests: int
) -> None:
    (tmp_path / "a.zip").write_bytes(content)
    get(server, tmp_path)
    assert_complete(tmp_path)
    assert len(server.requests) == requests


@pytest.mark.parametrize("left", [CONTENT[:1000], CONTENT, b"x" * 1000, CONTENT + b"x", b"x" * len(CONTENT)])
def test_a_partial_file_of_a_killed_run_is_resumed_or_replaced(server: FileServer, tmp_path: Path, left: bytes) -> None:
    (tmp_path / "a.zip.part").write_bytes(left)
    get(server, tmp_path)
    assert_complete(tmp_path)
    saved = len(left) if CONTENT.startswith(left) else 0
    wasted = len(CONTENT) - len(left) if left == b"x" * 1000 else 0  # only the md5 of the whole tells
    assert sum(request.sent for request in server.requests) == len(CONTENT) - saved + wasted


@pytest.mark.parametrize(
    ("fault", "requests", "message"),
    [
        (Fault(status=404), 1, r"/a\.zip: the server answered 404 Not Found \(there is no such file"),
        (Fault(status=403), 1, r"403 Forbidden \(access is denied"),
        (Fault(status=500), 3, r"the server answered 500 .*, 3 times in a row; 0 of 600000 bytes are kept"),
        (Fault(stall_after=0), 3, r"no data for 0\.4 s, 3 times"),
        (Fault(corrupt=True), 2, rf"a\.zip has md5 [0-9a-f]{{32}} instead of {FILE.md5}, 2 times"),
        (Fault(garbage=b"<html>"), 3, r"a\.zip: the server offers 6 bytes instead of 600000, 3 times in a row"),
        (Fault(ignore_range=True, cut_after=1000), 3, r"closed early, 3 times in a row; 1000 of 600000 bytes are kept"),
    ],
    ids=lambda value: str(value) if isinstance(value, Fault) else None,
)
def test_a_persistent_fault_is_reported(
    server: FileServer, tmp_path: Path, fault: Fault, requests: int, message: str
) -> None:
    server.always["/a.zip"] = fault
    with pytest.raises(InputError, match=message):
        get(server, tmp_path, HASTY if fault.stall_after is None else IMPATIENT)
    assert len(server.requests) == requests
    assert not (tmp_path / "a.zip").exists()


def test_after_giving_up_the_next_run_resumes(server: FileServer, tmp_path: Path) -> None:
    server.faults["/a.zip"] = [Fault(cut_after=200_000), *[Fault(status=503)] * 3]
    with pytest.raises(InputError, match="200000 of 600000 bytes are kept"):
        get(server, tmp_path)
    get(server, tmp_path)
    assert_complete(tmp_path)
    assert server.requests[-1].sent == 400_000


def test_retry_after_of_the_server_arrives(
    server: FileServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server.faults["/a.zip"] = [Fault(status=429, headers=(("Retry-After", "1"),))]
    get(server, tmp_path, replace(HASTY, longest_retry_after=0.2))
    assert "429 Too Many Requests at 0 of 600000 bytes; retrying in 0.2 s" in caplog.text


def test_an_unreachable_server(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"the connection failed \(.*refused\), 3 times in a row"):
        fetch(FILE, "http://127.0.0.1:9/a.zip", tmp_path / "a.zip", HASTY)


def test_stopping_keeps_what_has_arrived(server: FileServer, tmp_path: Path) -> None:
    stop = threading.Event()
    stop.set()
    with pytest.raises(Interrupted):
        fetch(FILE, f"{server.url}/a.zip", tmp_path / "a.zip", HASTY, stop)
    kept = (tmp_path / "a.zip.part").read_bytes()
    assert kept
    assert CONTENT.startswith(kept)
