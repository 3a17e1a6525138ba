import numpy as np
import pyarrow.parquet as pq
import pytest

from cfnsr.errors import ClipError, InputError
from cfnsr.features.faces.crop import encode_jpeg
from cfnsr.features.faces.store import SCHEMA, read_faces
from cfnsr.features.packed import write_packed


def row(clip_id, shade, frames=8, size=32):
    """A usable clip whose crops are of a red that tells clip and frame."""
    images = [np.full((size, size, 3), (0, 0, shade + number), np.uint8) for number in range(frames)]
    return {
        "clip_id": clip_id,
        "reason": "",
        "frames": [encode_jpeg(image, 95) for image in images],
        "boxes": [[1.5, 2, 30, 40]] * frames,
        "flags": ["detected", *["interpolated"] * (frames - 2), "not found"],
        "times": [number / 10 for number in range(frames)],
        "width": 320,
        "height": 240,
    }


CLIPS = ("01-01-01-01-01-03", "01-02-01-01-01-03", "01-03-01-01-01-03")


@pytest.fixture
def folder(tmp_path):
    rows = [row(CLIPS[0], 60), {"clip_id": CLIPS[1], "reason": "no face found"}, row(CLIPS[2], 160)]
    write_packed(tmp_path / "03.parquet", rows, SCHEMA, "key")
    return tmp_path


def test_a_clip_is_read(folder):
    clip = read_faces(folder, "03", CLIPS[2])
    assert clip.frames.shape == (8, 32, 32, 3)
    assert clip.frames.dtype == np.uint8
    assert clip.frames[:, 16, 16, 0] == pytest.approx(160 + np.arange(8), abs=2)  # red comes first
    assert clip.frames[..., 1:].max() <= 4
    assert clip.boxes.dtype == np.float32
    assert clip.boxes == pytest.approx(np.tile([1.5, 2, 30, 40], (8, 1)))
    assert clip.flags == ("detected", *["interpolated"] * 6, "not found")
    assert clip.times == pytest.approx(np.arange(8) / 10)
    assert (clip.width, clip.height) == (320, 240)


def test_a_replaced_file_is_read_again(folder):
    assert read_faces(folder, "03", CLIPS[0]).frames[0, 16, 16, 0] == pytest.approx(60, abs=2)
    write_packed(folder / "03.parquet", [row(CLIPS[2], 10), row(CLIPS[0], 200)], SCHEMA, "key")
    assert read_faces(folder, "03", CLIPS[0]).frames[0, 16, 16, 0] == pytest.approx(200, abs=2)


def test_only_the_clip_is_read(folder):
    """Damage in another clip's row group goes unnoticed."""
    path = folder / "03.parquet"
    read_faces(folder, "03", CLIPS[2])
    column = pq.ParquetFile(path).metadata.row_group(0).column(SCHEMA.get_field_index("frames"))
    with path.open("r+b") as file:
        file.seek(column.data_page_offset)
        file.write(bytes(column.total_compressed_size // 2))
    assert read_faces(folder, "03", CLIPS[2]).frames[0, 16, 16, 0] == pytest.approx(160, abs=2)
    with pytest.raises(OSError, match=r"ZSTD|deserialize"):
        read_faces(folder, "03", CLIPS[0])


def test_an_excluded_clip_gives_its_reason(folder):
    with pytest.raises(ClipError, match="no face found"):
        read_faces(folder, "03", CLIPS[1])


@pytest.mark.parametrize(("speaker", "clip_id"), [("03", "01-08-01-01-01-03"), ("04", CLIPS[0])])
def test_an_unknown_clip_is_refused(folder, speaker, clip_id):
    with pytest.raises(InputError, match=r"components\.faces"):
        read_faces(folder, speaker, clip_id)
