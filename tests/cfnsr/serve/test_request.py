"""Clips that clients name by path, by URL or as base64, and the limits of a server."""

import base64
import socket
import threading
import time
from contextlib import contextmanager, suppress

import pytest
from helpers.servers import Fault, file_server
from helpers.talking_files import people, promise, write_talk
from helpers.video_files import face_frames, write_video

from cfnsr.errors import ClipError, InputError
from cfnsr.serve import fetch_url
from cfnsr.serve.limits import ServerLimits
from cfnsr.serve.request import local_clip

OPEN = ServerLimits(url_schemes={"http"}, private_urls=True, max_megabytes=0.2)


PRIVATE = [
    "0.0.0.0", "0.1.2.3", "10.0.0.1", "100.64.0.1", "127.1.2.3", "169.254.169.254", "172.16.0.1", "192.0.0.1",
    "192.0.0.8", "192.0.0.9", "192.0.0.170", "192.0.2.1", "192.88.99.1", "192.168.1.1", "198.18.0.1", "198.51.100.1",
    "203.0.113.1", "224.0.0.1", "240.0.0.1", "255.255.255.255", "::", "::1", "::127.0.0.1", "::8.8.8.8",
    "::ffff:10.0.0.1", "::ffff:8.8.8.8", "::ffff:0:10.0.0.1", "64:ff9b::10.0.0.1", "64:ff9b::8.8.8.8",
    "64:ff9b:1::10.0.0.1", "100::1", "2001::1", "2001:0:4136:e378:8000:63bf:f5ff:fffe", "2001:2::1", "2001:10::1",
    "2001:20::1", "2001:db8::1", "2002:a00:1::", "2002:808:808::", "3fff::1", "5f00::1", "fc00::1", "fd00::1",
    "fe80::1", "fe80::1%lo", "fec0::1", "ff02::1",
]  # fmt: skip


@pytest.fixture(scope="module")
def talk(tmp_path_factory) -> bytes:
    return write_talk(tmp_path_factory.mktemp("talk") / "talk.mp4", 1.0).read_bytes()


@pytest.fixture
def web(talk):
    with file_server() as server:
        server.files["/talk.mp4"] = talk
        yield server


def refusal(row: dict, limits: ServerLimits = OPEN) -> str:
    with pytest.raises(ClipError) as refused, local_clip(row, limits):
        pass
    return str(refused.value)


