"""What the page does with the clips that visitors upload: who can use them, and when they are deleted."""

import re
import shutil
import signal
from pathlib import Path

import pytest
import requests
from helpers.chromium import CHROMIUM
from helpers.page_visits import DEADLINE, answered, kept, send, served
from helpers.running_programs import free_ports, kill
from helpers.talking_files import write_talk
from playwright.sync_api import expect

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium; on Debian: apt-get install chromium"),
]


def test_a_clip_that_is_too_large_is_not_uploaded(visit, url, home, temporary):
    page = visit()
    send(page, home / "large.mp4")
    page.get_by_text("exceed the maximum allowed size").first.wait_for()
    with (home / "large.mp4").open("rb") as file:  # nor past the page
        assert requests.post(f"{url}/gradio_api/upload", files={"files": file}, timeout=60).status_code == 413
    assert not kept(temporary, "large.mp4")


FILE = {"meta": {"_type": "gradio.FileData"}}


def processed(url: str, function: str, *data: object) -> str:
    """What one of the page's functions answers over HTTP."""
    functions = requests.get(f"{url}/config", timeout=60).json()["dependencies"]
    (index,) = (each["id"] for each in functions if each["api_name"] == function)
    call = {"fn_index": index, "session_hash": "stranger", "data": data}
    if not functions[index]["queue"]:
        return requests.post(f"{url}/gradio_api/run/predict", json=call, timeout=60).text
    assert (
        requests.post(f"{url}/gradio_api/run/predict", json=call, timeout=60).status_code == 404
    )  # not past the queue
    assert requests.post(f"{url}/gradio_api/queue/join", json=call, timeout=60).ok
    with requests.get(f"{url}/gradio_api/queue/data?session_hash=stranger", stream=True, timeout=60) as events:
        return next(line for line in events.iter_lines(decode_unicode=True) if '"process_completed"' in line)


def test_clips_can_only_be_uploaded_and_nothing_else_is_deleted(url, temporary):
    """As an attacker asks, without the page."""
    (server,) = temporary.iterdir()
    files = {"files": ("../../talk.mp4", b"not a film")}
    (upload,) = requests.post(f"{url}/gradio_api/upload", files=files, timeout=60).json()
    assert Path(upload).parent.parent == server
    assert "not a media file" in processed(url, "show", {"path": upload, **FILE})
    outside = temporary / "outside.mp4"
    outside.touch()
    for path in (server, Path(upload).parent, f"{upload}/../../../outside.mp4", outside, "/etc/passwd", "talk.mp4"):
        for payload in ({"path": str(path), **FILE}, {"path": str(path), "is_stream": True, **FILE}):
            processed(url, "arrive", payload)
            assert "not a media file" not in processed(url, "show", payload)
            processed(url, "clear")
    # Not fetched.
    assert "was not uploaded" in processed(url, "show", {"path": "http://127.0.0.1:9/talk.mp4", **FILE})
    for payload in ({"url": upload, **FILE}, {"path": upload}, [upload]):
        assert '"success":false' in processed(url, "show", payload).replace(" ", "")
    for path in ("gradio_api/file=http://example.org", "gradio_api/proxy=http://example.org", "openapi.json"):
        assert requests.get(f"{url}/{path}", timeout=60).status_code == 404
    assert requests.get(f"{url}/gradio_api/file={outside}", timeout=60).status_code == 403
    assert (server / ".lock").exists()
    outside.unlink()  # it is still there


def test_other_servers_pages_and_names_are_refused(url):
    port = url.rpartition(":")[2]
    pages = [f"http://127.0.0.1:{port}", "http://localhost:1", "http://elsewhere.example", "null"]
    assert [requests.get(url, headers={"Origin": page}, timeout=60).status_code for page in pages] == [
        200,
        403,
        403,
        403,
    ]
    names = [f"localhost:{port}", "elsewhere.example", "localhost.elsewhere.example"]
    assert [requests.get(url, headers={"Host": name}, timeout=60).status_code for name in names] == [200, 403, 403]


@pytest.mark.slow
def test_a_waiting_visitor_keeps_a_clip_that_another_visitor_had_too(visit, home, tmp_path):
    """The server stores identical contents once."""
    clip = write_talk(tmp_path / "sample.mp4", 1.4)
    first, busy, waiting = visit(), visit(), visit()
    answered(first, clip)
    send(busy, home / "talk.mp4")
    send(waiting, clip)
    expect(waiting.locator("#player video")).to_be_visible(timeout=DEADLINE)  # uploaded, but still in the queue
    first.close()
    expect(waiting.locator("#answer .name")).to_contain_text(f"{clip.name} ·", timeout=DEADLINE)


@pytest.mark.slow
def test_a_clip_just_uploaded_is_kept_when_its_other_visitor_leaves(visit, tmp_path):
    """The page reports an upload only some time after it was stored."""
    clip = write_talk(tmp_path / "sample.mp4", 1.5)
    first, second = visit(), visit()
    answered(first, clip)
    held = []
    second.route(re.compile("/gradio_api/(run|queue/join)"), lambda route: held.append(route))
    send(second, shutil.copy(clip, tmp_path / "renamed.mp4"))
    expect(second.locator("#player video")).to_be_visible(timeout=DEADLINE)
    first.close()
    second.wait_for_timeout(3000)
    assert held
    second.unroute_all()  # releases the held requests
    expect(second.locator("#answer .name")).to_contain_text("renamed.mp4 ·", timeout=DEADLINE)


@pytest.mark.slow
@pytest.mark.proof  # waits for a minute
def test_a_clip_is_deleted_when_its_visitor_leaves(visit, home, temporary, tmp_path):
    clip = write_talk(tmp_path / "private.mp4", 1.2)
    page = visit()
    answered(page, clip)
    assert kept(temporary, "private.mp4")
    page.close()
    probe = visit()
    for _ in range(DEADLINE // 200):
        if not kept(temporary, "private*"):
            return
        probe.wait_for_timeout(200)
    raise AssertionError(kept(temporary, "private*"))


@pytest.mark.slow
def test_a_stopped_server_leaves_nothing(home, tmp_path, browser):
    (port,) = free_ports(1)
    with served(home, tmp_path, port) as program:
        page = browser.new_page()
        page.goto(f"http://127.0.0.1:{port}")
        answered(page, home / "talk.mp4")
        assert kept(tmp_path, "talk.mp4")
        program.send_signal(signal.SIGTERM)
        assert program.wait(timeout=60) == 0
        page.close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_the_clips_of_a_killed_server_are_removed_at_the_next_start(home, tmp_path, browser):
    ports = free_ports(2)
    with served(home, tmp_path, ports[0]) as program:
        page = browser.new_page()
        page.goto(f"http://127.0.0.1:{ports[0]}")
        answered(page, home / "talk.mp4")
        page.close()
        kill(program)
    assert list(tmp_path.rglob("talk.mp4"))
    with served(home, tmp_path, ports[1]):
        assert not list(tmp_path.rglob("talk.mp4"))
