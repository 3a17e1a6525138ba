"""Files that real tools have trouble with, and files that were made to harm: ../shared/media and ../shared/hostile."""

import tracemalloc

import numpy as np
import pytest
from helpers.shared_media import SHARED, needs_shared_media
from helpers.small_models import write_model

from cfnsr.config.sections import MfccSettings
from cfnsr.errors import ClipError
from cfnsr.features.mfcc import mfcc_of_file
from cfnsr.media.audio import read_audio
from cfnsr.media.probe import probe_media
from cfnsr.predict import Flag, Predictor

pytestmark = needs_shared_media
MEDIA, HOSTILE = SHARED / "media", SHARED / "hostile"


@pytest.fixture(scope="module")
def predictor(tmp_path_factory):
    with Predictor.from_pretrained(write_model(tmp_path_factory.mktemp("model") / "model.safetensors")) as predictor:
        yield predictor


def test_a_pause_without_packets_is_heard_like_a_silent_one(predictor):
    """As it is in two containers. The codec makes something of its own of the 0.02 s at both ends of the pause."""
    filled = mfcc_of_file(MEDIA / "gap_aac_filled.mp4", MfccSettings())
    for name in ("gap_aac.mp4", "gap_aac.ts", "gap_aac_filled.ts"):
        other = mfcc_of_file(MEDIA / name, MfccSettings())
        assert np.median(np.abs(other - filled)) < 1, name  # of values up to 600
        assert np.abs(other - filled).mean() < 3, name
    answers = [predictor(MEDIA / f"gap_aac{name}").probabilities for name in (".mp4", ".ts", "_filled.mp4")]
    assert answers[0] == pytest.approx(answers[1], abs=1e-3)
    assert answers[0] == pytest.approx(answers[2], abs=1e-3)


@pytest.mark.parametrize("name", ["two_tracks_second_default.mkv", "two_tracks_first_silent.mp4"])
def test_the_default_track_is_heard(predictor, name):
    prediction = predictor(MEDIA / name)
    assert (prediction.answer.inputs, prediction.flags) == ("both", (Flag.OTHER_TRACKS,))
    assert prediction.probabilities == pytest.approx(predictor(MEDIA / "antiphase.mkv").probabilities, abs=0.02)


def test_the_default_picture_is_seen(predictor):
    """The first one shows another face."""
    prediction = predictor(MEDIA / "two_pictures_second_default.mkv")
    assert prediction.flags == (Flag.OTHER_TRACKS,)
    assert prediction.probabilities == pytest.approx(predictor(MEDIA / "antiphase.mkv").probabilities, abs=0.02)


def test_stereo_of_opposite_phase_is_heard():
    assert np.abs(read_audio(MEDIA / "antiphase.mkv", 48000)).max() > 0.1


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("all_nan.wav", "the sound is silent"),
        ("dc_only.wav", "the sound is silent"),
        ("one_sample.wav", "is too short"),
        ("len_0.02s.wav", "is too short"),
        ("wavsize_short.wav", "is too short"),
    ],
)
def test_there_is_no_answer_without_a_sound(predictor, name, reason):
    with pytest.raises(ClipError, match=reason):
        predictor(MEDIA / name)


@pytest.mark.parametrize("name", ["wavsize_ffff.wav", "wavsize_sox.wav", "wavsize_odd.wav"])
def test_a_wav_file_of_unknown_length_is_whole(predictor, name):
    assert probe_media(MEDIA / name).audio == pytest.approx(2.005, abs=1e-3)
    assert predictor(MEDIA / name).flags == (Flag.NO_VIDEO,)


@pytest.mark.parametrize("name", ["fuzz-0304-trunc.avi", "fuzz-0380-trunc.wav"])
def test_a_file_that_lacks_its_end_is_cut_off(predictor, name):
    assert Flag.CUT_OFF in predictor(HOSTILE / name).flags
    with pytest.raises(ClipError, match="cut off"):
        probe_media(HOSTILE / name)


def test_half_an_hour_of_sound_in_two_seconds_is_refused(predictor):
    tracemalloc.start()
    for read in (predictor, lambda path: read_audio(path, 48000)):
        with pytest.raises(ClipError, match="has more sound than its time stamps have room for"):
            read(HOSTILE / "02-sound-bomb.mp4")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 50_000_000  # bytes; all of it has 370 MB