@contextmanager
def endless_server(start: bytes = b"HTTP/1.0 200 OK\r\n\r\n", piece: bytes = bytes(1 << 16), pause: float = 0.0):
    """Answers without a length, and repeats the same piece for ever."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(1 << 16)
            with suppress(OSError):  # the client has closed the connection
                connection.sendall(start)
                while True:
                    connection.sendall(piece)
                    time.sleep(pause)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/x"
    finally:
        thread.join(timeout=60)
        listener.close()
        assert not thread.is_alive()


def test_a_fetched_clip_is_removed_after_the_block(web, talk):
    for row in ({"url": f"{web.url}/talk.mp4"}, {"content": base64.b64encode(talk).decode()}):
        with local_clip(row, OPEN) as clip:
            assert clip.read_bytes() == talk
        assert not clip.parent.exists()


def test_redirects_are_followed(web, talk):
    web.always["/old"] = Fault(status=302, headers=(("Location", "/talk.mp4"),))
    web.files["/old"] = b""
    with local_clip({"url": f"{web.url}/old"}, OPEN) as clip:
        assert clip.read_bytes() == talk


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://example.org/x", "https://example.org/talk.mp4"])
def test_redirects_to_forbidden_urls_are_not_followed(web, target):
    web.files["/out"] = b""
    web.always["/out"] = Fault(status=302, headers=(("Location", target),))
    assert "URL" in refusal({"url": f"{web.url}/out"})
    assert len(web.requests) == 1


def test_redirects_in_circles_end(web):
    web.files["/round"] = b""
    web.always["/round"] = Fault(status=307, headers=(("Location", "/round"),))
    assert "redirected more than 4 times" in refusal({"url": f"{web.url}/round"})


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "0.0.0.0", "2130706433"])
def test_by_default_no_url_leads_to_a_private_address(web, host):
    port = web.url.rpartition(":")[2]
    row = {"url": f"http://{host}:{port}/talk.mp4"}
    assert "not a public address" in refusal(row, ServerLimits(url_schemes={"http"}))
    assert not web.requests


@pytest.mark.parametrize("address", PRIVATE)
def test_addresses_that_are_not_public(address):
    assert not fetch_url.is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "192.0.1.1", "193.0.6.139", "2001:4860:4860::8888", "2606:4700::1111"])
def test_addresses_that_are_public(address):
    assert fetch_url.is_public(address)


@pytest.mark.parametrize(
    ("addresses", "connected"),
    [
        (["8.8.8.8", "192.0.0.8"], []),  # one of several is enough
        (["64:ff9b::7f00:1"], []),
        (["8.8.8.8"], ["8.8.8.8"]),
    ],
)
def test_a_name_is_what_it_resolves_to_when_the_connection_is_made(monkeypatch, addresses, connected):
    """A name that answers differently the next time (DNS rebinding) leads nowhere else: it is resolved once."""
    answers = iter([addresses])
    reached = []

    def resolve(host, port, **_):
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in next(answers)]

    def connect(address, timeout):
        reached.append(address[0])
        raise ConnectionRefusedError

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    monkeypatch.setattr(socket, "create_connection", connect)
    said = refusal({"url": "http://rebinding.example/talk.mp4"}, ServerLimits(url_schemes={"http"}))
    assert ("not a public address" in said) == (not connected)
    assert reached == connected


def test_by_default_a_redirect_leads_to_no_private_address(web, monkeypatch):
    """The first address counts as public here; the second one is as it is."""
    web.files["/out"] = b""
    web.always["/out"] = Fault(status=302, headers=(("Location", web.url.replace("127.0.0.1", "127.0.0.2")),))
    is_public = fetch_url.is_public
    monkeypatch.setattr(fetch_url, "is_public", lambda address: address == "127.0.0.1" or is_public(address))
    assert "127.0.0.2, which is not a public" in refusal({"url": f"{web.url}/out"}, ServerLimits(url_schemes={"http"}))
    assert len(web.requests) == 1


def test_passwords_of_urls_are_not_repeated(web):
    for url in ("http://me:secret@127.0.0.1:9/x", f"http://me:secret@{web.url[7:]}/none", "http://me:secret@[::1/"):
        assert "secret" not in refusal({"url": url})


def test_by_default_no_url_is_fetched(web):
    assert "CFNSR_URL_SCHEMES" in refusal({"url": f"{web.url}/talk.mp4"}, ServerLimits())
    assert not web.requests


def test_a_clip_with_a_length_above_the_limit_is_not_read(web):
    web.files["/large.mp4"] = bytes(30_000_000)
    assert "up to 0.2 MB" in refusal({"url": f"{web.url}/large.mp4"})
    (request,) = web.requests
    assert request.sent < 30_000_000


def test_a_clip_without_a_length_is_read_up_to_the_limit():
    with endless_server() as url:
        assert "up to 0.2 MB" in refusal({"url": url})


@pytest.mark.parametrize("start", [b"HTTP/1.0 200 OK\r\n\r\n", b"HTTP/1.0 200 OK\r\nX-Long: "], ids=["body", "header"])
def test_a_slow_server_is_given_up_at_the_deadline(monkeypatch, start):
    monkeypatch.setattr(fetch_url, "_DEADLINE", 1.0)
    with endless_server(start, b"x", 0.05) as url:
        assert "more than 1 s" in refusal({"url": url})


def test_a_connection_made_after_the_deadline_is_closed(monkeypatch):
    """Because resolving its name took long."""
    monkeypatch.setattr(fetch_url, "_DEADLINE", 0.5)
    resolve = socket.getaddrinfo

    def slowly(*arguments, **options):
        time.sleep(1.0)
        return resolve(*arguments, **options)

    with endless_server(b"HTTP/1.0 200 OK\r\n\r\n", b"x", 0.05) as url:
        monkeypatch.setattr(socket, "getaddrinfo", slowly)
        assert "more than 0 s" in refusal({"url": url})


def test_failing_servers_are_named(web):
    web.always["/talk.mp4"] = Fault(cut_after=1000)
    assert "127.0.0.1 can't be reached" in refusal({"url": f"{web.url}/talk.mp4"})
    assert "answered 404" in refusal({"url": f"{web.url}/none.mp4"})
    assert "can't be reached" in refusal({"url": "http://127.0.0.1:9/talk.mp4"})
    assert "can't be reached" in refusal({"url": "http://no.such.host.invalid/talk.mp4"})


def test_the_duration_is_that_of_the_packets(tmp_path):
    limits = ServerLimits(max_seconds=3, paths_below=tmp_path)
    boasting = promise(write_talk(tmp_path / "boasting.mkv", 1.0), 7200)
    with local_clip({"path": str(boasting)}, limits) as clip:
        assert clip == boasting
    modest = promise(write_talk(tmp_path / "modest.mkv", 4.0), 1)
    assert "longer than 0:03.0" in refusal({"path": str(modest)}, limits)


def test_limits_come_from_the_environment(tmp_path):
    limits = ServerLimits.from_environment(
        {
            "CFNSR_MAX_MEGABYTES": "1.5",
            "CFNSR_MAX_SECONDS": "90",
            "CFNSR_URL_SCHEMES": "https, HTTP",
            "CFNSR_PRIVATE_URLS": "true",
            "CFNSR_PATHS_BELOW": str(tmp_path),
            "CFNSR_WORKERS": "4",
        }
    )
    assert limits.max_bytes == 1_500_000
    assert limits.url_schemes == {"http", "https"}
    assert (limits.max_seconds, limits.private_urls, limits.paths_below) == (90, True, tmp_path)
    assert ServerLimits.from_environment({"CFNSR_MAX_SECONDS": ""}) == ServerLimits()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CFNSR_MAX_MEGABYTES", "much"),
        ("CFNSR_MAX_SECONDS", "0"),
        ("CFNSR_MAX_SECONDS", "inf"),
        ("CFNSR_URL_SCHEMES", "ftp"),
        ("CFNSR_PRIVATE_URLS", "perhaps"),
    ],
)
def test_an_invalid_limit_is_named(name, value):
    with pytest.raises(InputError, match=f"{name} is '{value}'"):
        ServerLimits.from_environment({name: value})


@pytest.mark.parametrize(
    "head", ["ffconcat version 1.0\nfile talk.mp4\n", "#EXTM3U\ntalk.mp4\n", "<?xml version='1.0'?><MPD/>"]
)
def test_playlists_are_refused(tmp_path, talk, head):
    (tmp_path / "talk.mp4").write_bytes(talk)
    content = base64.b64encode(head.encode()).decode()
    (tmp_path / "list.mp4").write_text(head)
    for row in ({"content": content}, {"path": str(tmp_path / "list.mp4")}):
        assert "playlists and pictures can't" in refusal(row, ServerLimits(paths_below=tmp_path))


def test_frames_that_are_too_large_are_refused(tmp_path):
    clip = write_talk(tmp_path / "large.mp4", 1.0, [people((100, 120), width=640, height=480)] * 25)
    limits = ServerLimits(max_megapixels=0.3, paths_below=tmp_path)
    assert "0.3 megapixels" in refusal({"path": str(clip)}, limits)
    with local_clip({"path": str(clip)}, ServerLimits(max_megapixels=0.4, paths_below=tmp_path)) as found:
        assert found == clip


def test_the_frame_size_is_the_displayed_one(tmp_path):
    """320 x 240 pixels, each four times as wide as high."""
    clip = write_video(tmp_path / "squeezed.mp4", face_frames([(160, 120)] * 15), options={"x264-params": "sar=4/1"})
    limits = ServerLimits(max_megapixels=0.1, paths_below=tmp_path)
    assert "0.3 megapixels" in refusal({"path": str(clip)}, limits)
