import av
import pytest
from helpers.media_files import chirp, cut, write_media
from helpers.video_files import numbered_frames, write_video

from cfnsr.errors import ClipError
from cfnsr.media.extent import find_extent


def test_a_short_file_is_read_to_its_end(tmp_path):
    path = write_media(tmp_path / "a.mp4", chirp(8), picture=8)
    extent = find_extent(path, 60)
    assert (extent.video, extent.audio, extent.whole, extent.cut_off) == (True, True, True, False)
    assert extent.seconds == pytest.approx(8, abs=0.1)
    assert find_extent(cut(path, 0.6), 60).cut_off


def test_a_longer_unused_track_does_not_make_a_file_cut_off(tmp_path):
    """For example a second language."""
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        tracks = [container.add_stream("aac", rate=16000, layout="mono") for _ in range(2)]
        for track, seconds in zip(tracks, (2, 5), strict=True):
            frame = av.AudioFrame.from_ndarray(chirp(seconds, 16000), format="fltp", layout="mono")
            frame.sample_rate = 16000
            container.mux([*track.encode(frame), *track.encode()])
    extent = find_extent(tmp_path / "a.mkv", 60)
    assert extent.seconds == pytest.approx(2, abs=0.2)
    assert (extent.whole, extent.cut_off) == (True, False)


def test_a_long_file_is_read_only_up_to_the_limit(tmp_path):
    extent = find_extent(write_media(tmp_path / "a.mkv", chirp(9), codec="flac", picture=9), 3)
    assert not extent.whole
    assert 3 < extent.seconds < 4
    assert extent.promised == pytest.approx(9, abs=0.1)


def test_files_with_one_track(tmp_path):
    sound, film = write_media(tmp_path / "a.wav", chirp(1)), write_media(tmp_path / "b.mp4", picture=1)
    assert (find_extent(sound, 6).video, find_extent(sound, 6).audio) == (False, True)
    assert (find_extent(film, 6).video, find_extent(film, 6).audio) == (True, False)


def test_a_bare_stream_is_refused(tmp_path):
    with pytest.raises(ClipError, match=r"a\.h264 has no time stamps"):
        find_extent(write_video(tmp_path / "a.h264", numbered_frames(50)), 6)
