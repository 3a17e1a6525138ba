import pytest
from helpers.media_files import chirp, write_media
from helpers.video_files import numbered_frames, write_video

from cfnsr.errors import ClipError
from cfnsr.media.extent import find_extent


def test_a_short_file_is_read_to_its_end(tmp_path):
    extent = find_extent(write_media(tmp_path / "a.mp4", chirp(8), picture=8), 60)
    assert (extent.video, extent.audio, extent.whole) == (True, True, True)
    assert extent.seconds == pytest.approx(8, abs=0.1)


def test_a_long_file_is_read_only_up_to_the_limit(tmp_path):
    extent = find_extent(write_media(tmp_path / "a.mkv", chirp(9), codec="flac", picture=9), 3)
    assert not extent.whole
    assert 3 < extent.seconds < 4


def test_a_file_of_less_than_half_a_second_is_too_short(tmp_path):
    with pytest.raises(ClipError, match=r"a\.wav is too short \(0\.03 s\); a clip needs 0\.5 s or more"):
        find_extent(write_media(tmp_path / "a.wav", chirp(0.03)), 6)


def test_files_with_one_track(tmp_path):
    sound, film = write_media(tmp_path / "a.wav", chirp(1)), write_media(tmp_path / "b.mp4", picture=1)
    assert (find_extent(sound, 6).video, find_extent(sound, 6).audio) == (False, True)
    assert (find_extent(film, 6).video, find_extent(film, 6).audio) == (True, False)


def test_a_bare_stream_is_refused(tmp_path):
    with pytest.raises(ClipError, match=r"a\.h264 has no time stamps"):
        find_extent(write_video(tmp_path / "a.h264", numbered_frames(50)), 6)
