"""The reader: which tracks it takes, what it says about damage, and how much it lets a file decode to."""

import struct
from fractions import Fraction

import av
import numpy as np
import pytest
from av.stream import Disposition
from helpers.media_files import chirp, cut, encode, write_media

from cfnsr.errors import LimitError
from cfnsr.media.audio import read_audio
from cfnsr.media.container import open_reader
from cfnsr.media.probe import probe_media
from cfnsr.media.video import frame_times, read_frames


def fault(path):
    """What the reader says about a file after its last packet."""
    with open_reader(path) as reader:
        reader.drop(*reader.tracks)
        while reader.read_packet():
            pass
        return reader.fault()


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("clip.mp4", "aac"),
        ("clip.mkv", "flac"),
        ("clip.avi", "libmp3lame"),
        ("clip.wmv", "wmav2"),
        ("clip.ts", "aac"),
        ("clip.wav", "pcm_s16le"),
        ("clip.flac", "flac"),
        ("clip.mp3", "libmp3lame"),
        ("clip.opus", "libopus"),
    ],
)
def test_a_file_that_lacks_its_end_is_cut_off(tmp_path, name, codec):
    film = {".mp4": "libx264", ".mkv": "libx264", ".ts": "libx264", ".avi": "mpeg4", ".wmv": "wmv2"}
    video = film.get(name[4:])
    path = write_media(tmp_path / name, chirp(3), codec=codec, picture=3 if video else 0, video=video or "")
    assert fault(path) == ""
    for share in (0.75, 0.5):
        assert fault(cut(path, share)).startswith("is cut off"), share


def test_a_track_that_ends_before_its_header_says_so(tmp_path):
    """Although the other one goes on to the end of the file."""
    path = write_media(tmp_path / "clip.mkv", chirp(2), codec="flac", picture=4)
    assert fault(path) == ""
    content = path.read_bytes()
    begin = content.rindex(b"00:00:02.0")
    path.write_bytes(content[:begin] + b"00:00:03.5" + content[begin + 10 :])
    assert fault(path) == "is cut off: its audio ends at 2.00 of 3.50 s"


@pytest.mark.parametrize(("name", "codec"), [("clip.mp3", "libmp3lame"), ("clip.aac", "aac")])
def test_a_length_that_ffmpeg_estimates_is_no_promise(tmp_path, name, codec):
    """A file of variable bit rate that starts with silence, without a header: FFmpeg takes it for much longer."""
    with av.open(str(tmp_path / name), "w", options={"write_xing": "0"} if name == "clip.mp3" else {}) as container:
        quality = {"global_quality": "236", "flags": "+qscale"} if name == "clip.mp3" else {}
        track = container.add_stream(codec, rate=48000, layout="mono", options=quality)
        noise = np.random.default_rng(0).normal(0, 0.3, (1, 2 * 48000)).astype(np.float32)
        frame = av.AudioFrame.from_ndarray(np.concatenate([noise * 0, noise], axis=1), format="fltp", layout="mono")
        frame.sample_rate = 48000
        container.mux([*track.encode(frame), *track.encode()])
    with open_reader(tmp_path / name) as reader:
        assert reader.container.duration > 6 * av.time_base
    assert fault(tmp_path / name) == ""


@pytest.mark.parametrize("size", [0, 0xFFFFFFFF, 0x7FFFF000, 0x80000000])
def test_a_wav_file_that_leaves_its_length_open_is_whole(tmp_path, size):
    path = write_media(tmp_path / "pipe.wav", chirp(1.01, 16000), rate=16000)
    content = bytearray(path.read_bytes())
    begin = content.index(b"data")
    content[4:8] = content[begin + 4 : begin + 8] = struct.pack("<I", size)
    path.write_bytes(content)
    assert probe_media(path).audio == pytest.approx(1.01, abs=1e-3)
    assert np.array_equal(read_audio(path, 16000)[:16000], read_audio(path, 16000, duration=1))


def two_languages(path, default):
    """A low tone and a high one, which is longer; `default` is the number of the default track."""
    with av.open(str(path), "w") as container:
        tracks = [container.add_stream("pcm_s16le", rate=16000, layout="mono") for _ in range(2)]
        tracks[default].disposition = Disposition.default
        for track, hertz, seconds in zip(tracks, (200, 2000), (2, 5), strict=True):
            tone = np.sin(2 * np.pi * hertz * np.arange(seconds * 16000) / 16000)
            frame = av.AudioFrame.from_ndarray((tone[None] * 9999).astype(np.int16), format="s16", layout="mono")
            frame.sample_rate = 16000
            container.mux([*track.encode(frame), *track.encode()])
    return path


