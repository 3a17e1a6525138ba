import os
import subprocess
import sys
from pathlib import Path

import librosa
import numpy as np
import pytest
import torch
import torchaudio
from helpers.media_files import chirp, write_media

from cfnsr.config.sections import MfccSettings
from cfnsr.errors import ClipError, InputError
from cfnsr.features.mfcc import SCHEMA, SILENCE, features_of_file, mfcc, mfcc_of_file, read_mfcc, read_views, views
from cfnsr.features.packed import write_packed

PUBLISHED = MfccSettings()
SMALL = MfccSettings(sample_rate=16000, offset=0.0, duration=2.0, n_fft=512, hop=256, n_mels=40)


def noise(seconds, rate=44100, level=0.1):
    """Noise that swells, so that no frame is like another."""
    samples = round(seconds * rate)
    swell = np.linspace(0.1, 1, samples)
    return (np.random.default_rng(0).normal(size=samples) * level * swell).astype(np.float32)


def torchaudio_mfcc(window, settings):
    """torchaudio's MFCC with librosa's conventions: slaney mel filters, dB with 80 dB of range, orthonormal DCT."""
    transform = torchaudio.transforms.MFCC(
        sample_rate=settings.sample_rate,
        n_mfcc=settings.coefficients,
        norm="ortho",
        log_mels=False,
        melkwargs={
            "n_fft": settings.n_fft,
            "hop_length": settings.hop,
            "n_mels": settings.n_mels,
            "norm": "slaney",
            "mel_scale": "slaney",
            "pad_mode": "constant",
        },
    )
    return transform(torch.from_numpy(window)).numpy()


@pytest.mark.parametrize("settings", [PUBLISHED, SMALL], ids=["published", "small"])
def test_parity_with_torchaudio(settings):
    audio = noise(4, settings.sample_rate)
    begin = round(settings.offset * settings.sample_rate)
    window = audio[begin : begin + round(settings.duration * settings.sample_rate)]
    expected = torchaudio_mfcc(window, settings)
    result = mfcc(audio, settings)
    assert result.shape == expected.shape == (settings.coefficients, settings.frames)
    assert result.dtype == np.float32
    assert np.abs(result - expected).max() < 2e-4  # of values up to 250: the precision of float32


def test_the_published_feature():
    audio = noise(4)
    expected = librosa.feature.mfcc(y=audio[22050 : 22050 + 108045], sr=44100, n_mfcc=13)
    assert expected.shape == (13, 212)
    assert np.array_equal(mfcc(audio, PUBLISHED), expected)


def test_only_the_window_counts():
    audio = noise(4)
    louder = audio.copy()
    louder[:22050] *= 5
    louder[22050 + 108045 :] *= 5
    assert np.array_equal(mfcc(audio, PUBLISHED), mfcc(louder, PUBLISHED))


def test_a_shorter_clip_is_padded_at_its_end():
    audio = noise(2)
    padded = np.pad(audio, (0, 44100 * 2))
    assert np.array_equal(mfcc(audio, PUBLISHED), mfcc(padded, PUBLISHED))


def test_a_clip_shorter_than_twice_the_offset_is_taken_from_its_start():
    audio = noise(0.9)
    after_half_a_second = np.concatenate([np.zeros(22050, np.float32), audio, np.zeros(44100 * 3, np.float32)])
    assert np.array_equal(mfcc(audio, PUBLISHED), mfcc(after_half_a_second, PUBLISHED))


def test_a_sound_of_less_than_half_a_second_is_too_short():
    with pytest.raises(ClipError, match=r"the sound is too short \(0\.03 s\)"):
        mfcc(noise(0.03), PUBLISHED)


class TestSilence:
    @pytest.mark.parametrize("level", [0, SILENCE * 0.9])
    def test_below_the_threshold(self, level):
        with pytest.raises(ClipError, match="the sound is silent"):
            mfcc(chirp(4, 44100, level=level)[0], PUBLISHED)

    def test_a_constant_offset(self):
        for sound in (np.zeros(44100, np.float32), chirp(1, 44100, level=SILENCE * 0.9)[0]):
            with pytest.raises(ClipError, match="the sound is silent"):
                mfcc(sound + np.float32(0.5), PUBLISHED)

    def test_sound_outside_the_window_does_not_help(self):
        audio = np.concatenate([noise(0.4), np.zeros(44100 * 3, np.float32), noise(1)])
        with pytest.raises(ClipError, match="silent"):
            mfcc(audio, PUBLISHED)


class TestFiles:
    @pytest.mark.parametrize(
        ("rate", "layout", "channels"),
        [(48000, "stereo", 2), (44100, "5.1", 6), (8000, "mono", 1)],
    )
    def test_channels_and_rates_hardly_matter(self, tmp_path, rate, layout, channels):
        path = write_media(
            tmp_path / "clip.flac", np.repeat(chirp(3, rate), channels, axis=0), rate=rate, layout=layout
        )
        expected = mfcc(chirp(3, 44100)[0], PUBLISHED)
        assert np.corrcoef(mfcc_of_file(path, PUBLISHED).ravel(), expected.ravel())[0, 1] > 0.999


