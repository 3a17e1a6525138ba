"""Pitch tracks and the `rich` feature that holds them."""

import numpy as np
import pytest
from helpers.media_files import write_media

from cfnsr.config.sections import MfccSettings
from cfnsr.features.mfcc import LEAD, features_of_file, mfcc, views
from cfnsr.features.pitch import MIDDLE, pitch

RATE, RICH = 44_100, MfccSettings(kind="rich")
SMALL = MfccSettings(kind="rich", sample_rate=16000, duration=2.0, n_fft=512, hop=256, n_mels=40)


def voice(hertz, seconds=2.0, rate=RATE):
    """A tone with overtones, as a throat makes it; `hertz` may change over time."""
    time = np.arange(round(seconds * rate)) / rate
    phase = 2 * np.pi * np.cumsum(np.broadcast_to(hertz, time.shape)) / rate
    return (0.2 * sum(np.sin(k * phase) / k for k in range(1, 8))).astype(np.float32)


@pytest.mark.parametrize("hertz", [80, 220, 580])
@pytest.mark.parametrize("settings", [RICH, SMALL], ids=["published rate", "16 kHz"])
def test_the_height_of_a_voice(hertz, settings):
    tracks = pitch(voice(hertz, rate=settings.sample_rate), settings.sample_rate, settings.n_fft, settings.hop)
    middle = tracks[:, 20:-20]
    assert middle[0] / 2 + MIDDLE == pytest.approx(np.log2(hertz), abs=0.06)
    assert middle[1] == pytest.approx(0, abs=0.15)  # at its own mean all the time
    assert np.median(middle[2]) > 1.5


def test_a_rising_voice_rises_in_both_tracks_by_its_interval():
    octave = pitch(voice(np.linspace(150, 300, 2 * RATE)), RATE, 2048, 512)[:, 20:-20]
    assert (np.diff(octave[0]) > 0).mean() > 0.95
    assert octave[1, -1] - octave[1, 0] == pytest.approx(2 * (octave[0, -1] - octave[0, 0]), rel=1e-3)


def test_noise_and_silence_have_no_pitch():
    noise = np.random.default_rng(0).normal(0, 0.1, RATE).astype(np.float32)
    assert np.abs(pitch(noise, RATE, 2048, 512)[0]).mean() < 0.1
    silence = np.concatenate([voice(200, 1.0), np.zeros(RATE, np.float32)])
    assert np.abs(pitch(silence, RATE, 2048, 512)[0, 100:]).max() < 0.01


def test_a_faster_voice_is_found_higher():
    fast = pitch(voice(580 * 1.2), RATE, 2048, 512, speed=1.2)[0, 20:-20]
    assert fast / 2 + MIDDLE == pytest.approx(np.log2(580 * 1.2), abs=0.03)


@pytest.mark.parametrize("settings", [RICH, SMALL], ids=["published rate", "16 kHz"])
@pytest.mark.parametrize("seconds_before", [0.0, 1.4, 3.0])
def test_the_window_starts_with_the_speech(settings, seconds_before):
    rate = settings.sample_rate
    quiet = np.random.default_rng(0).normal(0, 1e-4, round(seconds_before * rate)).astype(np.float32)
    matrix = mfcc(np.concatenate([quiet, voice(200, 3.0, rate)]), settings)
    assert matrix.shape == (16, settings.frames) == (settings.channels, settings.frames)
    pitched = matrix[13] > 0.05
    assert pitched[LEAD + 3 :].all()
    assert not pitched[: LEAD - 3].any()


def test_views_have_the_clip_itself_in_the_middle_of_the_first():
    sound = np.concatenate([np.zeros(RATE // 2, np.float32), voice(np.linspace(150, 250, 3 * RATE), 3.0)])
    first, more = views(sound, RICH)[0].astype(np.float32), RICH.shift_frames
    assert first.shape == (16, 212 + 2 * more)
    assert np.abs(first[:, more : more + 212] - mfcc(sound, RICH)).max() < 0.3  # half precision of some hundreds


def test_the_parameters_of_the_network_follow():
    from cfnsr.config.sections import ModelSettings
    from cfnsr.model.network import CFNSR

    network = CFNSR.from_settings(ModelSettings(modality="audio"), RICH, 8)
    assert network.parameter_count == 34_024 + 3 * 7 * 32


def test_a_file_is_read_as_far_as_speech_is_looked_for(tmp_path):
    late = np.concatenate([np.zeros(4 * 16000, np.float32), voice(200, 2.0, 16000)])
    path = write_media(tmp_path / "clip.wav", late[None], rate=16000)
    matrix, training = features_of_file(path, SMALL)
    assert (matrix[13, 20:100] > 0.05).all()
    assert training is not None
    assert training.shape == (5, 16, SMALL.frames + 2 * SMALL.shift_frames)


def test_too_short_frames_for_a_low_voice_are_refused():
    with pytest.raises(ValueError, match="kind: rich needs n_fft of at least 1260, two periods of a low voice"):
        MfccSettings(kind="rich", n_fft=1024)
