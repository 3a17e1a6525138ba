from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from helpers.paths import PROJECT
from helpers.ravdess_zips import HASTY, all_actors_zip, files_below, make_zip, noise, settings_for, takes, video_zip
from helpers.servers import Fault, FileServer, file_server

from cfnsr.config.load import Settings
from cfnsr.corpus.ravdess import FileModality
from cfnsr.errors import InputError
from components.download import SAMPLE_RECORD, download

VIDEO_1, VIDEO_2, VIDEO_3 = (f"Video_Speech_Actor_{actor:02d}.zip" for actor in (1, 2, 3))
AUDIO = "Audio_Speech_Actors_01-24.zip"
LANDMARKS = "FacialTracking_Actors_01-24.zip"


@pytest.fixture
def zenodo() -> Iterator[FileServer]:
    """Three actors' clips, and the sound tracks and landmarks of all."""
    with file_server() as server:
        clips = {name: video_zip(actor) for actor, name in enumerate((VIDEO_1, VIDEO_2, VIDEO_3), start=1)}
        server.publish(1188976, clips | {AUDIO: all_actors_zip([1, 2, 3], FileModality.AUDIO, ".wav")})
        server.publish(3255102, {LANDMARKS: all_actors_zip([1, 2, 3], FileModality.AUDIO_VIDEO, ".csv")})
        yield server


def settings(root: Path, server: FileServer, **dataset: Any) -> Settings:
    return settings_for(root, source="zenodo", zenodo_url=server.url, **{"actors": [1, 2], **dataset})


def expected(actors: list[int], *, audio: bool = False, landmarks: bool = False) -> dict[str, bytes]:
    kinds = [(FileModality.AUDIO_VIDEO, ".mp4", 100_000)]
    kinds += [(FileModality.AUDIO, ".wav", 2000)] * audio + [(FileModality.AUDIO_VIDEO, ".csv", 2000)] * landmarks
    names = [
        (actor, take.file_name(modality, suffix), size)
        for actor in actors
        for take in takes(actor)
        for modality, suffix, size in kinds
    ]
    return {f"Actor_{actor:02d}/{name}": noise(name, size) for actor, name, size in names}


def leftovers(root: Path) -> list[str]:
    return sorted(
        path.name for path in (root / "data/test/.download").iterdir() if not path.name.endswith(".done.json")
    )


def test_zips_are_fetched_unpacked_and_deleted(tmp_path: Path, zenodo: FileServer) -> None:
    wanted = settings(tmp_path, zenodo)
    download(wanted, HASTY)
    assert files_below(wanted.layout.raw) == expected([1, 2])
    assert leftovers(tmp_path) == ["lock"]
    assert not zenodo.to(AUDIO)


def test_audio_and_landmarks_are_fetched_on_request(tmp_path: Path, zenodo: FileServer) -> None:
    wanted = settings(tmp_path, zenodo, audio_zip=True, landmarks_zip=True)
    download(wanted, HASTY)
    assert files_below(wanted.layout.raw) == expected([1, 2], audio=True, landmarks=True)


def test_a_second_run_requests_nothing(tmp_path: Path, zenodo: FileServer) -> None:
    wanted = settings(tmp_path, zenodo, audio_zip=True)
    download(wanted, HASTY)
    asked = len(zenodo.requests)
    download(wanted, HASTY)
    assert len(zenodo.requests) == asked


@pytest.mark.parametrize("harm", [Path.unlink, lambda path: path.write_bytes(b"short")], ids=["deleted", "truncated"])
def test_a_missing_or_truncated_file_is_fetched_again(tmp_path: Path, zenodo: FileServer, harm: Any) -> None:
    wanted = settings(tmp_path, zenodo)
    download(wanted, HASTY)
    harm(next((wanted.layout.raw / "Actor_02").iterdir()))
    download(wanted, HASTY)
    assert files_below(wanted.layout.raw) == expected([1, 2])
    assert len(zenodo.to(VIDEO_1)) == 1
    assert len(zenodo.to(VIDEO_2)) == 2


