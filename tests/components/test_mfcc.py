import os
import shutil
import subprocess
import sys

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from helpers.media_files import chirp, cut, silence, write_media
from helpers.paths import PROJECT
from helpers.running_programs import kill, running, wait_for
from helpers.tiny_disk import tiny_disk

from cfnsr.config.load import load_settings
from cfnsr.errors import InputError
from cfnsr.features.mfcc import mfcc_of_file, read_mfcc
from components.manifest import manifest
from components.mfcc import mfcc

SMALL = {"sample_rate": 8000, "offset": 0.0, "duration": 1.0, "n_fft": 256, "hop": 64, "n_mels": 20, "speeds": []}


def configure(root, **mfcc_values):
    profile = {"dataset": {"source": "local", "path": "."}, "mfcc": SMALL | mfcc_values}
    (root / "params.yaml").write_text(yaml.safe_dump({"profile": "mine", "mine": profile}))
    return load_settings(root / "params.yaml")


def takes(speaker, repetitions=(1, 2)):
    """File names of a speaker's takes, 8 per repetition."""
    return [f"03-01-{emotion:02d}-01-01-{rep:02d}-{speaker:02d}.wav" for rep in repetitions for emotion in range(1, 9)]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """A project with a manifest of three speakers."""
    settings = configure(tmp_path_factory.mktemp("corpus"))
    for speaker in (1, 2, 3):
        for number, name in enumerate(takes(speaker)):
            level = (speaker * 16 + number) / 100
            write_media(settings.layout.raw / f"Actor_{speaker:02d}" / name, chirp(1, 8000, level), rate=8000)
    manifest(settings)
    return settings.layout.root


@pytest.fixture
def settings(corpus, tmp_path, monkeypatch):
    """A copy of the corpus; one worker, because each takes seconds to import librosa."""
    monkeypatch.setenv("CFNSR_WORKERS", "1")
    shutil.copytree(corpus, tmp_path, dirs_exist_ok=True)
    return load_settings(tmp_path / "params.yaml")


def command(settings):
    arguments = [sys.executable, "-m", "components.mfcc", "--params", str(settings.layout.root / "params.yaml")]
    return {"args": arguments, "cwd": PROJECT, "stderr": subprocess.PIPE, "text": True}


def files(settings):
    """Everything in the profile's folder but the raw clips."""
    layout = settings.layout
    return {
        path.relative_to(layout.data).as_posix() for path in layout.data.rglob("*") if layout.raw not in path.parents
    }


def test_every_clip_with_sound_is_a_row(settings, capsys):
    write_media(settings.layout.raw / "02-01-01-01-01-01-04.mp4", picture=1)
    write_media(settings.layout.raw / "01-01-02-01-01-01-04.mp4", chirp(1), picture=1)
    manifest(settings)
    mfcc(settings)
    features = read_mfcc(settings.layout.mfcc)
    assert len(features) == 3 * 16 + 1  # the take without sound is not asked for
    name = takes(2)[5]
    expected = mfcc_of_file(settings.layout.raw / "Actor_02" / name, settings.params.mfcc)
    assert np.array_equal(features[name[3:-4]], expected)
    assert expected.shape == (13, 126)
    sources = pq.read_table(settings.layout.mfcc)["source"].to_pylist()
    assert (sources.count("wav"), sources.count("mp4")) == (48, 1)
    assert "mfcc: 49 of 49 clips usable, 0 excluded" in capsys.readouterr().out
    assert files(settings) == {"clips.csv", "mfcc.parquet", "raw"}