@pytest.mark.parametrize("default", [0, 1])
def test_of_two_languages_the_default_one_is_heard(tmp_path, default):
    path = two_languages(tmp_path / "film.mkv", default)
    sound = read_audio(path, 16000)
    assert np.abs(np.fft.rfft(sound[:16000])).argmax() == (200, 2000)[default]  # Hz
    assert sound.size == (32000, 80000)[default]
    assert fault(path) == ""  # the length of the file may be that of the other track
    with open_reader(path) as reader:
        assert reader.has_others


def test_a_track_that_appears_later_costs_no_packet_of_the_others(tmp_path):
    """FFmpeg looks for tracks in the first 5 MB; the header of this file promises pictures alone."""
    path = tmp_path / "late.flv"
    noise = np.random.default_rng(0).integers(0, 255, (12, 720, 1280, 3), dtype=np.uint8)
    encode(
        path,
        noise,
        chirp(1, 44100),
        rate=44100,
        video="flv",
        video_options={"qmin": "1", "qmax": "1"},
        audio="libmp3lame",
        sound_delay=0.5,
    )
    content = bytearray(path.read_bytes())
    content[4] = 1
    path.write_bytes(content)
    with open_reader(path) as reader:
        assert reader.audio is None
    assert path.stat().st_size > 6_000_000
    assert len(frame_times(path)) == 12


def test_an_empty_packet_does_not_end_a_track(tmp_path):
    """Theora repeats a picture with one, and decoders take it for the end."""
    path = write_media(tmp_path / "clip.mkv", picture=1, video="mpeg4")
    with open_reader(path) as reader:
        shown = []
        for packet in reader.packets(reader.video):
            if packet.pts == 200:
                empty = av.Packet(0)
                empty.stream, empty.time_base, empty.pts = packet.stream, packet.time_base, 190
                assert reader.decode(empty) == []
            shown += reader.decode(packet)
    assert len(shown) == 25


class TestBounds:
    def test_sound_of_minutes_in_packets_of_a_second(self, tmp_path):
        """Each packet has 600 frames of the codec."""
        with av.open(str(tmp_path / "frames.mp4"), "w") as container:
            track = container.add_stream("aac", rate=48000, layout="mono")
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 48000), np.float32), format="fltp", layout="mono")
            frame.sample_rate = 48000
            silent = bytes(track.encode(frame)[-1])
            for number in range(100):
                packet = av.Packet(silent * 600)
                packet.stream, packet.time_base, packet.duration = track, Fraction(1, 48000), 1024
                packet.pts = packet.dts = 1024 * number
                container.mux(packet)
        with pytest.raises(LimitError, match=r"frames.mp4 has more sound than its time stamps have room for"):
            read_audio(tmp_path / "frames.mp4", 16000)

    def test_pictures_with_equal_time_stamps(self, tmp_path):
        with av.open(str(tmp_path / "still.mkv"), "w") as container:
            track = container.add_stream("mjpeg", rate=25)
            track.width = track.height = 16
            track.pix_fmt = "yuvj420p"
            (picture,) = track.encode(av.VideoFrame(16, 16, "yuvj420p"))
            for _ in range(3000):
                packet = av.Packet(bytes(picture))
                packet.stream, packet.time_base, packet.pts, packet.dts = track, Fraction(1, 1000), 0, 0
                container.mux(packet)
        for read in (frame_times, probe_media, lambda path: list(read_frames(path))):
            with pytest.raises(LimitError, match=r"still.mkv has too many packets at the same time"):
                read(tmp_path / "still.mkv")

    def test_a_sample_rate_that_would_multiply_the_samples(self, tmp_path):
        path = write_media(tmp_path / "slow.wav", chirp(1, 8000), rate=8000)
        content = bytearray(path.read_bytes())
        content[24:28] = struct.pack("<I", 1)  # Hz
        path.write_bytes(content)
        with pytest.raises(LimitError, match="has a sample rate of 1 Hz"):
            read_audio(path, 16000)

    def test_a_high_speed_film_is_within_them(self, tmp_path):
        greys = np.zeros((960, 16, 16, 3), np.uint8)
        path = encode(tmp_path / "fast.mkv", greys, times=np.arange(960) / 960, video="mpeg4")
        assert len(list(read_frames(path))) == 960
