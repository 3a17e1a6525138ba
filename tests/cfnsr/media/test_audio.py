import tracemalloc
from fractions import Fraction
from itertools import pairwise

import av
import numpy as np
import pytest
from helpers.media_files import chirp, write_media

from cfnsr.errors import ClipError
from cfnsr.media.audio import read_audio, stream_sound
from cfnsr.media.container import open_reader


def likeness(a, b):
    """Correlation of two sounds over their common length."""
    n = min(a.size, b.size)
    return np.corrcoef(a[:n], b[:n])[0, 1]


def lag(late, sound, limit):
    """Samples by which `late` comes after `sound`, up to `limit`, and how alike they are then."""
    shifts = range(-limit, limit + 1)
    alike = {shift: likeness(late[max(shift, 0) :], sound[max(-shift, 0) :]) for shift in shifts}
    best = max(alike, key=alike.get)
    return best, alike[best]


@pytest.mark.parametrize(
    ("name", "codec", "rate"),
    [
        ("clip.wav", "pcm_s16le", 48000),
        ("clip.wav", "pcm_u8", 8000),
        ("clip.mp4", "aac", 48000),
        ("clip.mov", "pcm_s24le", 48000),
        ("clip.mp3", "libmp3lame", 44100),
        ("clip.ts", "aac", 48000),
        ("clip.webm", "libopus", 48000),
        ("clip.mkv", "aac", 22050),
    ],
)
class TestContainersAndCodecs:
    def test_whole_sound(self, tmp_path, name, codec, rate):
        path = write_media(tmp_path / name, chirp(3, rate), rate=rate, codec=codec)
        sound = read_audio(path, 16000)
        assert sound.dtype == np.float32
        assert sound.size / 16000 == pytest.approx(3, abs=0.1)  # codecs fill up their last frame
        shift, alike = lag(sound, chirp(3, 16000)[0], limit=500)
        assert alike > 0.98
        assert 0 <= shift <= 0.025 * 16000  # MPEG-TS can't say how long the encoder's delay is: 1024 samples for AAC

    def test_window_is_a_slice_of_the_whole(self, tmp_path, name, codec, rate):
        path = write_media(tmp_path / name, chirp(3, rate), rate=rate, codec=codec)
        whole = read_audio(path, 16000)
        window = read_audio(path, 16000, start=1.25, duration=0.5)
        assert window.size == 8000
        shift, alike = lag(window, whole[20000:28000], limit=100)
        assert alike > 0.99
        assert abs(shift) <= 0.001 * 16000  # Matroska's time stamps are no finer


def test_16_bit_mono_sound_comes_through_unchanged(tmp_path):
    sound = np.random.default_rng(0).integers(-32768, 32768, 4800).astype(np.float32)[None] / 32768
    path = write_media(tmp_path / "clip.wav", sound)
    assert np.array_equal(read_audio(path, 48000), sound[0])


def test_stereo_becomes_the_mean(tmp_path):
    left, right = chirp(1), chirp(1, level=0.1)
    path = write_media(tmp_path / "clip.wav", np.concatenate([left, right]), layout="stereo")
    assert read_audio(path, 48000) == pytest.approx((left + right)[0] / 2, abs=1e-4)


@pytest.mark.parametrize("channel", [0, 2, 5])  # left, centre, right side
def test_every_speaker_of_5_1_sound_is_heard(tmp_path, channel):
    sound = np.zeros((6, 48000), np.float32)
    sound[channel] = chirp(1)
    path = write_media(tmp_path / "clip.flac", sound, layout="5.1")
    mono = read_audio(path, 48000)
    assert likeness(mono, chirp(1)[0]) > 0.999
    assert np.abs(mono).max() > 0.05


def test_loud_5_1_sound_does_not_overflow(tmp_path):
    path = write_media(tmp_path / "clip.flac", np.repeat(chirp(1, level=1), 6, axis=0), layout="5.1")
    mono = read_audio(path, 48000)
    assert 0.9 < np.abs(mono).max() <= 1
    assert likeness(mono, chirp(1)[0]) > 0.9999


def test_stereo_of_opposite_phase_is_heard(tmp_path):
    """As from a cable that is wired the wrong way round: the mean of the channels would be nothing."""
    for codec, name in (("flac", "clip.flac"), ("pcm_u8", "clip.wav")):
        path = write_media(tmp_path / name, np.concatenate([chirp(1), -chirp(1)]), layout="stereo", codec=codec)
        assert read_audio(path, 48000) == pytest.approx(chirp(1)[0], abs=0.02)


def test_samples_that_are_no_numbers_are_silence(tmp_path):
    path = write_media(tmp_path / "clip.wav", chirp(1), codec="pcm_f32le")
    content = path.read_bytes()
    bad = np.array([np.nan, np.inf, -np.inf, np.nan] * 1000, np.float32).tobytes()
    begin = content.index(b"data") + 8 + 4 * 24000
    path.write_bytes(content[:begin] + bad + content[begin + len(bad) :])
    sound = read_audio(path, 48000)
    assert not sound[24000:28000].any()
    assert sound[:24000] == pytest.approx(chirp(1)[0, :24000], abs=1e-4)
    assert sound[28000:] == pytest.approx(chirp(1)[0, 28000:], abs=1e-4)


