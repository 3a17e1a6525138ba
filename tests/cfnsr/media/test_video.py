from collections.abc import Iterable
from pathlib import Path

import av
import numpy as np
import pytest
from av.stream import Disposition
from helpers.media_files import encode
from helpers.talking_files import promise
from helpers.video_files import frame_number, numbered_frames, write_video

from cfnsr.errors import ClipError
from cfnsr.media.container import open_reader
from cfnsr.media.picture import Picture
from cfnsr.media.video import (
    decode,
    frame_times,
    read_frames,
    sample_kept_pictures,
    sample_pictures,
    stream_pictures,
)

B_FRAMES = {"preset": "ultrafast", "bf": "3", "b_strategy": "0", "x264-params": "bframes=3:b-adapt=0"}


def numbers(pictures: Iterable[Picture]) -> list[int]:
    return [frame_number(picture.bgr()) for picture in pictures]


def damage(path: Path, begin: float, end: float) -> None:
    """Overwrite a part of a file, given as shares of its length."""
    content = bytearray(path.read_bytes())
    first, last = int(begin * len(content)), int(end * len(content))
    content[first:last] = bytes(last - first)
    path.write_bytes(content)


def test_frames_in_the_middle_of_even_segments(tmp_path):
    clip = write_video(tmp_path / "clip.mp4", numbered_frames(40))
    pictures = sample_pictures(clip, 8)
    assert numbers(pictures) == [2, 7, 12, 17, 22, 27, 32, 37]
    assert [picture.time for picture in pictures] == pytest.approx([number / 25 for number in numbers(pictures)])
    assert numbers(sample_pictures(clip, 40)) == list(range(40))


def test_variable_frame_rate(tmp_path):
    times = [*np.arange(30) * 0.02, *(0.6 + np.arange(10) * 0.2)]  # 50 frames/s for 0.6 s, then 5 frames/s for 2 s
    clip = write_video(tmp_path / "vfr.mp4", numbered_frames(40), times)
    assert frame_times(clip) == pytest.approx(times)
    pictures = sample_pictures(clip, 10)
    middles = (np.arange(10) + 0.5) / 10 * (times[-1] + 0.02)
    assert numbers(pictures) == [int(np.argmin(np.abs(np.array(times) + 0.01 - middle))) for middle in middles]
    assert np.diff(numbers(pictures)).max() > 5 > 1 >= np.diff(numbers(pictures)).min()  # even in time, not in number


@pytest.mark.parametrize("seconds", [7200, 0.01])
def test_the_duration_in_the_header_is_ignored(tmp_path, seconds):
    honest = write_video(tmp_path / "honest.mkv", numbered_frames(25))
    lying = promise(write_video(tmp_path / "lying.mkv", numbered_frames(25)), seconds)
    with av.open(str(lying)) as container:
        assert container.duration / av.time_base == pytest.approx(seconds)
    assert numbers(sample_pictures(lying, 8)) == numbers(sample_pictures(honest, 8))


def test_short_clip_repeats_frames(tmp_path):
    clip = write_video(tmp_path / "short.mp4", numbered_frames(8), np.arange(8) * 0.0375)  # 0.3 s
    pictures = sample_pictures(clip, 30)
    assert len(pictures) == 30
    assert sorted(set(numbers(pictures))) == list(range(8))
    assert numbers(pictures) == sorted(numbers(pictures))
    assert len({id(picture) for picture in pictures}) == 8  # repeated, not decoded or held again


