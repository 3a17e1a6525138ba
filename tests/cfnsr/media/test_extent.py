import av
import pytest
from helpers.media_files import chirp, cut, write_media
from helpers.video_files import numbered_frames, write_video

from cfnsr.errors import ClipError
from cfnsr.media.extent import find_extent


def test_a_short_file_is_read_to_its_end(tmp_path):
    extent = find_extent(write_media(tmp_path / "a.mp4", chirp(2), picture=2), 6)
    assert (extent.video, extent.audio, extent.whole, extent.cut_off) == (True, True, True, False)
    assert extent.seconds == pytest.approx(2, abs=0.1)


@pytest.mark.parametrize("name", ["a.mkv", "a.mp4"])
def test_a_track_that_nobody_reads_does_not_make_it_cut_off(tmp_path, name):
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


def test_a_long_one_only_as_far_as_it_must(tmp_path):
    extent = find_extent(write_media(tmp_path / "a.mkv", chirp(9), codec="flac", picture=9), 3)
    assert not extent.whole
    assert 3 < extent.seconds < 4
    assert extent.promised == pytest.approx(9, abs=0.1)


def test_files_with_one_track(tmp_path):
    sound, film = write_media(tmp_path / "a.wav", chirp(1)), write_media(tmp_path / "b.mp4", picture=1)
    assert (find_extent(sound, 6).video, find_extent(sound, 6).audio) == (False, True)
    assert (find_extent(film, 6).video, find_extent(film, 6).audio) == (True, False)


def test_one_that_is_cut_off(tmp_path):
    path = cut(write_media(tmp_path / "a.mp4", picture=4), 0.6)
    assert find_extent(path, 6).cut_off


def test_a_bare_stream_is_refused(tmp_path):
    with pytest.raises(ClipError, match=r"a\.h264 has no time stamps"):
        find_extent(write_video(tmp_path / "a.h264", numbered_frames(50)), 6)
