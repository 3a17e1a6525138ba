"""Corpora given as a table of clips: reading it, its manifest, and copying its files."""

from pathlib import Path

import pandas as pd
import pytest
from helpers.media_files import chirp, write_media

from cfnsr.config.corpus import DatasetSettings
from cfnsr.corpus.download.table import copy_table
from cfnsr.corpus.download.workspace import Workspace
from cfnsr.corpus.manifest import NOT_SELECTED, faults
from cfnsr.corpus.table import TABLE, read_rows
from cfnsr.corpus.table_manifest import table_manifest
from cfnsr.errors import InputError

LABELS = {"anger": ["angry", "W"], "calm": ["calm"]}


def dataset(**values) -> DatasetSettings:
    return DatasetSettings.model_validate({"source": "table", "path": "clips.csv", **values})


def write_table(path: Path, *rows: str, header: str = "path,label,speaker,sex,start,end") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8-sig")
    return path


@pytest.fixture
def corpus(tmp_path) -> Path:
    """A table whose files lie beside and above it, with every kind of bad row."""
    write_media(tmp_path / "corpus/one/a.wav", chirp(1.0))
    write_media(tmp_path / "corpus/b.mp4", chirp(2.0), picture=2.0)
    write_media(tmp_path / "other/a.wav", chirp(1.0))
    (tmp_path / "corpus/text.wav").write_text("not a sound")
    return write_table(
        tmp_path / "corpus/clips.csv",
        "one/a.wav,angry,Äb/1,female,,",
        "b.mp4,W,NA,male,0,0.8",
        "b.mp4,calm,NA,male,1.0,2.0",
        "b.mp4,bored,NA,male,,",
        "../other/a.wav,calm,c,,,",
        "missing.wav,calm,c,,,",
        "text.wav,calm,c,,,",
        "one/a.wav,,c,,,",
        "one/a.wav,calm,c,,0.5,9",
        "one/a.wav,calm,c,,soon,",
        "one/a.wav,calm,Äb/1,,,",
        "one/a.wav,calm,=1+1,,,",
    )


def manifest_of(table: Path, root: Path, **values) -> pd.DataFrame:
    workspace = Workspace(root / "data", root / "data/raw")
    with workspace.locked():
        copy_table(table, workspace)
    return table_manifest(workspace.raw, dataset(**values), 2)


def test_every_row_is_a_clip_or_has_its_reason(corpus, tmp_path):
    manifest = manifest_of(corpus, tmp_path / "project", labels=LABELS)
    assert len(manifest) == 12
    usable = manifest[manifest["reason"] == ""]
    columns = ["label", "speaker", "sex", "has_video", "has_audio", "duration"]
    assert usable.set_index("clip_id")[columns].round(1).T.to_dict("list") == {
        "b.mp4@0-0.8": ["anger", "NA", "male", True, True, 0.8],
        "b.mp4@1.0-2.0": ["calm", "NA", "male", True, True, 1.0],
        "one/a.wav": ["anger", "Äb/1", "female", False, True, 1.0],
        next(clip for clip in usable["clip_id"] if clip.startswith("elsewhere/")): ["calm", "c", "", False, True, 1.0],
    }
    reasons = manifest.loc[manifest["reason"] != "", "reason"].tolist()
    for part in (
        f"{NOT_SELECTED}label bored",
        "missing.wav can't be read",
        "not a media file",
        "no label",
        "0.5 to 9 s is not a part of the file, which has 1.00 s",
        "start is 'soon'",
        "in the table more than once",
        "its speaker has control characters, or starts like a formula",
    ):
        assert sum(part in reason for reason in reasons) == 1, part
    assert len(faults(manifest)) == len(set(manifest["video_path"][manifest["reason"] != ""]) - {"b.mp4"})


def test_without_labels_in_the_settings_the_table_has_them(corpus, tmp_path):
    manifest = manifest_of(corpus, tmp_path / "project")
    assert dataset().classes(manifest[manifest["reason"] == ""]["label"]) == ("W", "angry", "bored", "calm")
    assert dataset(labels=LABELS).classes([]) == ("anger", "calm")


def test_files_that_the_table_no_longer_names_are_removed(corpus, tmp_path):
    manifest_of(corpus, tmp_path / "project")
    write_table(corpus, "one/a.wav,angry,a,,,", "b.mp4,calm,b,,,")
    manifest_of(corpus, tmp_path / "project")
    raw = tmp_path / "project/data/raw"
    assert {path.relative_to(raw).as_posix() for path in raw.rglob("*") if path.is_file()} == {
        TABLE,
        "one/a.wav",
        "b.mp4",
    }


def test_parquet_with_numbers_is_read_as_text(tmp_path):
    table = pd.DataFrame({"path": ["a.wav"], "label": [3], "speaker": [7], "start": [None], "end": [1.5]})
    table.to_parquet(tmp_path / "clips.parquet")
    (row,) = read_rows(tmp_path / "clips.parquet")
    assert (row.label, row.speaker, row.start, row.end) == ("3", "7", "", "1.5")


@pytest.mark.parametrize(
    ("header", "rows", "message"),
    [
        ("path,label", ["a.wav,calm"], "has no column 'speaker'"),
        ("path,label,speaker,gender", ["a.wav,calm,1,f"], "has the column 'gender', which has no meaning"),
        ("path,label,speaker", [], "has no rows"),
        ("path,label,speaker", ["none.wav,calm,1"], "none of its 1 files exists"),
        ("path,label,speaker", ["project/data/raw/a.wav,calm,1"], "in the stage's own output"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused(tmp_path, header, rows, message):
    write_table(tmp_path / "clips.csv", *rows, header=header)
    with pytest.raises(InputError, match=message):
        manifest_of(tmp_path / "clips.csv", tmp_path / "project")


@pytest.mark.parametrize(
    ("values", "present", "message"),
    [
        ({}, ["calm"], r"has 1 label \(calm\)"),
        ({}, ["calm", "speaker"], "a label can't be called 'speaker'"),
        ({"labels": ["calm"]}, ["calm", "sad"], r"has 1 label \(calm\)"),
    ],
)
def test_labels_that_cannot_be_told_apart_or_written_are_refused(values, present, message):
    with pytest.raises(InputError, match=message):
        dataset(**values).classes(present)
