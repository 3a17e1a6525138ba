import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile
import yaml
from helpers.landmark_files import write_landmarks
from helpers.paths import PROJECT
from helpers.running_programs import kill, running, wait_for
from helpers.video_files import background, face_frames, write_video

from cfnsr.config.load import Settings, load_settings
from cfnsr.corpus.manifest import write_manifest
from cfnsr.corpus.ravdess_manifest import ravdess_manifest
from cfnsr.errors import ClipError, InputError
from cfnsr.features.faces.store import SCHEMA, read_faces
from components.faces import faces

OPTIONS = {"frames": 8, "size": 48, "detections": 3}


@pytest.fixture(scope="module")
def face_clip(tmp_path_factory) -> Path:
    path = [(150 + number, 120) for number in range(20)]
    return write_video(tmp_path_factory.mktemp("clips") / "face.mp4", face_frames(path))


def make_project(root: Path, clips: dict[str, Path], **options) -> Settings:
    """A project with these raw files (by RAVDESS name) and their manifest."""
    for name, source in clips.items():
        target = root / "data/test/raw" / f"Actor_{Path(name).stem[-2:]}" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)
    params = {"dataset": {"source": "local", "path": "unused"}, "faces": OPTIONS | options}
    (root / "params.yaml").write_text(yaml.safe_dump({"profile": "test", "test": params}))
    settings = load_settings(root / "params.yaml")
    write_manifest(ravdess_manifest(settings.layout.raw, settings.params.dataset, 1), settings.layout.manifest)
    return settings


def change(settings: Settings, **options) -> Settings:
    params_file = settings.layout.root / "params.yaml"
    content = yaml.safe_load(params_file.read_text())
    content["test"]["faces"] |= options
    params_file.write_text(yaml.safe_dump(content))
    return load_settings(params_file)


def identity(path: Path) -> tuple[int, int]:
    return path.stat().st_mtime_ns, path.stat().st_ino


def test_one_row_per_clip_and_one_file_per_speaker(tmp_path, face_clip, capsys):
    wall = write_video(tmp_path / "wall.mp4", [background(320, 240)] * 20)
    landmarks = write_landmarks(tmp_path / "landmarks.csv", [(160, 120)] * 30, [1] * 30)
    settings = make_project(
        tmp_path,
        {
            "01-01-01-01-01-01-01.mp4": face_clip,
            "01-01-03-01-01-01-01.mp4": wall,
            "02-01-05-01-01-01-02.mp4": wall,
            "02-01-05-01-01-01-02.csv": landmarks,
        },
        max_bad_share=0.5,
    )
    faces(settings)
    folder = settings.layout.faces
    assert sorted(path.name for path in folder.iterdir()) == ["01.parquet", "02.parquet"]
    file = pq.ParquetFile(folder / "01.parquet")
    assert file.schema_arrow.remove_metadata() == SCHEMA
    assert file.num_row_groups == 2
    assert read_faces(folder, "01", "01-01-01-01-01-01").frames.shape == (8, 48, 48, 3)
    assert set(read_faces(folder, "02", "01-05-01-01-01-02").flags) == {"detected"}  # by the landmarks
    with pytest.raises(ClipError, match="no face found"):
        read_faces(folder, "01", "01-03-01-01-01-01")
    assert "2 of 3 clips usable, 1 excluded" in capsys.readouterr().out

    before = {path: identity(path) for path in folder.iterdir()}
    settings = change(settings, max_bad_share=0.1)
    with pytest.raises(InputError, match="1 of 3 clips had to be excluded"):
        faces(settings)
    assert before == {path: identity(path) for path in folder.iterdir()}  # nothing to redo
    faces(change(settings, size=32, max_bad_share=0.5))
    assert read_faces(folder, "01", "01-01-01-01-01-01").frames.shape == (8, 32, 32, 3)


def test_corpus_without_video_gives_an_empty_folder(tmp_path, capsys):
    sound = tmp_path / "sound.wav"
    soundfile.write(sound, np.random.default_rng(0).uniform(-0.5, 0.5, 48000), 48000)
    settings = make_project(tmp_path, {"03-01-01-01-01-01-01.wav": sound})
    faces(settings)
    assert list(settings.layout.faces.iterdir()) == []
    assert "no clip" in capsys.readouterr().out


def test_missing_inputs_are_refused(tmp_path, face_clip):
    settings = make_project(tmp_path, {"01-01-01-01-01-01-01.mp4": face_clip}, yunet="models/yunet.onnx")
    with pytest.raises(InputError, match=r"models/yunet\.onnx is missing"):
        faces(settings)
    settings.layout.manifest.unlink()
    with pytest.raises(InputError, match=r"clips\.csv is missing: run"):
        faces(change(settings, yunet=None))
    shutil.rmtree(settings.layout.raw)
    with pytest.raises(InputError, match="raw is missing: run `dvc repro download` first"):
        faces(settings)


def command(settings: Settings) -> list[str]:
    return [sys.executable, "-m", "components.faces", "--params", str(settings.layout.root / "params.yaml")]


@pytest.mark.slow
def test_a_killed_run_resumes(tmp_path, face_clip):
    landmarks = write_landmarks(tmp_path / "landmarks.csv", [(160, 120)] * 30, [1] * 30)
    clips = {
        f"01-01-{emotion:02d}-01-01-01-{speaker:02d}.mp4": face_clip for speaker in (1, 2, 3) for emotion in (1, 2, 3)
    }
    clips["01-01-02-01-01-01-03.csv"] = landmarks
    killed = make_project(tmp_path / "killed", clips)
    undisturbed = make_project(tmp_path / "undisturbed", clips)
    names = ["01.parquet", "02.parquet", "03.parquet"]

    pipe = killed.layout.raw / "Actor_03" / "01-01-02-01-01-01-03.csv"
    pipe.unlink()
    os.mkfifo(pipe)  # the worker blocks at this clip, because nobody writes to it
    with running(command(killed), cwd=PROJECT, env={**os.environ, "CFNSR_WORKERS": "1"}) as program:
        wait_for(program, (killed.layout.faces / names[1]).exists)
        kill(program)
    finished = {path.name: identity(path) for path in killed.layout.faces.iterdir()}
    assert sorted(finished) == names[:2]

    pipe.unlink()
    shutil.copy(landmarks, pipe)
    (killed.layout.faces / "03.parquet.part").write_text("what a kill in mid-write leaves")
    for settings in (killed, undisturbed):
        subprocess.run(command(settings), cwd=PROJECT, check=True, capture_output=True)
    assert sorted(path.name for path in killed.layout.faces.iterdir()) == names
    assert {name: identity(killed.layout.faces / name) for name in finished} == finished
    for name in names:
        assert (killed.layout.faces / name).read_bytes() == (undisturbed.layout.faces / name).read_bytes()
