from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cfnsr.errors import ClipError, InputError
from cfnsr.features.packed import (
    ClipTask,
    check_bad_share,
    excluded,
    extract_by_speaker,
    merge_packed,
    read_key,
    write_packed,
)

SCHEMA = pa.schema([("clip_id", pa.string()), ("reason", pa.string()), ("length", pa.int64())])


@dataclass(frozen=True)
class Clip(ClipTask):
    log: str = ""


def length(clip):
    """The feature of these tests; records in a file that it was computed."""
    if clip.log:
        with open(clip.log, "a") as log:  # noqa: PTH123
            log.write(f"{clip.clip_id}\n")
    if clip.digest == "bad":
        raise ClipError("it is bad")
    return {"length": len(clip.clip_id)}


@pytest.fixture
def log(tmp_path):
    path = tmp_path / "log"
    path.touch()
    return path


def clips(log, speakers=("1", "Ä/2"), digest="d"):
    return [Clip(f"{speaker}-{number}", speaker, digest, str(log)) for speaker in speakers for number in range(3)]


def extract(folder, tasks, **settings):
    return extract_by_speaker(
        length, tasks, folder=folder, schema=SCHEMA, settings=settings, workers=1, description="test"
    )


def taken(log):
    """Clips whose feature was computed since the last call, sorted."""
    lines = sorted(log.read_text().split())
    log.write_text("")
    return lines


def test_one_file_per_speaker_and_one_row_group_per_clip(tmp_path, log):
    parts = extract(tmp_path / "out", clips(log))
    assert [path.name for path in parts] == ["1.parquet", "%C3%84%2F2.parquet"]
    assert pq.ParquetFile(parts[1]).num_row_groups == 3
    assert pq.read_table(parts[1]).to_pylist() == [
        {"clip_id": f"Ä/2-{number}", "reason": "", "length": 5} for number in range(3)
    ]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["%C3%84%2F2.parquet", "1.parquet"]


class TestResuming:
    def test_finished_speakers_are_not_redone(self, tmp_path, log):
        extract(tmp_path / "out", clips(log, speakers=["1"]))
        assert taken(log) == ["1-0", "1-1", "1-2"]
        extract(tmp_path / "out", clips(log))
        assert taken(log) == ["Ä/2-0", "Ä/2-1", "Ä/2-2"]
        extract(tmp_path / "out", clips(log)[::-1])
        assert taken(log) == []
        extract(tmp_path / "out", clips(log), size=2)
        assert len(taken(log)) == 6

    def test_another_source_file_redoes_its_speaker(self, tmp_path, log):
        extract(tmp_path / "out", clips(log))
        taken(log)
        extract(tmp_path / "out", clips(log, ["1"]) + clips(log, ["Ä/2"], digest="new"))
        assert taken(log) == ["Ä/2-0", "Ä/2-1", "Ä/2-2"]

    def test_a_damaged_part_is_redone(self, tmp_path, log):
        part = extract(tmp_path / "out", clips(log))[0]
        part.write_bytes(part.read_bytes()[:100])
        taken(log)
        extract(tmp_path / "out", clips(log))
        assert taken(log) == ["1-0", "1-1", "1-2"]

    def test_other_speakers_are_removed(self, tmp_path, log):
        extract(tmp_path / "out", clips(log))
        (tmp_path / "out" / "3.parquet.part").touch()
        extract(tmp_path / "out", clips(log, speakers=["Ä/2"]))
        assert [path.name for path in (tmp_path / "out").iterdir()] == ["%C3%84%2F2.parquet"]


def test_a_bad_clip_is_a_row_with_its_reason(tmp_path, log):
    parts = extract(tmp_path / "out", [*clips(log, ["1"]), Clip("1-9", "1", "bad")])
    assert excluded(parts) == {"1-9": "it is bad"}
    assert pq.read_table(parts[0]).to_pylist()[-1] == {"clip_id": "1-9", "reason": "it is bad", "length": None}


def test_merging_joins_the_parts_and_removes_them(tmp_path, log):
    parts = extract(tmp_path / "parts", clips(log))
    merge_packed(parts, tmp_path / "all.parquet", SCHEMA, "key")
    assert pq.read_table(tmp_path / "all.parquet")["clip_id"].to_pylist() == [clip.clip_id for clip in clips(log)]
    assert pq.ParquetFile(tmp_path / "all.parquet").num_row_groups == 6
    assert read_key(tmp_path / "all.parquet") == "key"
    assert not (tmp_path / "parts").exists()


def test_a_merge_that_fails_keeps_the_parts(tmp_path, log):
    parts = extract(tmp_path / "parts", clips(log))
    content = parts[1].read_bytes()
    parts[1].write_bytes(b"")
    with pytest.raises(pa.ArrowInvalid):
        merge_packed(parts, tmp_path / "all.parquet", SCHEMA, "key")
    assert not list(tmp_path.glob("all.parquet*"))
    parts[1].write_bytes(content)
    merge_packed(parts, tmp_path / "all.parquet", SCHEMA, "key")
    assert len(pq.read_table(tmp_path / "all.parquet")) == 6


def test_key_of_another_file(tmp_path):
    pq.write_table(pa.table({"a": [1]}), tmp_path / "other.parquet")
    (tmp_path / "text.parquet").write_text("no Parquet at all")
    for name in ("other.parquet", "text.parquet", "missing.parquet"):
        assert read_key(tmp_path / name) is None
    write_packed(tmp_path / "own.parquet", [], SCHEMA, "key")
    assert read_key(tmp_path / "own.parquet") == "key"


class TestBadShare:
    def test_below_the_limit_is_reported(self, capsys, caplog):
        check_bad_share("faces", {"1-2": "no face"}, total=20, limit=0.05)
        assert capsys.readouterr().out == "faces: 19 of 20 clips usable, 1 excluded\n"
        assert caplog.messages == ["faces: 1-2 excluded: no face"]

    def test_above_the_limit_fails(self):
        with pytest.raises(InputError, match=r"2 of 20 clips had to be excluded \(1-2: no face\), more than the 5%"):
            check_bad_share("faces", {"1-3": "no face", "1-2": "no face"}, total=20, limit=0.05)
