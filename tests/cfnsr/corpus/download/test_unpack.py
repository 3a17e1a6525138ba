from __future__ import annotations

import io
import random
import shutil
import zipfile
from pathlib import Path

import pytest
from helpers.ravdess_zips import files_below, make_zip, video_zip

from cfnsr.corpus.download import unpack
from cfnsr.corpus.download.unpack import unpack_archive
from cfnsr.errors import InputError

NAME = "01-01-05-02-01-01-01.mp4"
ANOTHER = "02-01-05-02-01-01-01.mp4"


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    return tmp_path / "data" / "raw"


def write(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "Video_Speech_Actor_01.zip"
    path.write_bytes(content)
    return path


def entry(name: str, mode: int = 0, content: bytes = b"clip") -> bytes:
    """A zip of one harmless file and an entry of any name and Unix mode."""
    buffer = io.BytesIO(make_zip({f"Actor_01/{ANOTHER}": b"harmless"}))
    with zipfile.ZipFile(buffer, "a") as zipped:
        info = zipfile.ZipInfo("placeholder")
        info.filename = name  # as it is: the constructor would tidy it
        info.external_attr = mode << 16
        zipped.writestr(info, content)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "name",
    [f"Actor_01/{NAME}", NAME, f"wrong_folder/{NAME}"],
)
def test_takes_published_names_from_any_folder(tmp_path: Path, raw: Path, name: str) -> None:
    unpacked = unpack_archive(write(tmp_path, entry(name)), raw, {1}, {".mp4"})
    assert unpacked.files == {f"Actor_01/{ANOTHER}": 8, f"Actor_01/{NAME}": 4}
    assert files_below(raw) == {f"Actor_01/{ANOTHER}": b"harmless", f"Actor_01/{NAME}": b"clip"}
    assert not unpacked.excluded


@pytest.mark.parametrize(
    ("name", "mode", "reason"),
    [
        (f"../{NAME}", 0, "unsafe path or kind"),
        (f"Actor_01/../../../{NAME}", 0, "unsafe path or kind"),
        (f"/tmp/{NAME}", 0, "unsafe path or kind"),
        (f"..\\..\\{NAME}", 0, "unsafe path or kind"),
        (NAME, 0o120777, "unsafe path or kind"),  # symbolic link
        (NAME, 0o010644, "unsafe path or kind"),  # FIFO
        (f"__MACOSX/Actor_01/._{NAME}", 0, "unexpected name"),
        ("README.txt", 0, "unexpected name"),
        ("01-01-05-02-01-01-01.wav", 0, "unexpected kind of file"),
        ("01-02-05-02-01-01-01.mp4", 0, "song"),
        ("01-01-05-02-01-01-02.mp4", 0, "other actor"),
        (f"again/{ANOTHER}", 0, "second file of the same name"),
    ],
)
def test_excludes_and_counts_the_rest(tmp_path: Path, raw: Path, name: str, mode: int, reason: str) -> None:
    unpacked = unpack_archive(write(tmp_path, entry(name, mode, b"/etc/passwd")), raw, {1}, {".mp4"})
    assert unpacked.excluded == {reason: 1}
    assert files_below(tmp_path).keys() == {"Video_Speech_Actor_01.zip", f"data/raw/Actor_01/{ANOTHER}"}
    assert files_below(raw) == {f"Actor_01/{ANOTHER}": b"harmless"}


def damaged(content: bytes, at: bytes, replacement: bytes) -> bytes:
    assert len(at) == len(replacement)
    assert at in content
    return content.replace(at, replacement)


def encrypted(content: bytes) -> bytes:
    """The first entry's general-purpose flags, in the central directory, say that it is encrypted."""
    flags = content.index(b"PK\x01\x02") + 8
    return content[:flags] + b"\x01" + content[flags + 1 :]


def moved(content: bytes, offset: int) -> bytes:
    """The end record says that the central directory starts elsewhere, which moves all entries."""
    start = content.index(b"PK\x05\x06") + 16
    return content[:start] + offset.to_bytes(4, "little") + content[start + 4 :]