def test_skipping_unneeded_frames_changes_no_pixel(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (60, 64, 96, 3), np.uint8)
    moving = [np.roll(noise[0] // 2 + noise[number] // 4, number, axis=1) for number in range(60)]
    clip = write_video(tmp_path / "b.mp4", moving, options=B_FRAMES)
    everything = {time: frame.to_ndarray() for time, frame in read_frames(clip)}
    assert sorted(everything) == frame_times(clip)
    wanted = set(list(everything)[::7])
    some = {time: frame.to_ndarray() for time, frame in read_frames(clip, wanted)}
    assert wanted <= set(some)
    assert len(some) < len(everything)
    assert all(np.array_equal(some[time], everything[time]) for time in some)


def test_frames_around_damage_are_still_read(tmp_path):
    clip = write_video(tmp_path / "clip.mp4", numbered_frames(60), options={"preset": "ultrafast", "g": "5"})
    damage(clip, 0.3, 0.4)
    pictures = sample_pictures(clip, 12)
    assert len(pictures) == 12
    assert numbers(pictures)[0] == 2
    assert numbers(pictures)[-1] == 57


@pytest.mark.parametrize(
    ("name", "codec", "delay"),
    [("a.avi", "mpeg4", 1), ("a.wmv", "mpeg4", 1), ("a.avi", "libx264", 2)],
)
def test_times_come_in_order_in_files_that_store_only_times_of_decoding(tmp_path, name, codec, delay):
    """The first frame is shown when the decoder is ready with it, as players do."""
    options = B_FRAMES if codec == "libx264" else {"bf": "2", "b": "2M"}
    clip = encode(tmp_path / name, numbered_frames(30), video=codec, video_options=options)
    shown = [(time, frame_number(frame.to_ndarray(format="bgr24"))) for time, frame in read_frames(clip)]
    assert [number for _, number in shown] == list(range(30))
    assert [time for time, _ in shown] == pytest.approx((np.arange(30) + delay) / 25, abs=0.001)
    assert np.diff([time for time, _ in shown]).min() > 0
    assert frame_times(clip) == pytest.approx([time for time, _ in shown])
    assert numbers(sample_pictures(clip, 10)) == [1, 4, 7, 10, 13, 16, 19, 22, 25, 28]


def test_packets_that_the_decoder_refuses_do_not_end_the_track_and_count_as_damage(tmp_path):
    """This decoder refuses them with "operation not permitted"."""
    clip = write_video(tmp_path / "a.avi", numbered_frames(40), codec="msmpeg4v2", options={"b": "2M", "g": "10"})
    with open_reader(clip) as reader:
        packets = list(reader.packets(reader.video))
    content = bytearray(clip.read_bytes())
    for packet in packets[22:25]:
        content[packet.pos : packet.pos + packet.size] = b"\xff" * packet.size
    clip.write_bytes(content)
    with open_reader(clip) as reader:
        found = [frame_number(decoded.frame.to_ndarray(format="bgr24")) for decoded in decode(reader)]
        assert found == [*range(22), *range(25, 40)]
        assert "not permitted" in reader.fault()


@pytest.mark.parametrize(
    ("name", "codec"), [("a.avi", "mpeg4"), ("a.webm", "libvpx"), ("a.ts", "libx264"), ("a.mkv", "libx265")]
)
def test_other_containers_and_codecs(tmp_path, name, codec):
    options = {"b": "2M"} if codec in {"mpeg4", "libvpx"} else None
    clip = write_video(tmp_path / name, numbered_frames(30), codec=codec, options=options)
    pictures = sample_pictures(clip, 10)
    assert numbers(pictures) == [1, 4, 7, 10, 13, 16, 19, 22, 25, 28]
    assert np.diff([picture.time for picture in pictures]) == pytest.approx(0.12, abs=0.002)


def test_a_stream_keeps_the_pictures_apart(tmp_path):
    clip = write_video(tmp_path / "a.mp4", numbered_frames(50))  # 25 per second
    with open_reader(clip) as reader:
        assert numbers(stream_pictures(reader, 0.2)) == list(range(0, 50, 5))
    with open_reader(clip) as reader:
        assert numbers(stream_pictures(reader, 0.04)) == list(range(50))


def test_a_clip_whose_packets_are_kept_gives_the_same_pictures(tmp_path):
    clip = write_video(tmp_path / "a.mp4", numbered_frames(50), options=B_FRAMES)
    with open_reader(clip) as reader:
        while reader.read_packet():
            pass
        assert numbers(sample_kept_pictures(reader, 8)) == numbers(sample_pictures(clip, 8))


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("rotation", [0, 90, 180, -90])
def test_the_picture_is_turned_and_mirrored_as_the_file_says(tmp_path, rotation, mirrored):
    stored = np.full((64, 96, 3), 40, np.uint8)
    stored[:32, :48] = (230, 60, 60)  # top left: red
    clip = write_video(tmp_path / "phone.mp4", [stored] * 5, rotation=rotation, mirrored=mirrored)
    picture = sample_pictures(clip, 8)[0]
    shown = np.rot90(stored, rotation // 90)
    shown = shown[::-1] if mirrored else shown
    assert (picture.height, picture.width) == shown.shape[:2]
    rgb = picture.bgr()[..., ::-1].astype(int)
    assert np.median(np.abs(rgb - shown)) <= 3
    assert np.mean(np.abs(rgb - shown)) <= 6
    luma = picture.luma(48)
    assert max(luma.shape) == 48
    assert (luma.shape[0] > luma.shape[1]) == (picture.height > picture.width)
    assert (luma > 80).mean() == pytest.approx(0.25, abs=0.05)
    assert np.array_equal(luma > 80, shown[::2, ::2, 0] > 80)


@pytest.mark.parametrize(
    ("codec", "pix_fmt"),
    [
        ("libx264", "yuvj420p"),
        ("libx264", "yuv420p10le"),
        ("png", "rgb24"),
    ],
)
def test_colours_survive_any_pixel_format(tmp_path, codec, pix_fmt):
    colour = (200, 90, 40)
    clip = write_video(
        tmp_path / "colour.mov",
        [np.full((64, 96, 3), colour, np.uint8)] * 3,
        codec=codec,
        pix_fmt=pix_fmt,
        options=None if codec == "libx264" else {"pred": "none"},
    )
    assert sample_pictures(clip, 8)[0].bgr()[32, 48, ::-1].astype(int) == pytest.approx(colour, abs=4)


def test_colour_matrix_of_the_file_is_used(tmp_path):
    frame = av.VideoFrame.from_ndarray(np.full((64, 96, 3), (200, 90, 40), np.uint8), format="rgb24")
    tagged = frame.reformat(format="yuv420p", dst_colorspace="ITU709", threads=1)
    assert Picture.of(0.0, tagged).bgr()[32, 48, ::-1].astype(int) == pytest.approx((200, 90, 40), abs=3)
    tagged.colorspace = 2  # unspecified: a picture this small is taken for BT.601, and looks different
    assert Picture.of(0.0, tagged).bgr()[32, 48, ::-1].astype(int) != pytest.approx((200, 90, 40), abs=3)


def write_sound(path: Path, cover: np.ndarray | None = None) -> None:
    """A second of silence, with or without a cover picture (H, W, 3)."""
    with av.open(str(path), "w") as container:
        sound = container.add_stream("aac", rate=48000)
        if cover is not None:
            video = container.add_stream("png", rate=25)
            video.height, video.width = cover.shape[:2]
            video.pix_fmt = "rgb24"
            video.disposition = Disposition.attached_pic
            container.mux(video.encode(av.VideoFrame.from_ndarray(cover, format="rgb24")))
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 48000), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 48000
        container.mux(sound.encode(frame))
        container.mux(sound.encode())


def test_files_that_are_not_videos_are_refused(tmp_path):
    sound = tmp_path / "sound.mp4"
    write_sound(sound)
    text = tmp_path / "text.mp4"
    text.write_text("hello")
    empty = tmp_path / "empty.mp4"
    empty.touch()
    whole = write_video(tmp_path / "whole.mp4", numbered_frames(40))
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    for path, message in (
        (sound, "sound.mp4 has no video track"),
        (text, "text.mp4 is damaged or not a media file"),
        (empty, "empty.mp4 is empty"),
        (cut, "cut.mp4 is damaged or not a media file"),
        (tmp_path / "gone.mp4", "gone.mp4 is missing"),
    ):
        with pytest.raises(ClipError, match=message):
            sample_pictures(path, 8)


def test_video_track_without_a_frame(tmp_path):
    content = bytearray(write_video(tmp_path / "whole.mp4", numbered_frames(40)).read_bytes())
    at = content.index(b"stco") + 12  # where the first frame lies in the file
    content[at : at + 4] = (1 << 30).to_bytes(4)
    path = tmp_path / "hollow.mp4"
    path.write_bytes(content)
    with pytest.raises(ClipError, match="without any frame"):
        sample_pictures(path, 8)


def test_cover_picture_of_a_song_is_no_video(tmp_path):
    path = tmp_path / "song.mp4"
    write_sound(path, cover=np.zeros((64, 96, 3), np.uint8))
    with pytest.raises(ClipError, match="no video track"):
        sample_pictures(path, 8)


def joined(path: Path, *videos: list[np.ndarray]) -> Path:
    """A transport stream of several parts, as recordings of calls have them when the picture changes its size."""
    parts, start = [], 0.0
    for number, frames in enumerate(videos):
        times = start + np.arange(len(frames)) / 25
        parts.append(write_video(path.with_name(f"part-{number}.ts"), frames, times))
        start += len(frames) / 25
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    return path


def test_all_pictures_of_a_file_have_the_size_of_the_first(tmp_path):
    """What was in the middle stays there, whether the picture becomes smaller, larger or upright."""

    def white_square(width: int, height: int) -> list[np.ndarray]:
        frame = np.zeros((height, width, 3), np.uint8)
        frame[height // 2 - 12 : height // 2 + 12, width // 2 - 12 : width // 2 + 12] = 255
        return [frame] * 20

    clip = joined(tmp_path / "a.ts", white_square(192, 128), white_square(96, 64), white_square(160, 192))
    pictures = sample_pictures(clip, 12)
    assert {(picture.width, picture.height) for picture in pictures} == {(192, 128)}
    for picture in pictures:
        shown = picture.bgr()
        assert shown[64, 96].min() > 200
        assert shown[64, 4].max() < 40
        assert (shown.mean(axis=2) > 128).any(axis=0).nonzero()[0].mean() == pytest.approx(95.5, abs=2)
    wide = [np.ptp((picture.bgr().mean(axis=2) > 128).any(axis=0).nonzero()[0]) for picture in pictures]
    assert wide[0] == pytest.approx(23, abs=2)
    assert wide[5] == pytest.approx(47, abs=2)  # twice as large in a picture half as large
    assert wide[-1] == pytest.approx(15, abs=2)


def test_a_picture_that_is_larger_than_the_header_and_than_4k_is_not_decoded(tmp_path):
    huge = np.full((3840, 5120, 3), 90, np.uint8)
    clip = joined(tmp_path / "a.ts", list(numbered_frames(20)), [huge] * 3)
    assert {frame.width for _, frame in read_frames(clip)} == {96}
    assert len(sample_pictures(clip, 8)) == 8


def test_pictures_larger_than_8k_are_refused(tmp_path):
    clip = write_video(tmp_path / "a.mp4", [np.zeros((4400, 8200, 3), np.uint8)])
    with pytest.raises(ClipError, match=r"have 36 megapixels; convert them to 8K \(35 megapixels\)"):
        sample_pictures(clip, 8)


def test_pixels_that_are_not_square(tmp_path):
    """As on HDV and DVDs."""
    frames = list(numbered_frames(20))
    clip = write_video(tmp_path / "a.mp4", frames, options={"x264-params": "sar=4/3"})
    picture = sample_pictures(clip, 8)[0]
    assert (picture.width, picture.height) == (128, 64)
    assert picture.bgr().shape == (64, 128, 3)
    turned = write_video(tmp_path / "b.mp4", frames, rotation=90, options={"x264-params": "sar=4/3"})
    assert (sample_pictures(turned, 8)[0].width, sample_pictures(turned, 8)[0].height) == (64, 128)


@pytest.mark.parametrize("matrix", ["YCgCo", "ictcp"])
def test_colour_matrices_unknown_to_the_scaler_are_approximated(tmp_path, matrix):
    clip = write_video(
        tmp_path / "a.mp4",
        [np.full((64, 96, 3), 120, np.uint8)] * 10,
        options={"x264-params": f"colormatrix={matrix}"},
    )
    for picture in sample_pictures(clip, 8):
        assert picture.bgr()[32, 48].astype(int) == pytest.approx((120, 120, 120), abs=12)
