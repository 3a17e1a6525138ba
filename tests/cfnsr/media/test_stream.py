import av
import numpy as np
import pytest
from helpers.media_files import chirp, cut, write_media
from helpers.video_files import frame_number, numbered_frames, write_video

from cfnsr.errors import ClipError
from cfnsr.media.audio import read_audio
from cfnsr.media.extent import find_extent
from cfnsr.media.stream import stream_pictures, stream_sound
from cfnsr.media.video import frame_times, sample_pictures

RATE = 16000


def joined(sounds, seconds):
    """The pieces where their times say, (n,); NaN where there are none."""
    whole = np.full(round(seconds * RATE), np.nan, np.float32)
    for time, samples in sounds:
        begin = round(time * RATE)
        here = whole[max(begin, 0) : begin + len(samples)]
        here[:] = samples[max(-begin, 0) :][: len(here)]
    return whole


class TestSound:
    @pytest.mark.parametrize(
        ("name", "codec", "rate"),
        [
            ("a.wav", "pcm_s16le", 48000),
            ("a.mp3", "libmp3lame", 44100),
            ("a.mp4", "aac", 48000),
            ("a.webm", "libopus", 48000),
            ("a.wav", "pcm_s16le", 8000),
        ],
    )
    def test_it_is_what_reading_at_once_gives(self, tmp_path, name, codec, rate):
        path = write_media(tmp_path / name, chirp(4, rate), rate=rate, codec=codec)
        whole = read_audio(path, RATE)
        streamed = joined(stream_sound(path, RATE), len(whole) / RATE)
        assert np.abs(streamed - whole).max() < 1e-6

    def test_a_delayed_track(self, tmp_path):
        path = write_media(tmp_path / "a.mkv", chirp(1), codec="flac", sound_delay=1.0, picture=2)
        first, *_ = stream_sound(path, RATE)
        assert first.time == pytest.approx(1.0, abs=0.002)

    def test_a_file_without_sound(self, tmp_path):
        path = write_media(tmp_path / "a.mp4", picture=1)
        with pytest.raises(ClipError, match="has no audio track"):
            next(stream_sound(path, RATE))

    def test_pieces_are_small(self, tmp_path):
        path = write_media(tmp_path / "a.wav", chirp(10))
        assert max(len(sound.samples) for sound in stream_sound(path, RATE)) < RATE


class TestPictures:
    def test_they_keep_their_distance(self, tmp_path):
        path = write_video(tmp_path / "a.mp4", numbered_frames(50))  # 25 a second
        numbers = [frame_number(picture.bgr()) for picture in stream_pictures(path, 0.2)]
        assert numbers == list(range(0, 50, 5))

    def test_all_of_them_if_none_is_too_close(self, tmp_path):
        path = write_video(tmp_path / "a.mp4", numbered_frames(50))
        assert len(list(stream_pictures(path, 0.04))) == 50


class TestJoinedFiles:
    """Recorders join files by writing one behind the other; each begins anew with its time stamps."""

    @pytest.fixture
    def one(self, tmp_path):
        return write_media(tmp_path / "one.ts", chirp(3), codec="aac", picture=3)

    @pytest.fixture
    def three(self, one):
        path = one.with_name("three.ts")
        path.write_bytes(3 * one.read_bytes())
        return path

    def test_they_are_as_long_as_all_of_them(self, one, three):
        assert find_extent(three, 60).seconds == pytest.approx(3 * find_extent(one, 60).seconds, abs=0.3)
        assert not find_extent(three, 5).whole

    def test_their_pictures_and_sound_go_on(self, one, three):
        times = [picture.time for picture in stream_pictures(three, 0.04)]
        assert len(times) == 3 * len(list(stream_pictures(one, 0.04)))
        assert times == sorted(times)
        assert np.diff(times).max() < 0.3
        amounts = [sum(len(sound.samples) for sound in stream_sound(path, RATE)) for path in (one, three)]
        assert amounts[1] == pytest.approx(3 * amounts[0], rel=0.01)
        begins = [sound.time for sound in stream_sound(three, RATE)]
        assert begins == sorted(begins)
        assert begins[-1] > 8.5

    def test_pictures_at_even_times_are_of_all_of_them(self, tmp_path):
        parts = [tmp_path / f"{number}.ts" for number in range(2)]
        frames = list(numbered_frames(40))
        for part, mine in zip(parts, (frames[:20], frames[20:]), strict=True):
            write_video(part, mine)
        joined = tmp_path / "joined.ts"
        joined.write_bytes(b"".join(part.read_bytes() for part in parts))
        assert frame_times(joined) == sorted(frame_times(joined))
        numbers = [frame_number(picture.bgr()) for picture in sample_pictures(joined, 8)]
        assert numbers == pytest.approx([2, 7, 12, 17, 22, 27, 32, 37], abs=1)


class TestExtent:
    def test_a_short_file_is_read_to_its_end(self, tmp_path):
        extent = find_extent(write_media(tmp_path / "a.mp4", chirp(2), picture=2), 6)
        assert (extent.video, extent.audio, extent.whole, extent.cut_off) == (True, True, True, False)
        assert extent.seconds == pytest.approx(2, abs=0.1)

    @pytest.mark.parametrize("name", ["a.mkv", "a.mp4"])
    def test_a_track_that_nobody_reads_does_not_make_it_cut_off(self, tmp_path, name):
        """A second language that goes on longer."""
        with av.open(str(tmp_path / name), "w") as container:
            tracks = [container.add_stream("aac", rate=16000, layout="mono") for _ in range(2)]
            for track, seconds in zip(tracks, (2, 5), strict=True):
                frame = av.AudioFrame.from_ndarray(chirp(seconds, 16000), format="fltp", layout="mono")
                frame.sample_rate = 16000
                container.mux([*track.encode(frame), *track.encode()])
        extent = find_extent(tmp_path / name, 60)
        assert extent.seconds == pytest.approx(2, abs=0.2)
        assert (extent.whole, extent.cut_off) == (True, False)

    def test_a_long_one_only_as_far_as_it_must(self, tmp_path):
        extent = find_extent(write_media(tmp_path / "a.mkv", chirp(9), codec="flac", picture=9), 3)
        assert not extent.whole
        assert 3 < extent.seconds < 4
        assert extent.promised == pytest.approx(9, abs=0.1)

    def test_files_with_one_track(self, tmp_path):
        sound, film = write_media(tmp_path / "a.wav", chirp(1)), write_media(tmp_path / "b.mp4", picture=1)
        assert (find_extent(sound, 6).video, find_extent(sound, 6).audio) == (False, True)
        assert (find_extent(film, 6).video, find_extent(film, 6).audio) == (True, False)

    def test_one_that_is_cut_off(self, tmp_path):
        path = cut(write_media(tmp_path / "a.mp4", picture=4), 0.6)
        assert find_extent(path, 6).cut_off

    def test_stamps_without_a_container(self, tmp_path):
        path = write_video(tmp_path / "a.h264", numbered_frames(50))
        assert find_extent(path, 6).video
