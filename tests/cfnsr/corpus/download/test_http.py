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
        pytest.param(
            [Fault(cut_after=200_000), Fault(cut_after=100_000)],
            [None, "bytes=200000-", "bytes=300000-"],
            600_000,
            id="cut twice",
        ),
        pytest.param([Fault(stall_after=200_000)], [None, "bytes=200000-"], 600_000, id="stalled"),
        pytest.param([Fault(cut_after=0)], [None, None], 600_000, id="cut before the first byte"),
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
            [Fault(status=429, headers=(("Retry-After", "soon"),))], [None] * 2, 600_000, id="bad retry-after"
        ),
        pytest.param(
            [Fault(cut_after=200_000), Fault(garbage=b"<html>busy</html>")],
            [None, "bytes=200000-", "bytes=200000-"],
            600_017,
            id="a page instead of the file",
        ),
    ],
)
def test_gets_the_whole_file_despite(
    server: FileServer, tmp_path: Path, faults: list[Fault], ranges: list[str | None], sent: int
) -> None:
    server.faults["/a.zip"] = faults
    get(server, tmp_path, STEADY if any(fault.stall_after for fault in faults) else HASTY)
    assert_complete(tmp_path)
    assert [request.headers.get("Range") for request in server.requests] == ranges
    assert sum(request.sent for request in server.requests) == sent


def test_a_reset_connection_is_resumed(server: FileServer, tmp_path: Path) -> None:
    server.faults["/a.zip"] = [Fault(reset_after=400_000)]
    get(server, tmp_path)
    assert_complete(tmp_path)
    assert len(server.requests) == 2


def test_progress_resets_the_count_of_attempts(server: FileServer, tmp_path: Path) -> None:
    server.faults["/a.zip"] = [Fault(cut_after=50_000)] * 11
    get(server, tmp_path)
    assert_complete(tmp_path)
    assert len(server.requests) == 12 > HASTY.attempts
    assert sum(request.sent for request in server.requests) == len(CONTENT)


def test_a_partial_of_another_version_is_started_over(server: FileServer, tmp_path: Path) -> None:
    server.faults["/a.zip"] = [Fault(cut_after=200_000, garbage=noise(2, len(CONTENT)))]
    get(server, tmp_path)
    assert_complete(tmp_path)
    assert [request.sent for request in server.requests] == [200_000, 400_000, 600_000]


@pytest.mark.parametrize("left", [b"", CONTENT[:1000], CONTENT, b"x" * 1000, CONTENT + b"x", b"x" * len(CONTENT)])
def test_any_leftover_of_a_killed_run_is_continued_or_replaced(server: FileServer, tmp_path: Path, left: bytes) -> None:
    (tmp_path / "a.zip.part").write_bytes(left)
    get(server, tmp_path)
    assert_complete(tmp_path)
    saved = len(left) if CONTENT.startswith(left) else 0
    wasted = len(CONTENT) - len(left) if left == b"x" * 1000 else 0  # only the md5 of the whole tells
    assert sum(request.sent for request in server.requests) == len(CONTENT) - saved + wasted


def test_a_complete_file_is_not_requested(server: FileServer, tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(CONTENT)
    get(server, tmp_path)
    assert server.requests == []


def test_a_corrupt_complete_file_is_fetched_again(server: FileServer, tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"x" * len(CONTENT))
    get(server, tmp_path)
    assert_complete(tmp_path)


@pytest.mark.parametrize(
    ("fault", "requests", "message"),
    [
        (Fault(status=404), 1, r"/a\.zip: the server answered 404 Not Found \(there is no such file"),
        (Fault(status=403), 1, r"403 Forbidden \(access is denied"),
        (Fault(status=418), 1, r"answered 418"),
        (
            Fault(status=500),
            3,
            r"a\.zip: the server answered 500 .*, 3 times in a row; 0 of 600000 bytes are kept: run",
        ),
        (Fault(status=429), 3, r"429 Too Many Requests, 3 times"),
        (Fault(stall_after=0), 3, r"no data for 0\.4 s, 3 times"),
        (Fault(corrupt=True), 2, rf"a\.zip has md5 [0-9a-f]{{32}} instead of {FILE.md5}, 2 times"),
        (Fault(garbage=b"<html>"), 3, r"a\.zip: the server offers 6 bytes instead of 600000, 3 times in a row"),
        (Fault(ignore_range=True, cut_after=1000), 3, r"closed early, 3 times in a row; 1000 of 600000 bytes are kept"),
    ],
    ids=lambda value: str(value) if isinstance(value, Fault) else None,
)
def test_gives_up_with_one_clear_message(
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


def test_retry_after_is_honoured_up_to_a_limit() -> None:
    policy = RetryPolicy(first_delay=1.0, longest_delay=8.0, longest_retry_after=600.0)
    assert policy.delay(1, 30.0) == 30.0
    assert policy.delay(1, 86_400.0) == 600.0
    assert all(4.0 <= policy.delay(10) <= 8.0 for _ in range(100))
    assert len({policy.delay(3) for _ in range(100)}) > 1


def test_retry_after_of_the_server_arrives(
    server: FileServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server.faults["/a.zip"] = [Fault(status=429, headers=(("Retry-After", "1"),))]
    get(server, tmp_path, replace(HASTY, longest_retry_after=0.2))
    assert "429 Too Many Requests at 0 of 600000 bytes; retrying in 0.2 s" in caplog.text


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://127.0.0.1:9/a.zip", r"the connection failed \(.*refused\), 3 times in a row"),
        ("zenodo.org/a.zip", r"zenodo\.org/a\.zip is not a usable address"),
        ("ftp://127.0.0.1/a.zip", "is not a usable address"),
        ("http://[/a.zip", "is not a usable address"),
    ],
)
def test_an_unusable_address(tmp_path: Path, url: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        fetch(FILE, url, tmp_path / "a.zip", HASTY)


def test_stopping_keeps_what_has_arrived(server: FileServer, tmp_path: Path) -> None:
    stop = threading.Event()
    stop.set()
    with pytest.raises(Interrupted):
        fetch(FILE, f"{server.url}/a.zip", tmp_path / "a.zip", HASTY, stop)
    kept = (tmp_path / "a.zip.part").read_bytes()
    assert kept
    assert CONTENT.startswith(kept)


def test_requests_carry_a_user_agent(server: FileServer, tmp_path: Path) -> None:
    get(server, tmp_path)
    assert server.requests[0].headers["User-Agent"].startswith("cfnsr/")