STORED = make_zip({NAME: b"clip" * 100})
DEFLATED = make_zip({NAME: b"clip" * 100}, zipfile.ZIP_DEFLATED)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(b"<html>not found</html>", "is damaged", id="a page"),
        pytest.param(video_zip(1)[:-300], "is damaged", id="truncated"),
        pytest.param(damaged(STORED, b"clip" * 100, b"clap" * 100), r"Bad CRC-32 for file '01-01", id="wrong CRC"),
        pytest.param(DEFLATED[:45] + b"\xff" * 15 + DEFLATED[60:], "is damaged", id="broken stream"),
        pytest.param(make_zip({"notes.txt": b""}), "holds no RAVDESS file", id="other content"),
        pytest.param(encrypted(STORED), "encrypted", id="encrypted"),
        pytest.param(moved(STORED, 2**31), "is damaged", id="directory elsewhere"),
        pytest.param(make_zip({NAME: b"clip" * 100}, zipfile.ZIP_BZIP2), "packed in another way", id="bzip2"),
        pytest.param(make_zip({NAME: b"clip" * 100}, zipfile.ZIP_LZMA), "packed in another way", id="lzma"),
    ],
)
def test_an_unusable_zip_is_refused(tmp_path: Path, raw: Path, content: bytes, message: str) -> None:
    with pytest.raises(InputError, match=rf"^Video_Speech_Actor_01\.zip .*{message}"):
        unpack_archive(write(tmp_path, content), raw, {1}, {".mp4"})
    assert files_below(tmp_path).keys() == {"Video_Speech_Actor_01.zip"}


@pytest.mark.parametrize("original", [STORED, DEFLATED], ids=["stored", "deflated"])
def test_whatever_is_changed_in_a_zip_is_noticed_or_harmless(tmp_path: Path, raw: Path, original: bytes) -> None:
    chance = random.Random(1)
    refused = 0
    for _ in range(150):
        content = bytearray(original)
        for _ in range(chance.randint(1, 4)):
            content[chance.randrange(len(content))] = chance.choice([0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)])
        try:
            unpack_archive(write(tmp_path, bytes(content)), raw, {1}, {".mp4"})
        except InputError:
            refused += 1
        else:
            assert set(files_below(raw).values()) == {b"clip" * 100}
        shutil.rmtree(raw, ignore_errors=True)
    assert refused > 75


@pytest.mark.parametrize("limit", ["MAX_FILES", "MAX_MIB"])
def test_a_zip_bomb_is_refused_before_anything_is_written(
    tmp_path: Path, raw: Path, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    bomb = make_zip({NAME: bytes(5 << 20), ANOTHER: bytes(5 << 20)}, zipfile.ZIP_DEFLATED)
    monkeypatch.setattr(unpack, limit, 1)
    with pytest.raises(InputError, match="claims 2 files of 10 MiB"):
        unpack_archive(write(tmp_path, bomb), raw, {1}, {".mp4"})
    assert not raw.exists()


def test_an_entry_that_lies_about_its_size_is_noticed(tmp_path: Path, raw: Path) -> None:
    content = make_zip({NAME: bytes(5000)}, zipfile.ZIP_DEFLATED)
    lying = damaged(content, (5000).to_bytes(4, "little"), (50).to_bytes(4, "little"))
    with pytest.raises(InputError, match="Bad CRC-32"):
        unpack_archive(write(tmp_path, lying), raw, {1}, {".mp4"})
    assert files_below(tmp_path).keys() == {"Video_Speech_Actor_01.zip"}


def test_an_entry_that_ends_early_is_noticed(tmp_path: Path, raw: Path) -> None:
    """Its check sum is that of the bytes that are there."""
    content = make_zip({NAME: bytes(50)}, zipfile.ZIP_DEFLATED)
    lying = damaged(content, (50).to_bytes(4, "little"), (5000).to_bytes(4, "little"))
    with pytest.raises(InputError, match="is 4950 bytes shorter than it should be"):
        unpack_archive(write(tmp_path, lying), raw, {1}, {".mp4"})
    assert files_below(tmp_path).keys() == {"Video_Speech_Actor_01.zip"}


def test_a_raw_file_that_is_a_link_into_a_cache_is_replaced_not_written_through(tmp_path: Path, raw: Path) -> None:
    cached = tmp_path / "cached"
    cached.write_bytes(b"cached")
    (raw / "Actor_01").mkdir(parents=True)
    (raw / "Actor_01" / NAME).symlink_to(cached)
    unpack_archive(write(tmp_path, STORED), raw, {1}, {".mp4"})
    assert cached.read_bytes() == b"cached"
    assert (raw / "Actor_01" / NAME).read_bytes() == b"clip" * 100
