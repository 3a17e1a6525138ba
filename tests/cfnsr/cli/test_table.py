"""`cfnsr table` as a user types it."""

import sys
from pathlib import Path

import pytest

from cfnsr.cli import main
from cfnsr.corpus.table import read_rows


@pytest.fixture
def table(tmp_path, monkeypatch, capsys):
    """Run it beside a folder of clips; gives exit code, stdout and stderr."""
    for name in ("03a01Wa.wav", "08b02Fd.wav", "notes.wav", "=1+1.wav"):
        (tmp_path / "clips").mkdir(exist_ok=True)
        (tmp_path / "clips" / name).touch()
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["cfnsr", "table", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        return ended.value.code or 0, *capsys.readouterr()

    return run


def test_published_names_become_a_table_beside_the_clips(table):
    code, output, errors = table("clips", "--names", "emo-db")
    assert code == 0
    assert [(row.path, row.label, row.speaker) for row in read_rows(Path("clips/table.csv"))] == [
        ("03a01Wa.wav", "angry", "03"),
        ("08b02Fd.wav", "happy", "08"),
    ]
    assert "2 clips of 2 speakers: 1 angry, 1 happy" in output
    assert "another name: notes.wav" in errors
    assert "2 files with other names are not in the table" in errors


def test_a_pattern_becomes_a_table_elsewhere(table):
    assert table("clips", "--pattern", "{speaker:2}???{label:1}?.wav", "--out", "tables/mine.csv")[0] == 0
    assert [row.path for row in read_rows(Path("tables/mine.csv"))] == ["../clips/03a01Wa.wav", "../clips/08b02Fd.wav"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("clips",), "give either --pattern or --names"),
        (("clips", "--names", "emodb"), "the names of 'emodb' are not known"),
        (("nowhere", "--names", "emo-db"), "nowhere is not a folder"),
        (("clips", "--names", "savee"), "none of the 4 files in clips has such a name"),
    ],
)
def test_what_cannot_be_done_is_said(table, arguments, message):
    code, _, errors = table(*arguments)
    assert (code, message in errors) == (2, True)