def test_other_settings_fetch_only_what_is_missing(
    tmp_path: Path, zenodo: FileServer, capsys: pytest.CaptureFixture[str]
) -> None:
    raw = settings(tmp_path, zenodo).layout.raw
    download(settings(tmp_path, zenodo, audio_zip=True), HASTY)
    capsys.readouterr()
    download(settings(tmp_path, zenodo, actors=[2], audio_zip=True), HASTY)
    assert files_below(raw) == expected([2], audio=True)
    assert "removed 6 files of earlier settings" in capsys.readouterr().out
    download(settings(tmp_path, zenodo, actors=[2]), HASTY)
    assert files_below(raw) == expected([2])
    download(settings(tmp_path, zenodo, actors=[2, 3]), HASTY)
    assert files_below(raw) == expected([2, 3])
    assert [len(zenodo.to(name)) for name in (VIDEO_1, VIDEO_2, VIDEO_3, AUDIO)] == [1, 1, 1, 1]


def test_more_actors_are_taken_from_a_shared_archive(tmp_path: Path, zenodo: FileServer) -> None:
    download(settings(tmp_path, zenodo, actors=[1], audio_zip=True), HASTY)
    wanted = settings(tmp_path, zenodo, actors=[1, 2], audio_zip=True)
    download(wanted, HASTY)
    assert files_below(wanted.layout.raw) == expected([1, 2], audio=True)
    assert len(zenodo.to(AUDIO)) == 2
    assert len(zenodo.to(VIDEO_1)) == 1


def test_several_at_a_time(tmp_path: Path, zenodo: FileServer) -> None:
    all_three = threading.Barrier(3, timeout=10)  # no answer before all have asked
    for name in (VIDEO_1, VIDEO_2, VIDEO_3):
        zenodo.faults[zenodo.path(name)] = [Fault(meet=all_three)]
    wanted = settings(tmp_path, zenodo, actors=[1, 2, 3], parallel_downloads=3)
    download(wanted, replace(HASTY, attempts=1))
    assert files_below(wanted.layout.raw) == expected([1, 2, 3])


def test_one_archive_that_fails_does_not_lose_the_others(tmp_path: Path, zenodo: FileServer) -> None:
    zenodo.always[zenodo.path(VIDEO_1)] = Fault(status=404)
    zenodo.always[zenodo.path(VIDEO_2)] = Fault(status=403)
    wanted = settings(tmp_path, zenodo, actors=[1, 2, 3])
    with pytest.raises(InputError, match=r"the server answered 40[34] .*\(1 more failed\.\)"):
        download(wanted, HASTY)
    assert files_below(wanted.layout.raw) == expected([3])
    zenodo.always.clear()
    download(wanted, HASTY)
    assert files_below(wanted.layout.raw) == expected([1, 2, 3])
    assert len(zenodo.to(VIDEO_3)) == 1


def test_unexpected_names_are_excluded_and_counted(
    tmp_path: Path, zenodo: FileServer, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ["Actor_01/01-01-02-01-01-01-01.mp4", "../../../evil.mp4", "notes.txt", "01-01-02-01-01-01-02.mp4"]
    zenodo.publish(1188976, {VIDEO_1: make_zip(dict.fromkeys(names, b"clip"))})
    wanted = settings(tmp_path, zenodo, actors=[1])
    download(wanted, HASTY)
    assert files_below(wanted.layout.raw) == {"Actor_01/01-01-02-01-01-01-01.mp4": b"clip"}
    assert not list(tmp_path.rglob("evil*"))
    out = capsys.readouterr().out
    assert f"1 files from {VIDEO_1}, 1 excluded (other actor), 1 excluded (unexpected name), 1 excluded (unsafe" in out


def test_too_small_a_disk_is_noticed_beforehand(tmp_path: Path, zenodo: FileServer) -> None:
    api = zenodo.files["/api/records/1188976"]
    zenodo.files["/api/records/1188976"] = api.replace(b'"size": ', b'"size": 99999999')
    with pytest.raises(InputError, match=r"data/test needs \d+\.\d GiB more but only \d+\.\d GiB are free: free some"):
        download(settings(tmp_path, zenodo), HASTY)
    assert not zenodo.to(VIDEO_1)


def test_the_sample_corpus_and_real_files_are_never_mixed(
    tmp_path: Path, zenodo: FileServer, capsys: pytest.CaptureFixture[str]
) -> None:
    small = {"width": 160, "height": 128, "fps": 8, "seconds": 1.0}
    sample = settings_for(tmp_path, source="sample", actors=[1], sample=small)
    real = settings(tmp_path, zenodo, actors=[1])
    download(real, HASTY)
    download(sample, HASTY)
    made_up = files_below(sample.layout.raw)
    assert SAMPLE_RECORD in made_up
    assert sum(name.endswith(".mp4") for name in made_up) == 30
    assert not set(made_up.values()) & set(expected([1]).values())
    assert "removed 3 files of earlier settings" in capsys.readouterr().out
    download(sample, HASTY)
    assert files_below(sample.layout.raw) == made_up
    download(real, HASTY)
    assert files_below(real.layout.raw) == expected([1])


def test_a_run_at_the_same_time_is_refused(tmp_path: Path, zenodo: FileServer) -> None:
    with step(tmp_path, zenodo, stall_after=50_000) as first:
        wait_for(partial(tmp_path), 50_000)
        second = subprocess.run(first.args, cwd=PROJECT, capture_output=True, text=True, timeout=30)
    assert second.returncode == 2
    assert second.stderr.startswith("error: Another download is running in ")
    assert second.stderr.count("\n") == 1


def test_killed_in_mid_download_it_resumes_at_the_last_byte(tmp_path: Path, zenodo: FileServer) -> None:
    with step(tmp_path, zenodo, stall_after=150_000):
        wait_for(partial(tmp_path), 150_000)
    assert not files_below(tmp_path / "data/test/raw")
    with step(tmp_path, zenodo) as again:
        out, _ = again.communicate(timeout=30)
    assert again.returncode == 0
    assert "download: 3 files from Video_Speech_Actor_01.zip" in out
    assert files_below(tmp_path / "data/test/raw") == expected([1])
    first, second = zenodo.to(VIDEO_1)
    assert second.headers["Range"] == "bytes=150000-"
    assert first.sent + second.sent == len(zenodo.files[zenodo.path(VIDEO_1)])


def test_ctrl_c_does_not_wait_for_a_silent_server(tmp_path: Path, zenodo: FileServer) -> None:
    with step(tmp_path, zenodo, stall_after=150_000) as process:
        wait_for(partial(tmp_path), 150_000)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=15)  # the silence would be waited for 30 s
    assert process.returncode == 130
    assert "Traceback" not in err
    assert err.splitlines()[-1].startswith("stopped: run the same command again")


