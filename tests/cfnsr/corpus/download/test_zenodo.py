from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import pytest
from helpers.ravdess_zips import HASTY
from helpers.servers import Fault, FileServer, file_server

from cfnsr.config.corpus import DatasetSettings
from cfnsr.corpus.download.transfer import Published
from cfnsr.corpus.download.zenodo import Zenodo, wanted_archives
from cfnsr.errors import InputError

API = "/api/records/1188976"


@pytest.fixture
def server() -> Iterator[FileServer]:
    with file_server() as state:
        yield state


def dataset(**values: Any) -> DatasetSettings:
    return DatasetSettings(source="zenodo", **values)


def test_the_table_holds_all_actors() -> None:
    archives = wanted_archives(dataset(audio_zip=True, landmarks_zip=True))
    assert len(archives) == 26
    assert sum(archive.published.size for archive in archives[:24]) == pytest.approx(12.44 * 2**30, rel=1e-3)
    assert len({archive.published.md5 for archive in archives}) == 26
    assert all(len(bytes.fromhex(archive.published.md5)) == 16 for archive in archives)
    assert [archive.record for archive in archives] == [1188976] * 25 + [3255102]


def test_only_the_archives_that_the_settings_name_are_wanted() -> None:
    names = [archive.name for archive in wanted_archives(dataset(actors=(12, 3), audio_zip=True))]
    assert names == ["Video_Speech_Actor_03.zip", "Video_Speech_Actor_12.zip", "Audio_Speech_Actors_01-24.zip"]


def test_the_api_is_retried_and_takes_precedence(server: FileServer) -> None:
    server.publish(1188976, {"Video_Speech_Actor_02.zip": b"new edition"})
    server.faults[API] = [Fault(status=500), Fault(status=429)]
    published = Zenodo(server.url, HASTY).published(wanted_archives(dataset(actors=(2,))))
    expected = Published("Video_Speech_Actor_02.zip", 11, hashlib.md5(b"new edition").hexdigest())
    assert published == {"Video_Speech_Actor_02.zip": expected}


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (Fault(status=404), "it answered 404 Not Found"),
        (Fault(status=500), "it answered 500"),
        (Fault(garbage=b"<html>maintenance</html>"), "the answer is not JSON"),
        (Fault(garbage=b'{"message": "moved"}'), "its list of files has an unknown format"),
    ],
)
def test_the_built_in_table_is_the_fallback(
    server: FileServer, caplog: pytest.LogCaptureFixture, fault: Fault, reason: str
) -> None:
    server.publish(1188976, {"Video_Speech_Actor_02.zip": b"new edition"})
    server.always[API] = fault
    archives = wanted_archives(dataset(actors=(2,)))
    published = Zenodo(server.url, HASTY).published(archives)
    assert published == {"Video_Speech_Actor_02.zip": archives[0].published}
    assert reason in caplog.text
    assert "Video_Speech_Actor_02.zip come from the built-in table" in caplog.text


@pytest.mark.parametrize(("url", "reason"), [("http://127.0.0.1:9", "refused"), ("zenodo.org", "No scheme supplied")])
def test_an_unusable_address(url: str, reason: str) -> None:
    with pytest.raises(InputError, match=rf"{url}/api/records/1188976 can't be reached \(.*{reason}"):
        Zenodo(url, HASTY).published(wanted_archives(dataset(actors=(2,))))
