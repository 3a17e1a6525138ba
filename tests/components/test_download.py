from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.paths import PROJECT
from helpers.ravdess_zips import HASTY, all_actors_zip, files_below, noise, settings_for, takes, video_zip
from helpers.running_programs import running, wait_for
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


@pytest.mark.parametrize("audio_and_landmarks", [False, True])
def test_zips_are_fetched_once_unpacked_and_deleted(
    tmp_path: Path, zenodo: FileServer, audio_and_landmarks: bool
) -> None:
    wanted = settings(tmp_path, zenodo, audio_zip=audio_and_landmarks, landmarks_zip=audio_and_landmarks)
    download(wanted, HASTY)
    content = expected([1, 2], audio=audio_and_landmarks, landmarks=audio_and_landmarks)
    assert files_below(wanted.layout.raw) == content
    assert leftovers(tmp_path) == ["lock"]
    requests = len(zenodo.requests)
    download(wanted, HASTY)
    assert files_below(wanted.layout.raw) == content
    assert len(zenodo.requests) == requests


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
    command = stalling_command(tmp_path, zenodo)
    with running(command, cwd=PROJECT) as first:
        wait_for(first, has_stalled(tmp_path))
        second = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert second.returncode == 2
    assert second.stderr.startswith("error: Another download is running in ")
    assert second.stderr.count("\n") == 1


def test_killed_in_mid_download_it_resumes_at_the_last_byte(tmp_path: Path, zenodo: FileServer) -> None:
    command = stalling_command(tmp_path, zenodo)
    with running(command, cwd=PROJECT) as killed:
        wait_for(killed, has_stalled(tmp_path))
    assert not files_below(tmp_path / "data/test/raw")
    again = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True)
    assert "download: 3 files from Video_Speech_Actor_01.zip" in again.stdout
    assert files_below(tmp_path / "data/test/raw") == expected([1])
    first, second = zenodo.to(VIDEO_1)
    assert second.headers["Range"] == "bytes=150000-"
    assert first.sent + second.sent == len(zenodo.files[zenodo.path(VIDEO_1)])


def test_ctrl_c_does_not_wait_for_a_silent_server(tmp_path: Path, zenodo: FileServer) -> None:
    with running(stalling_command(tmp_path, zenodo), cwd=PROJECT) as program:
        wait_for(program, has_stalled(tmp_path))
        program.send_signal(signal.SIGINT)
        output, _ = program.communicate(timeout=15)  # the read timeout is 30 s
    assert program.returncode == 130
    assert "Traceback" not in output
    assert output.splitlines()[-1].startswith("stopped: run the same command again")


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


def stalling_command(root: Path, server: FileServer) -> list[str]:
    """`python -m components.download` for actor 1; the server stalls once, after 150,000 bytes."""
    server.faults[server.path(VIDEO_1)] = [Fault(stall_after=150_000)]
    params = root / "params.yaml"
    params.write_text(
        f"profile: test\ntest: {{dataset: {{source: zenodo, actors: [1], zenodo_url: '{server.url}'}}}}\n"
    )
    return [sys.executable, "-m", "components.download", "--params", str(params)]


def has_stalled(root: Path) -> Callable[[], bool]:
    path = root / f"data/test/.download/{VIDEO_1}.part"
    return lambda: path.exists() and path.stat().st_size >= 150_000