def test_a_silent_or_broken_clip_is_excluded_with_its_reason(settings, capsys):
    folder = settings.layout.raw / "Actor_01"
    write_media(folder / takes(1)[3], silence(1, 8000), rate=8000)
    manifest(settings)
    cut(folder / takes(1)[4], 0.0)  # after the manifest has seen it
    with pytest.raises(InputError, match=r"mfcc: 2 of 48 clips had to be excluded \(.*more than the 1% that"):
        mfcc(configure(settings.layout.root, max_bad_share=0.01))
    mfcc(configure(settings.layout.root, max_bad_share=0.1))
    assert "46 of 48 clips usable, 2 excluded" in capsys.readouterr().out
    rows = pq.read_table(settings.layout.mfcc).to_pylist()
    reasons = {row["clip_id"]: row["reason"] for row in rows if row["reason"]}
    assert reasons == {
        takes(1)[3][3:-4]: "the sound is silent (peak 0 of full scale)",
        takes(1)[4][3:-4]: f"{takes(1)[4]} is empty (zero bytes)",
    }
    assert set(read_mfcc(settings.layout.mfcc)) == {row["clip_id"] for row in rows} - set(reasons)


class TestResuming:
    def test_a_finished_file_is_replaced_only_for_other_settings(self, settings):
        mfcc(settings)
        before = settings.layout.mfcc.stat()
        (settings.layout.data / ".mfcc").mkdir()  # left by a run that was killed while it cleaned up
        mfcc(configure(settings.layout.root, max_bad_share=0.5))
        assert settings.layout.mfcc.stat() == before
        assert files(settings) == {"clips.csv", "mfcc.parquet", "raw"}

        mfcc(configure(settings.layout.root, coefficients=20))
        assert next(iter(read_mfcc(settings.layout.mfcc).values())).shape == (20, 126)

    def test_a_killed_run_resumes_after_its_last_finished_speaker(self, settings):
        mfcc(settings)
        expected = settings.layout.mfcc.read_bytes()
        settings.layout.mfcc.unlink()

        pipe = settings.layout.data / "mfcc.parquet.part"
        os.mkfifo(pipe)  # the run blocks here, because nobody reads it
        parts = [settings.layout.data / ".mfcc" / f"{speaker:02d}.parquet" for speaker in (1, 2, 3)]
        with running(command(settings)["args"], cwd=PROJECT) as program:
            wait_for(program, parts[-1].exists)
            kill(program)
        assert files(settings) == {
            *("clips.csv", "mfcc.parquet.part", "raw", ".mfcc"),
            *(f".mfcc/{part.name}" for part in parts),
        }

        pipe.unlink()
        pipe.write_text("half of it")
        parts[2].unlink()  # as if the kill had come a speaker earlier
        for name in takes(1):  # would be missed if the finished speakers were done again
            (settings.layout.raw / "Actor_01" / name).unlink()
        subprocess.run(**command(settings), check=True)
        assert settings.layout.mfcc.read_bytes() == expected
        assert files(settings) == {"clips.csv", "mfcc.parquet", "raw"}


@pytest.fixture
def full_disk(settings, tmp_path):
    """The profile's folder on a disk of 1 MB; the raw clips are elsewhere."""
    layout = settings.layout
    layout.raw.rename(tmp_path / "clips")
    table = layout.manifest.read_bytes()
    layout.manifest.unlink()
    with tiny_disk(layout.data, "1m"):
        layout.raw.symlink_to(tmp_path / "clips")
        layout.manifest.write_bytes(table)
        yield layout.data


@pytest.mark.slow
def test_after_a_full_disk_the_run_resumes(settings, full_disk):
    status = os.statvfs(full_disk)
    ballast = full_disk / "ballast"
    ballast.write_bytes(bytes(status.f_bavail * status.f_bsize - 200_000))  # room for one speaker and a half
    end = subprocess.run(**command(settings), check=False)
    assert end.returncode == 2
    assert end.stderr.splitlines()[-1].startswith("error: the disk is full")
    assert "Traceback" not in end.stderr
    assert files(settings) - {"ballast", "clips.csv", "raw", ".mfcc"} == {".mfcc/01.parquet"}

    ballast.unlink()
    subprocess.run(**command(settings), check=True)
    assert len(read_mfcc(settings.layout.mfcc)) == 48
    assert files(settings) == {"clips.csv", "mfcc.parquet", "raw"}
