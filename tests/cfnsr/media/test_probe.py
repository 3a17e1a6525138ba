import pytest
from helpers.media_files import chirp, cut, write_media

from cfnsr.errors import ClipError
from cfnsr.media.probe import probe_media


@pytest.mark.parametrize("name", ["clip.wav", "clip.mp3"])
def test_length_of_the_sound(tmp_path, name):
    info = probe_media(write_media(tmp_path / name, chirp(2)))
    assert info.audio == pytest.approx(2, abs=0.06)
    assert info.video == 0


def test_both_tracks(tmp_path):
    info = probe_media(write_media(tmp_path / "clip.mp4", chirp(1), picture=2))
    assert (info.video, info.audio) == (pytest.approx(2, abs=0.05), pytest.approx(1, abs=0.05))


def test_a_late_track_is_not_cut_off(tmp_path):
    info = probe_media(write_media(tmp_path / "clip.mp4", chirp(1), sound_delay=0.6, picture=2))
    assert info.audio == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("share", [0.3, 0.95])
@pytest.mark.parametrize("name", ["clip.mp4", "clip.wav", "clip.flac"])
def test_cut_off(tmp_path, name, share):
    path = write_media(tmp_path / name, chirp(30), picture=30 if name.endswith("mp4") else 0)
    with pytest.raises(ClipError, match="cut off"):
        probe_media(cut(path, share))
