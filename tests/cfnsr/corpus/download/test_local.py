from __future__ import annotations

from pathlib import Path

import pytest
from helpers.ravdess_zips import files_below, settings_for

from cfnsr.errors import InputError
from components.download import download

CLIP = "01-01-05-02-01-01-03.mp4"
SOUND = "03-01-05-02-01-01-03.flac"


def fill(folder: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def copied(root: Path, source: Path | str, actors: list[int] | None = None) -> dict[str, bytes]:
    settings = settings_for(root, source="local", path=source, actors=actors or [3])
    download(settings)
    return files_below(settings.layout.raw)


def test_files_from_any_folder_are_sorted_by_actor(tmp_path: Path) -> None:
    source = fill(
        tmp_path / "clips",
        {
            f"Actor_03/{CLIP}": b"av",
            f"deep/er/{SOUND}": b"a",
            "landmarks/01-01-05-02-01-01-03.csv": b"lm",
            "Actor_03/01-01-05-02-01-01-04.mp4": b"of actor 4",
            "Actor_04/01-01-05-02-01-02-03.mp4": b"strayed",
        },
    )
    assert copied(tmp_path, source, [3, 4]) == {
        f"Actor_03/{CLIP}": b"av",
        f"Actor_03/{SOUND}": b"a",
        "Actor_03/01-01-05-02-01-01-03.csv": b"lm",
        "Actor_04/01-01-05-02-01-01-04.mp4": b"of actor 4",
        "Actor_03/01-01-05-02-01-02-03.mp4": b"strayed",
    }


def test_broken_and_odd_media_files_are_copied_for_the_manifest_to_record(tmp_path: Path) -> None:
    source = fill(
        tmp_path / "clips",
        {
            f"Actor_03/{CLIP}": b"av",
            "Actor_03/01-01-05-02-01-02-03.mp4": b"",
            "Actor_03/holiday.MP4": b"odd",
            "Actor_03/01-01-05-02-02-02-03.mov": b"other container",
            "other.wav": b"no actor",
            f"copy/{CLIP}": b"another content",
            "Actor_05/holiday.mp4": b"actor 5 is not configured",
            "README.md": b"text",
            "labels.csv": b"table",
            f"Actor_03/._{CLIP}": b"hidden",
        },
    )
    assert copied(tmp_path, source) == {
        f"Actor_03/{CLIP}": b"av",
        "Actor_03/01-01-05-02-01-02-03.mp4": b"",
        "Actor_03/holiday.MP4": b"odd",
        "Actor_03/01-01-05-02-02-02-03.mov": b"other container",
        "unplaced/other.wav": b"no actor",
        f"duplicates/copy/{CLIP}": b"another content",
    }


def test_an_exact_copy_is_copied_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = fill(tmp_path / "clips", {f"Actor_03/{CLIP}": b"av", f"copy/Actor_03/{CLIP}": b"av"})
    assert copied(tmp_path, source) == {f"Actor_03/{CLIP}": b"av"}
    assert "1 files in" in capsys.readouterr().out


def test_a_second_run_copies_only_what_changed(tmp_path: Path) -> None:
    source = fill(tmp_path / "clips", {CLIP: b"one", SOUND: b"two"})
    copied(tmp_path, source)
    raw = tmp_path / "data/test/raw/Actor_03"
    before = {path.name: path.stat().st_ino for path in raw.iterdir()}
    (source / SOUND).write_bytes(b"TWO")  # same size, other content
    assert copied(tmp_path, source)[f"Actor_03/{SOUND}"] == b"TWO"
    after = {path.name: path.stat().st_ino for path in raw.iterdir()}
    assert after[CLIP] == before[CLIP]
    assert after[SOUND] != before[SOUND]


def test_files_of_earlier_settings_are_removed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = fill(tmp_path / "clips", {CLIP: b"av", "01-01-05-02-01-01-04.mp4": b"four"})
    copied(tmp_path, source, [3, 4])
    fill(tmp_path / "data/test/raw", {"Actor_03/half.mp4.part": b"killed"})
    assert copied(tmp_path, source, [4]) == {"Actor_04/01-01-05-02-01-01-04.mp4": b"four"}
    assert "removed 2 files of earlier settings" in capsys.readouterr().out
    assert not (tmp_path / "data/test/raw/Actor_03").exists()


def test_a_relative_path_starts_at_the_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path / "clips", {CLIP: b"av"})
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert copied(tmp_path, "clips") == {f"Actor_03/{CLIP}": b"av"}


@pytest.mark.parametrize(
    ("files", "path", "message"),
    [
        ({}, "missing", r"missing is not a folder: set dataset\.path"),
        ({"clips/a.mp4": b""}, "clips", "holds no RAVDESS file of the configured actors: set"),
        ({"clips/01-01-05-02-01-01-07.mp4": b""}, "clips", "only 1 of other actors"),
        ({f"data/test/raw/Actor_03/{CLIP}": b"av"}, "data/test/raw/Actor_03", "overlaps the stage's own output"),
        ({f"data/test/raw/Actor_03/{CLIP}": b"av"}, ".", "overlaps the stage's own output"),
    ],
)
def test_an_unusable_folder_is_refused(tmp_path: Path, files: dict[str, bytes], path: str, message: str) -> None:
    fill(tmp_path, files)
    with pytest.raises(InputError, match=message):
        copied(tmp_path, path)
    assert files_below(tmp_path).items() >= files.items()
