"""Sources that publish archives: download, verify and unpack each, record it, and delete the zip."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from threading import Event
from typing import Protocol

from tqdm import tqdm

from cfnsr.corpus.download.threads import for_each
from cfnsr.corpus.download.transfer import Published
from cfnsr.corpus.download.unpack import unpack_archive
from cfnsr.corpus.download.workspace import Receipt, Workspace
from cfnsr.corpus.download.zenodo import Archive


class Source(Protocol):
    """A place that archives come from."""

    def published(self, archives: Sequence[Archive]) -> dict[str, Published]:
        """Size and md5 of the archives, by name."""

    def fetch(self, archive: Archive, file: Published, target: Path, stop: Event) -> None:
        """Download an archive to `target`, which exists only once size and md5 are verified."""


def fetch_archives(
    source: Source,
    archives: Sequence[Archive],
    actors: Collection[int],
    workspace: Workspace,
    parallel: int,
) -> None:
    """Fill the raw folder with these actors' files from the archives, and with nothing else.

    An archive whose files are present is not fetched again. If all are present, the source is not contacted.

    Args:
        source: where the archives come from.
        archives: the archives.
        actors: whose files to keep.
        workspace: the working folder, locked by the caller.
        parallel: number of archives in progress at a time.

    Raises:
        InputError: the source can't deliver the published files, or the disk is too small.
    """
    pending = [archive for archive in archives if workspace.receipt(archive.name, _actors_in(archive, actors)) is None]
    if len(pending) < len(archives):
        tqdm.write(f"download: {len(archives) - len(pending)} of {len(archives)} archives are already present")
    if pending:
        published = source.published(pending)
        workspace.require_space(_required_space(pending, published, workspace, parallel))

        def work(archive: Archive, stop: Event) -> None:
            file = published[archive.name]
            target = workspace.folder / archive.name
            source.fetch(archive, file, target, stop)
            wanted = _actors_in(archive, actors)
            unpacked = unpack_archive(target, workspace.raw, wanted, archive.suffixes)
            workspace.write_receipt(archive.name, Receipt(file.md5, wanted, unpacked.files))
            target.unlink()
            excluded = "".join(f", {count} excluded ({reason})" for reason, count in sorted(unpacked.excluded.items()))
            tqdm.write(f"download: {len(unpacked.files)} files from {archive.name}{excluded}")

        for_each(work, pending, parallel)
    receipts = [workspace.receipt(archive.name, _actors_in(archive, actors)) for archive in archives]
    workspace.keep_only({path for receipt in receipts if receipt for path in receipt.files})
    workspace.clear()


def _actors_in(archive: Archive, actors: Collection[int]) -> list[int]:
    """The wanted actors whose files an archive holds."""
    return sorted(set(archive.actors) & set(actors))


def _required_space(
    pending: Sequence[Archive], published: dict[str, Published], workspace: Workspace, parallel: int
) -> float:
    """Bytes still needed: all files unpacked and the zips in progress at a time, less what has arrived."""
    sizes = [published[archive.name].size for archive in pending]
    unpacked = sum(size * archive.unpacked for size, archive in zip(sizes, pending, strict=True))
    zips = sum(sorted(sizes)[-parallel:])
    arrived = sum(
        path.stat().st_size
        for archive in pending
        for path in workspace.folder.glob(f"{archive.name}*")
        if path.is_file()
    )
    return unpacked + max(0, zips - arrived)
