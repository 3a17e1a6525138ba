"""What may be opened: recordings in single files, and nothing that they name."""

import os
import struct
import zlib
from fractions import Fraction
from pathlib import Path

import av
import pytest
from helpers.media_files import chirp, encode
from helpers.video_files import numbered_frames, write_video
from PIL import Image

from cfnsr.errors import ClipError
from cfnsr.media.container import open_media
from cfnsr.media.extent import find_extent
from cfnsr.media.formats import FORMATS, clip_kind

PLAYLISTS = {
    "hls": "#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\ntalk.mp4\n#EXT-X-ENDLIST\n",
    "concat": "ffconcat version 1.0\nfile talk.mp4\n",
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=-\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n",
    "dash": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><Period/></MPD>',
    "asx": '<asx version="3.0"><entry><ref href="talk.mp4"/></entry></asx>',
    "subtitles": "1\n00:00:01,000 --> 00:00:02,000\nKids are talking by the door\n\n" * 9,
}


@pytest.mark.parametrize("kind", PLAYLISTS)
@pytest.mark.parametrize("suffix", ["mp4", "m3u8", "txt"])
def test_files_that_name_others_and_text_are_refused_whatever_their_suffix(tmp_path, kind, suffix):
    write_video(tmp_path / "talk.mp4", numbered_frames(5))
    path = tmp_path / f"list.{suffix}"
    path.write_text(PLAYLISTS[kind])
    with pytest.raises(ClipError, match="not a media file that can be read"), open_media(path):
        pass


def test_numbered_pictures_are_not_collected(tmp_path):
    for number in range(5):
        Image.new("RGB", (96, 64)).save(tmp_path / f"x{number}.bmp")
    (tmp_path / "x%d.bmp").write_bytes((tmp_path / "x0.bmp").read_bytes())
    with pytest.raises(ClipError, match="playlists and pictures can't"), open_media(tmp_path / "x%d.bmp"):
        pass


@pytest.mark.parametrize("suffix", ["gif", "png", "webp", "avif"])
def test_animated_pictures_are_refused_in_their_own_words(tmp_path, suffix):
    first, *others = [Image.new("RGB", (96, 64), (40 * number, 0, 0)) for number in range(4)]
    path = tmp_path / "face.mp4"
    first.save(path, format=suffix, save_all=True, append_images=others)
    with pytest.raises(ClipError, match="is a picture or an animated picture, not a video"), open_media(path):
        pass


@pytest.mark.parametrize(
    ("name", "video", "audio"),
    [
        ("a.mp4", "libx264", "aac"),
        ("a.m4v", "libx264", ""),
        ("a.mov", "mjpeg", "pcm_s16le"),
        ("a.3gp", "libx264", "aac"),
        ("a.mkv", "libx265", "flac"),
        ("a.webm", "libvpx", "libopus"),
        ("a.avi", "mpeg4", "libmp3lame"),
        ("a.wmv", "wmv2", "wmav2"),
        ("a.flv", "flv", "libmp3lame"),
        ("a.mpg", "mpeg2video", "mp2"),
        ("a.vob", "mpeg2video", "ac3"),
        ("a.mts", "libx264", "aac"),
        ("a.mxf", "mpeg2video", "pcm_s16le"),
        ("a.nut", "mpeg4", "pcm_s16le"),
        ("a.y4m", "wrapped_avframe", ""),
        ("a.wav", "", "pcm_s16le"),
        ("a.w64", "", "pcm_s16le"),
        ("a.aiff", "", "pcm_s16be"),
        ("a.au", "", "pcm_s16be"),
        ("a.caf", "", "pcm_s16be"),
        ("a.flac", "", "flac"),
        ("a.mp3", "", "libmp3lame"),
        ("a.aac", "", "aac"),
        ("a.m4a", "", "aac"),
        ("a.ac3", "", "ac3"),
        ("a.ogg", "", "libopus"),
        ("a.opus", "", "libopus"),
        ("a.oga", "", "flac"),
        ("a.wma", "", "wmav2"),
        ("a.wv", "", "wavpack"),
        ("a.tta", "", "tta"),
        ("a.mka", "", "pcm_s16le"),
    ],
)
def test_ordinary_formats_are_opened(tmp_path, name, video, audio):
    assert clip_kind(name) == ("video" if video else "audio")
    frames = numbered_frames(10, 160, 96) if video else None
    pixels = "yuvj420p" if video == "mjpeg" else "yuv420p"
    encode(tmp_path / name, frames, chirp(0.4) if audio else None, video=video, pix_fmt=pixels, audio=audio)
    with open_media(tmp_path / name) as container:
        assert [len(container.streams.video), len(container.streams.audio)] == [bool(video), bool(audio)]


def test_every_suffix_that_ffmpeg_knows_is_that_of_a_clip():
    known = set()
    for name in FORMATS:
        for mode in "rw":
            try:
                known |= {(suffix, name) for suffix in av.ContainerFormat(name, mode).extensions}
            except ValueError:
                assert mode == "w", f"FFmpeg has no demuxer {name}"
    others = {suffix for suffix, name in known if not clip_kind(f"a.{suffix}")}
    assert others == {"afc", "avif", "heic", "heif", "ism", "mks", "mpo"}  # pictures, subtitles, playlists
    assert clip_kind("A.MP4") == "video"
    assert clip_kind("sound.Opus") == "audio"
    assert {clip_kind(f"a.{suffix}") for suffix in ("m3u8", "txt", "csv", "png", "part", "")} == {""}


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo])
def test_only_files_are_opened(tmp_path, make):
    make(tmp_path / "a")
    with pytest.raises(ClipError, match="is a folder or a device, not a file"), open_media(tmp_path / "a"):
        pass


def test_a_name_that_is_too_long(tmp_path):
    with pytest.raises(ClipError, match="can't be read"), open_media(tmp_path / ("a" * 300)):
        pass


def test_encrypted_files_are_refused_in_their_own_words(tmp_path):
    key = "00112233445566778899aabbccddeeff"
    options = {"encryption_scheme": "cenc-aes-ctr", "encryption_key": key, "encryption_kid": key}
    common = encode(tmp_path / "common.mp4", numbered_frames(10), chirp(0.4), options=options)
    with pytest.raises(ClipError, match=r"common\.mp4 is encrypted"):
        find_extent(common, 10)
    song = encode(tmp_path / "song.m4a", None, chirp(0.4), audio="aac")
    song.write_bytes(song.read_bytes().replace(b"mp4a", b"drms"))
    with pytest.raises(ClipError, match=r"song\.m4a is encrypted"), open_media(song):
        pass


def test_a_huge_picture_is_not_decoded_when_the_file_is_opened(tmp_path):
    """A PNG file of 9000 x 9000 pixels in 0.1 MB."""
    side = 9000
    chunks = {b"IHDR": struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0), b"IEND": b""}
    chunks |= {b"IDAT": zlib.compress(bytes((side + 1) * side), 1)}
    picture = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(chunks[kind])) + kind + chunks[kind] + struct.pack(">I", zlib.crc32(kind + chunks[kind]))
        for kind in (b"IHDR", b"IDAT", b"IEND")
    )
    with av.open(str(tmp_path / "a.avi"), "w") as container:
        stream = container.add_stream("png", rate=25, width=64, height=64, pix_fmt="gray")
        packet = av.Packet(picture)
        packet.stream, packet.pts, packet.dts, packet.time_base = stream, 0, 0, Fraction(1, 25)
        container.mux(packet)
    with open_media(tmp_path / "a.avi") as container:
        assert container.streams.video[0].width < side