def test_killed_while_unpacking_it_does_not_fetch_again(tmp_path: Path, zenodo: FileServer) -> None:
    wanted = settings(tmp_path, zenodo, actors=[1])
    working, actor = tmp_path / "data/test/.download", wanted.layout.raw / "Actor_01"
    working.mkdir(parents=True)
    actor.mkdir(parents=True)
    (working / VIDEO_1).write_bytes(zenodo.files[zenodo.path(VIDEO_1)])
    (actor / "01-01-01-01-01-01-01.mp4").write_bytes(expected([1])["Actor_01/01-01-01-01-01-01-01.mp4"])
    (actor / "01-01-02-01-01-01-01.mp4.part").write_bytes(b"half")
    (actor / "01-01-08-01-01-01-01.mp4.part").write_bytes(b"of another archive")
    download(wanted, HASTY)
    assert files_below(wanted.layout.raw) == expected([1])
    assert not zenodo.to(VIDEO_1)


def test_bad_input_on_the_command_line_is_one_line(tmp_path: Path, zenodo: FileServer) -> None:
    zenodo.always[zenodo.path(VIDEO_1)] = Fault(status=404)
    with step(tmp_path, zenodo) as process:
        _, err = process.communicate(timeout=30)
    assert process.returncode == 2
    assert "Traceback" not in err
    assert err.splitlines()[-1].startswith("error: ")
    assert "404 Not Found" in err


def step(root: Path, server: FileServer, stall_after: int | None = None) -> _Killed:
    """`python -m components.download` for actor 1."""
    if stall_after is not None:
        server.faults[server.path(VIDEO_1)] = [Fault(stall_after=stall_after)]
    params = root / "params.yaml"
    params.write_text(
        f"profile: test\ntest: {{dataset: {{source: zenodo, actors: [1], zenodo_url: '{server.url}'}}}}\n"
    )
    return _Killed(
        [sys.executable, "-m", "components.download", "--params", str(params)],
        cwd=PROJECT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell starts its background jobs with Ctrl-C ignored, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


class _Killed(subprocess.Popen[str]):
    """A process that is killed at the end of the block if it still runs."""

    def __exit__(self, *error: Any) -> None:
        if self.poll() is None:
            os.kill(self.pid, signal.SIGKILL)
        super().__exit__(*error)


def partial(root: Path) -> Path:
    return root / f"data/test/.download/{VIDEO_1}.part"


def wait_for(path: Path, size: int) -> None:
    deadline = time.monotonic() + 30
    while not path.exists() or path.stat().st_size < size:
        assert time.monotonic() < deadline, f"{path} never reached {size} bytes"
        time.sleep(0.02)
