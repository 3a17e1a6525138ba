"""The manifest and the MFCC of real RAVDESS files."""

import numpy as np
import pytest
import torch
import torchaudio
import yaml
from helpers.real_ravdess import PROJECT, RAVDESS, needs_ravdess

from cfnsr.config.load import load_settings
from cfnsr.corpus.manifest import read_manifest
from cfnsr.corpus.ravdess import ACTORS, TAKES_PER_ACTOR, FileModality, parse_name
from cfnsr.features.mfcc import mfcc_of_file, read_mfcc
from cfnsr.media.audio import read_audio
from components.manifest import manifest
from components.mfcc import mfcc

pytestmark = needs_ravdess


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    """The ravdess profile on all of speaker 1 and three takes of speaker 2, through both stages."""
    root = tmp_path_factory.mktemp("project")
    content = yaml.safe_load((PROJECT / "params.yaml").read_text())
    (root / "params.yaml").write_text(yaml.safe_dump(content | {"profile": "ravdess"}))
    settings = load_settings(root / "params.yaml")
    other = settings.layout.raw / "Actor_02"
    other.mkdir(parents=True)
    (settings.layout.raw / "Actor_01").symlink_to(RAVDESS / "Actor_01")
    for path in sorted((RAVDESS / "Actor_02").iterdir())[:3]:
        (other / path.name).symlink_to(path)
    manifest(settings)
    mfcc(settings)
    return settings


def test_all_1440_names_are_read():
    names = [parse_name(path) for path in RAVDESS.rglob("*.flac")]
    assert {modality for modality, _ in names} == {FileModality.AUDIO}
    takes = {take for _, take in names}
    assert len(takes) == len(ACTORS) * TAKES_PER_ACTOR == 1440
    assert all(take.channel == "speech" for take in takes)


def test_the_manifest_joins_the_files_of_a_take(settings):
    table = read_manifest(settings.layout.manifest)
    assert (table["reason"] == "").all()
    one = table[table["speaker"] == "01"].set_index("clip_id")
    assert len(one) == 60
    assert one["has_audio"].all()
    assert one[one["has_video"]]["video_path"].to_dict() == {
        "01-01-01-01-01-01": "Actor_01/01-01-01-01-01-01-01.mp4",
        "01-01-01-02-01-01": "Actor_01/01-01-01-01-02-01-01.mp4",
        "01-04-01-02-01-01": "Actor_01/02-01-04-01-02-01-01.mp4",
        "01-08-01-01-02-01": "Actor_01/01-01-08-01-01-02-01.mp4",
    }
    assert one["audio_path"]["01-01-01-01-01-01"].endswith("01-01-01-01-01-01-01.mp4")
    assert one["audio_path"]["01-04-01-02-01-01"].endswith("03-01-04-01-02-01-01.flac")  # the 02 file is silent
    assert one["duration"].between(2.9, 5.3).all()
    assert (table["speaker"] == "02").sum() == 3


def test_every_take_has_its_mfcc(settings):
    features = read_mfcc(settings.layout.mfcc)
    assert list(features) == sorted(read_manifest(settings.layout.manifest)["clip_id"], key=lambda clip: clip[-2:])
    assert {array.shape for array in features.values()} == {(13, 212)}
    assert all(np.isfinite(array).all() for array in features.values())


def test_parity_with_torchaudio_on_speech(settings):
    params = settings.params.mfcc
    transform = torchaudio.transforms.MFCC(
        44100,
        n_mfcc=13,
        log_mels=False,
        melkwargs={
            "n_fft": 2048,
            "hop_length": 512,
            "n_mels": 128,
            "norm": "slaney",
            "mel_scale": "slaney",
            "pad_mode": "constant",
        },
    )
    for path in sorted((RAVDESS / "Actor_07").iterdir())[:6]:
        window = read_audio(path, 44100, start=0.5, duration=2.45)
        window = np.pad(window, (0, 108045 - window.size))
        difference = transform(torch.from_numpy(window)).numpy() - mfcc_of_file(path, params)
        assert np.abs(difference).max() < 5e-3  # of values up to 850


def test_the_sound_of_the_clip_is_that_of_the_audio_file():
    """The published mp4 files play it 33 ms later: the 1600 samples of their AAC encoder's delay are not signalled."""
    clip = read_audio(RAVDESS / "Actor_01/01-01-01-01-01-01-01.mp4", 48000)
    sound = read_audio(RAVDESS / "Actor_01/03-01-01-01-01-01-01.flac", 48000)
    alike = {
        delay: np.corrcoef(clip[delay : delay + 140_000], sound[:140_000])[0, 1] for delay in range(1500, 1701, 20)
    }
    assert max(alike, key=alike.get) == 1600
    assert alike[1600] > 0.99


def test_the_video_only_file_is_silent():
    assert np.abs(read_audio(RAVDESS / "Actor_01/02-01-04-01-02-01-01.mp4", 48000)).max() < 1e-3