@pytest.mark.parametrize(
    ("name", "video", "codec"),
    [
        ("clip.mp4", "libx264", "aac"),
        ("clip.ts", "libx264", "aac"),
        ("clip.mpg", "mpeg2video", "mp2"),
        ("clip.flv", "flv", "aac"),
        ("clip.wmv", "wmv2", "wmav2"),
    ],
)
def test_the_sound_lies_beside_its_picture_in_every_container(tmp_path, name, video, codec):
    """Some containers give the first sound a time stamp before that of the first picture: the encoder's delay."""
    path = write_media(tmp_path / name, chirp(2, 44100), rate=44100, codec=codec, picture=2, video=video)
    with open_reader(path) as reader:
        assert float(reader.video.start_time * reader.video.time_base) == pytest.approx(reader.start)
    shift, alike = lag(read_audio(path, 16000), chirp(2, 16000)[0], limit=500)
    assert alike > 0.95
    assert abs(shift) <= 0.002 * 16000


def test_a_late_track_starts_with_zeros(tmp_path):
    path = write_media(tmp_path / "clip.mkv", chirp(1), codec="flac", sound_delay=0.5, picture=1.5)
    sound = read_audio(path, 48000)
    assert not sound[:23900].any()
    assert likeness(sound[24000:], chirp(1)[0]) > 0.999
    assert np.array_equal(read_audio(path, 48000, duration=0.2), np.zeros(9600))
    assert likeness(read_audio(path, 48000, start=0.75, duration=0.5), chirp(1)[0, 12000:36000]) > 0.999


@pytest.mark.parametrize("name", ["long.flac", "long.mp3", "long.mp4"])
def test_a_window_of_a_long_file_takes_little_memory(tmp_path, name):
    path = write_media(tmp_path / name, np.tile(chirp(30, 8000), 10), rate=8000)  # 5 minutes, 10 MB as samples
    expected = chirp(30, 8000)[0, :16000]
    tracemalloc.start()
    for start in (0, 150):
        window = read_audio(path, 8000, start=start, duration=2)
        assert likeness(window, expected) > 0.99
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2_000_000


def pieces(path):
    with open_reader(path) as reader:
        yield from stream_sound(reader, 16000)


def test_the_pieces_of_a_stream_are_small_and_have_no_gaps(tmp_path):
    sounds = list(pieces(write_media(tmp_path / "clip.mp4", chirp(10), picture=10)))
    assert max(len(sound.samples) for sound in sounds) < 16000
    assert all(sound.end == later.first for sound, later in pairwise(sounds))


def test_a_gap_in_the_time_stamps_is_silence(tmp_path):
    path = tmp_path / "gap.mkv"
    voice = chirp(2)
    with av.open(str(path), "w") as container:
        track = container.add_stream("pcm_s16le", rate=48000, layout="mono")
        for begin in range(0, 96000, 4800):
            frame = av.AudioFrame.from_ndarray(voice[:, begin : begin + 4800].copy(), format="fltp", layout="mono")
            frame.sample_rate, frame.time_base = 48000, Fraction(1, 48000)
            frame.pts = begin + 48000 * (begin >= 48000)  # the second half comes a second later
            container.mux(track.encode(frame))
        container.mux(track.encode())
    sound = read_audio(path, 48000)
    assert sound.size == pytest.approx(3 * 48000, abs=100)
    assert np.abs(sound[49000:95000]).max() == 0
    assert likeness(sound[96000:], voice[0, 48000:]) > 0.999


class TestBadFiles:
    def test_no_audio_track(self, tmp_path):
        path = write_media(tmp_path / "clip.mp4", picture=1)
        with pytest.raises(ClipError, match=r"clip\.mp4 has no audio track"):
            read_audio(path, 16000)

    def test_a_track_without_data(self, tmp_path):
        (tmp_path / "clip.flac").write_text("hi")  # FFmpeg takes the suffix for proof and opens it
        with pytest.raises(ClipError, match="without any sound data"):
            read_audio(tmp_path / "clip.flac", 16000)


def test_more_channels_than_ffmpegs_fixed_list_of_planes_has_room_for(tmp_path):
    """PyAV reads the planes beyond the eighth from wrong addresses, which crashes the process."""
    path, layout, rate = tmp_path / "ambisonics.m4a", "hexadecagonal", 16000
    packed = np.tile((3000 * np.sin(np.arange(rate) / 20)).astype(np.int16), (16, 1)).T.reshape(1, -1)
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(packed), format="s16", layout=layout)
    frame.sample_rate = rate
    planar = av.AudioResampler(format="fltp", layout=layout, rate=rate)
    with av.open(path, "w") as container:
        stream = container.add_stream("aac", rate=rate, layout=layout)
        for piece in (*planar.resample(frame), *planar.resample(None)):
            container.mux(stream.encode(piece))
        container.mux(stream.encode(None))
    assert np.abs(read_audio(path, rate)).max() > 0.01
