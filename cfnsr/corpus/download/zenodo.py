"""RAVDESS on Zenodo: the archives of records 1188976 (clips) and 3255102 (OpenFace landmarks)."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Event

from cfnsr.config.corpus import DatasetSettings
from cfnsr.corpus.download.http import fetch, get_json
from cfnsr.corpus.download.transfer import Published, RetryPolicy
from cfnsr.corpus.ravdess import ACTORS, AUDIO_SUFFIXES, LANDMARK_SUFFIXES, VIDEO_SUFFIXES

logger = logging.getLogger(__name__)

CLIPS_RECORD = 1188976
LANDMARKS_RECORD = 3255102


@dataclass(frozen=True)
class Archive:
    """A published zip file."""

    published: Published  # as of this writing; the record's API takes precedence
    record: int
    actors: tuple[int, ...]  # whose files it holds
    suffixes: frozenset[str]  # of the files it holds
    unpacked: float  # upper estimate of unpacked over packed bytes, for the check of the disk space

    @property
    def name(self) -> str:
        """File name on Zenodo and in a mirror."""
        return self.published.name


# Sizes and md5 sums as the two Zenodo records list them.
_VIDEO_ZIPS = (
    (552968353, "3c8ececaf392b4a9b11b32271f4f6d01"),
    (570673024, "a6f40d413b2e6ef25b3a595099e59abb"),
    (567824665, "68fa240ddd8a3cc410c64efe5fb2b0e4"),
    (546560009, "013eed832af1f7e97082aae398a00dbe"),
    (562966425, "b00e17d61374ef6ba86fef35d50a20fb"),
    (568517859, "3c42877921cc08cfb5c841a0f2cb94a7"),
    (565652404, "bdd29bfe082f80361ec6b589845c283d"),
    (562573079, "bed5f43d9c18e177e34d4bc1ed9b6d77"),
    (523489249, "775da349c50bf915a1bbcb37379bd092"),
    (565580163, "70199d1c6902f76e17df308d5c41fa01"),
    (518634370, "824504aa41a8fd575e5459d5701dd378"),
    (557928718, "2a1f0ddc0ca207beedee6ce2ea863ad7"),
    (501877549, "c5f2fd4fd77941636947620368c612b5"),
    (552484059, "466d31f4cce92a14b1f4ee884bbdf7d7"),
    (525205576, "4b3b9bc8473e86f884630f2506684887"),
    (562416513, "a63c54570ebbe6bd616d0dced5630f7e"),
    (551688845, "8b7ae3e5a85d2874ac8e1195e722e047"),
    (565655520, "fef2131ac361da182c0cb85f3d8e8a6c"),
    (581121687, "abb97d97d8c4e88c866cee1cea9d06d6"),
    (561349264, "5ddfb22770093bafebdefe8faa449f48"),
    (590292896, "d810cf2ff6863ef91306fc7a16d74fbb"),
    (560907466, "fee55f72c9871401f23d4b167de3217d"),
    (545177865, "b31e8c8904e66102e7a951694db752d6"),
    (595799165, "eef90e806c9179bc5b4b098d03647ae3"),
)
_VIDEO = {
    actor: Archive(
        Published(f"Video_Speech_Actor_{actor:02d}.zip", size, md5), CLIPS_RECORD, (actor,), VIDEO_SUFFIXES, 1.05
    )
    for actor, (size, md5) in zip(ACTORS, _VIDEO_ZIPS, strict=True)
}
_AUDIO = Archive(
    Published("Audio_Speech_Actors_01-24.zip", 208468073, "bc696df654c87fed845eb13823edef8a"),
    CLIPS_RECORD,
    ACTORS,
    AUDIO_SUFFIXES,
    3.0,
)
_LANDMARKS = Archive(
    Published("FacialTracking_Actors_01-24.zip", 417163019, "5753bbc64a9a790f8a8d3e03cba526ee"),
    LANDMARKS_RECORD,
    ACTORS,
    LANDMARK_SUFFIXES,
    4.0,
)


def wanted_archives(dataset: DatasetSettings) -> list[Archive]:
    """The archives that the settings name: one video zip per actor, and the others if requested."""
    videos = [_VIDEO[actor] for actor in sorted(dataset.actors)]
    return videos + [_AUDIO] * dataset.audio_zip + [_LANDMARKS] * dataset.landmarks_zip


class Zenodo:
    """Zenodo as a source of archives.

    Args:
        url: the site, for example `https://zenodo.org`.
        policy: timeouts and retries.
    """

    def __init__(self, url: str, policy: RetryPolicy) -> None:
        self._url = url.rstrip("/")
        self._policy = policy

    def published(self, archives: Sequence[Archive]) -> dict[str, Published]:
        """Size and md5 of the archives by name: from the records' API, else from the table in this module.

        Raises:
            InputError: the site can't be reached.
        """
        listed: dict[str, Published] = {}
        for record in sorted({archive.record for archive in archives}):
            try:
                listed |= self._listing(record)
            except LookupError as error:
                logger.warning("The API of Zenodo record %d gives no usable list of files (%s).", record, error)
        missing = [archive.name for archive in archives if archive.name not in listed]
        if missing:
            logger.warning("Size and md5 of %s come from the built-in table.", ", ".join(missing))
        return {archive.name: listed.get(archive.name, archive.published) for archive in archives}

    def fetch(self, archive: Archive, file: Published, target: Path, stop: Event) -> None:
        """Download an archive to `target`, see `http.fetch`."""
        url = f"{self._url}/api/records/{archive.record}/files/{archive.name}/content"
        fetch(file, url, target, self._policy, stop)

    def _listing(self, record: int) -> dict[str, Published]:
        answer = get_json(f"{self._url}/api/records/{record}", self._policy)
        try:
            return {
                file["key"]: Published(file["key"], file["size"], file["checksum"].removeprefix("md5:"))
                for file in answer["files"]
            }
        except (KeyError, TypeError, AttributeError):
            raise LookupError("its list of files has an unknown format") from None
