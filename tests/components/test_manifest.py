import subprocess
import sys

import pytest
import yaml
from helpers.media_files import chirp, cut, write_media
from helpers.paths import PROJECT

from cfnsr.config.corpus import SampleSettings
from cfnsr.config.load import load_settings
from cfnsr.corpus.manifest import read_manifest
from cfnsr.corpus.ravdess import Take
from cfnsr.corpus.sample.corpus import write_clip
from cfnsr.errors import InputError
from components.manifest import manifest


@pytest.fixture
def settings(tmp_path):
    """A project of one profile with an empty raw folder."""
    profile = {"dataset": {"source": "local", "path": "."}, "manifest": {"max_bad_share": 0.25}}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump({"profile": "mine", "mine": profile}))
    settings = load_settings(tmp_path / "params.yaml")
    settings.layout.raw.mkdir(parents=True)
    return settings


def add_takes(raw, amount):
    """Sound takes of speaker 1, one per emotion."""
    return [write_media(raw / f"03-01-{number:02d}-01-01-01-01.wav", chirp(0.5)) for number in range(1, amount + 1)]


def run(settings):
    command = [sys.executable, "-m", "components.manifest", "--params", str(settings.layout.root / "params.yaml")]
    return subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)


def test_counts_and_reasons_are_reported(settings, capsys, caplog):
    add_takes(settings.layout.raw, 4)
    write_media(settings.layout.raw / "01-01-05-01-01-01-02.mp4", chirp(0.5), picture=0.5)
    write_media(settings.layout.raw / "03-02-01-01-01-01-01.wav", chirp(0.5))
    (settings.layout.raw / "holiday.mp4").touch()
    manifest(settings)
    assert capsys.readouterr().out == (
        "manifest: 5 clips of 2 speakers: 1 with video, 5 with audio, 1 with both\n"
        "manifest: not selected by dataset.vocal or dataset.labels: 1\n"
    )
    (message,) = caplog.messages
    assert message.startswith("manifest: holiday.mp4: 'holiday' is not a RAVDESS name")
    assert len(read_manifest(settings.layout.manifest)) == 7


def test_too_many_bad_files_fail_the_stage_but_the_table_is_there(settings):
    takes = add_takes(settings.layout.raw, 4)
    for path in takes[:2]:
        cut(path, 0.5)
    end = run(settings)
    assert end.returncode == 2
    error = end.stderr.splitlines()[-1]
    assert error.startswith("error: manifest: 2 of 4 clips and files can't be used (01-01-01-01-01-01: 03-01-01")
    assert "more than the 25% that manifest.max_bad_share allows" in error
    assert "Traceback" not in end.stderr
    assert (read_manifest(settings.layout.manifest)["reason"] != "").sum() == 2


def test_a_lost_modality_counts_as_bad(settings):
    add_takes(settings.layout.raw, 2)
    for number in (1, 2):
        (settings.layout.raw / f"01-01-{number:02d}-01-01-01-01.mp4").touch()
    with pytest.raises(InputError, match="2 of 2 clips and files can't be used"):
        manifest(settings)
    assert read_manifest(settings.layout.manifest)["has_audio"].all()


def test_songs_alone_are_refused(settings):
    write_media(settings.layout.raw / "03-02-01-01-01-01-01.wav", chirp(0.5))
    with pytest.raises(InputError, match="there is no usable clip"):
        manifest(settings)


def test_synthetic_clips_of_another_source_are_refused(settings):
    write_clip(settings.layout.raw, SampleSettings(seconds=1.0), Take(1, 1, 3, 2, 1, 1))
    add_takes(settings.layout.raw, 4)
    with pytest.raises(InputError, match=r"is a clip of the synthetic sample corpus.*set dataset.source to sample"):
        manifest(settings)
