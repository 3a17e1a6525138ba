from __future__ import annotations

from pathlib import Path

from helpers.ravdess_zips import settings_for
from helpers.real_ravdess import RAVDESS, needs_ravdess

from cfnsr.files import file_digest
from components.download import download

pytestmark = needs_ravdess


def test_two_actors_of_the_real_clips_are_taken_as_they_are(tmp_path: Path) -> None:
    settings = settings_for(tmp_path, source="local", path=RAVDESS, actors=[1, 17])
    download(settings)
    copies = {path.relative_to(settings.layout.raw): path for path in settings.layout.raw.rglob("*.*")}
    assert sorted(path.suffix for path in copies.values()) == [".flac"] * 120 + [".mp4"] * 4
    assert {path.parts[0] for path in copies} == {"Actor_01", "Actor_17"}
    assert all(file_digest(path) == file_digest(RAVDESS / relative) for relative, path in copies.items())
