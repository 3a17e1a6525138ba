from __future__ import annotations

import os
import sys
from pathlib import Path

import av
import pytest
from helpers.paths import PROJECT
from helpers.running_programs import kill, running, wait_for

from cfnsr.config.corpus import SampleSettings
from cfnsr.corpus.ravdess import ACTORS, FileModality, parse_name
from cfnsr.corpus.sample import generate
from cfnsr.corpus.sample.plan import takes_of
from cfnsr.errors import InputError

SMALL = SampleSettings(seed=3, width=160, height=128, fps=10, seconds=1.0)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sample")
    generate(folder, SMALL, [2, 5], workers=2)
    return folder


def clips_in(folder: Path) -> dict[str, int]:
    """Name and time of writing of every clip."""
    return {path.name: path.stat().st_mtime_ns for path in folder.rglob("*.mp4")}


def test_layout_is_ravdess(corpus: Path) -> None:
    paths = sorted(corpus.rglob("*.mp4"))
    assert [parse_name(path) for path in paths] == [
        (FileModality.AUDIO_VIDEO, take) for actor in (2, 5) for take in takes_of(actor, 1)
    ]
    assert {path.parent.name for path in paths} == {"Actor_02", "Actor_05"}
    assert sorted(path.name for path in corpus.iterdir()) == ["Actor_02", "Actor_05", "README.txt", "sample.json"]


def test_clips_are_real_video_and_say_that_they_are_synthetic(corpus: Path) -> None:
    for path in sorted(corpus.rglob("*.mp4"))[::12]:
        with av.open(str(path)) as container:
            video, audio = container.streams.video[0], container.streams.audio[0]
            assert (video.codec_context.name, audio.codec_context.name) == ("h264", "aac")
            assert (video.width, video.height, video.average_rate) == (160, 128, 10)
            assert (audio.sample_rate, audio.layout.name) == (48000, "stereo")
            assert container.metadata["title"] == container.metadata["comment"] == "synthetic sample, not RAVDESS"
            assert container.duration == pytest.approx(1e6, rel=0.05)
            assert len(list(container.decode(video))) == 10
        with av.open(str(path)) as container:
            assert sum(frame.samples for frame in container.decode(audio=0)) == pytest.approx(48000, abs=1024)
    assert "synthetic sample, not RAVDESS" in (corpus / "README.txt").read_text(encoding="utf-8")


def test_same_settings_same_files(corpus: Path, tmp_path: Path) -> None:
    generate(tmp_path, SMALL, [2], workers=1)
    for path in tmp_path.rglob("*.mp4"):
        assert path.read_bytes() == (corpus / path.relative_to(tmp_path)).read_bytes()


def test_a_killed_run_resumes(tmp_path: Path) -> None:
    code = (
        "from pathlib import Path; from cfnsr.config.corpus import SampleSettings\n"
        "from cfnsr.corpus.sample import generate\n"
        f"generate(Path({str(tmp_path)!r}), SampleSettings(**{SMALL.model_dump()}), {ACTORS}, 1)"
    )
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    with running([sys.executable, "-c", code], env=environment) as program:
        wait_for(program, lambda: len(clips_in(tmp_path)) >= 5)
        kill(program)  # long before the last of 720 clips, however late that is
    finished = clips_in(tmp_path)
    assert 5 <= len(finished) < 30 * len(ACTORS)
    (tmp_path / "Actor_01" / "01-01-08-02-02-01-01.mp4.part").touch()

    generate(tmp_path, SMALL, [1, 2], workers=2)
    clips = clips_in(tmp_path)
    assert len(clips) == 60
    kept = {name: written for name, written in finished.items() if name in clips}
    assert len(kept) >= 5
    assert clips.items() >= kept.items(), "finished clips are not made again"
    assert not list(tmp_path.rglob("*.part"))
    for path in tmp_path.rglob("*.mp4"):
        with av.open(str(path)) as container:
            assert len(list(container.decode(video=0))) == 10


def test_clips_of_other_settings_and_actors_are_replaced(tmp_path: Path) -> None:
    generate(tmp_path, SMALL, [1, 2], workers=2)
    first = clips_in(tmp_path)
    generate(tmp_path, SMALL, [1], workers=1)
    assert clips_in(tmp_path) == {name: written for name, written in first.items() if name.endswith("-01.mp4")}
    generate(tmp_path, SMALL.model_copy(update={"seed": 4}), [1], workers=2)
    assert all(written != first[name] for name, written in clips_in(tmp_path).items())


def test_real_clips_are_not_touched(tmp_path: Path) -> None:
    clip = tmp_path / "Actor_01" / "01-01-01-01-01-01-01.mp4"
    clip.parent.mkdir()
    clip.write_bytes(b"somebody's recording")
    with pytest.raises(InputError, match="1 clips that are not part of the synthetic sample"):
        generate(tmp_path, SMALL, [1], workers=1)
    assert clip.read_bytes() == b"somebody's recording"