class TestReading:
    def test_only_usable_clips(self, tmp_path):
        features = {f"clip-{number}": noise(4)[: 13 * 212].reshape(13, 212) * number for number in (1, 2)}
        rows = [
            {"clip_id": clip, "reason": "", "source": "wav", "mfcc": list(array)} for clip, array in features.items()
        ]
        rows.insert(1, {"clip_id": "clip-3", "reason": "the sound is silent"})
        write_packed(tmp_path / "mfcc.parquet", rows, SCHEMA, "key")
        result = read_mfcc(tmp_path / "mfcc.parquet")
        assert list(result) == ["clip-1", "clip-2"]
        for clip, array in features.items():
            assert np.array_equal(result[clip], array)
            assert result[clip].dtype == np.float32

    def test_missing(self, tmp_path):
        with pytest.raises(InputError, match=r"mfcc\.parquet is missing"):
            read_mfcc(tmp_path / "mfcc.parquet")

    def test_no_parquet(self, tmp_path):
        (tmp_path / "mfcc.parquet").write_text("something else")
        with pytest.raises(InputError, match="is not an MFCC file"):
            read_mfcc(tmp_path / "mfcc.parquet")


class TestViews:
    def test_the_first_is_the_clip_itself_with_more_on_both_sides(self):
        audio = noise(5)
        first, exact = views(audio, PUBLISHED)[0].astype(np.float32), mfcc(audio, PUBLISHED)
        more = PUBLISHED.shift_frames
        assert first.shape == (13, 212 + 2 * more)
        cut = first[:, more : more + 212]
        # But for the frames at the edges, whose neighbours the published window does not have, and half precision.
        assert np.abs(cut - exact)[:, 3:-3].max() < 0.6
        assert np.abs(exact).max() > 200

    def test_others_sound_faster_and_higher(self):
        """A tone at twice the speed is the tone an octave higher."""
        settings = SMALL.model_copy(update={"speeds": (1.0, 2.0)})
        time = np.arange(16000 * 8) / 16000
        low, high = (np.sin(2 * np.pi * hertz * time).astype(np.float32) for hertz in (440, 880))
        doubled, expected = views(low, settings)[1], views(high, settings)[0]
        more = settings.shift_frames
        assert np.abs(doubled - expected)[1:, more + 2 : -more].astype(float).max() < 2

    def test_beyond_the_ends_of_a_clip_is_silence(self):
        settings = SMALL.model_copy(update={"speeds": (1.0,), "shift": 0.5})
        (view,) = views(noise(1.0, 16000), settings)
        assert view.shape == (13, settings.frames + 2 * settings.shift_frames)
        assert view[0, 5] < view[0, settings.shift_frames + 20]
        assert view[0, -5] < view[0, settings.shift_frames + 20]

    def test_they_are_read_in_the_order_asked_for(self, tmp_path):
        write_media(tmp_path / "clip.wav", chirp(4))
        rows = []
        for clip, speed in (("a", 1.0), ("b", 0.5)):
            settings = SMALL.model_copy(update={"speeds": (1.0, speed)})
            matrix, training = features_of_file(tmp_path / "clip.wav", settings)
            row = {"clip_id": clip, "reason": "", "source": "wav", "mfcc": list(matrix), "views": training.tobytes()}
            rows.append(row)
        write_packed(tmp_path / "mfcc.parquet", rows, SCHEMA, "key")
        kept = read_views(tmp_path / "mfcc.parquet", ["b", "a"], settings)
        assert kept.shape == (2, 2, 13, settings.frames + 2 * settings.shift_frames)
        assert np.array_equal(kept[0], training)
        assert np.array_equal(kept[0, 0], kept[1, 0])
        assert not np.array_equal(kept[0, 1], kept[1, 1])


def test_librosa_is_imported_where_neither_its_folder_nor_the_home_directory_can_be_written_to(tmp_path):
    """Numba gets a folder of its own, and the program takes it away when it ends."""
    code = "from cfnsr.features.mfcc import _librosa; import numba; _librosa(); print(numba.config.CACHE_DIR)"
    nowhere = {"HOME": "/dev/null", "XDG_CACHE_HOME": "/dev/null/cache", "TMPDIR": str(tmp_path)}
    locators = {"NUMBA_CACHE_LOCATOR_CLASSES": "UserProvidedCacheLocator,UserWideCacheLocator"}  # not librosa's folder
    environment = {**os.environ, **nowhere, **locators}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert Path(done.stdout.strip()).parent == tmp_path
    assert list(tmp_path.iterdir()) == []
