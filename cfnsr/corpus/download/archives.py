"""Sources that hold archives: download, check, unpack, throw the zip away, remember it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from threading import Event
from typing import Protocol

from tqdm import tqdm

from cfnsr.corpus.download.threads import for_each
from cfnsr.corpus.download.transfer import Opener, Patience, Published, fetch
from cfnsr.corpus.download.unpack import unpack
from cfnsr.corpus.download.workspace import Receipt, Workspace
from cfnsr.corpus.download.zenodo import Archive


class Source(Protocol):
    """Where archives come from."""

    def published(self, archives: Sequence[Archive]) -> dict[str, Published]:
        """Size and md5 of the archives, by name."""

    def opener(self, archive: Archive) -> Opener:
        """Opens an archive at an offset."""


def fetch_archives(
    source: Source,
    archives: Sequence[Archive],
    actors: Collection[int],
    workspace: Workspace,
    parallel: int,
    patience: Patience,
) -> None:
    """Fill the raw folder with the files that the archives hold of these actors, and with nothing else.

    An archive whose files are already there is not fetched again; with all of them there, the source is not asked.

    Raises:
        InputError: a source that can't give what was published, or too little disk space.
    """
    pending = [archive for archive in archives if workspace.receipt(archive.name, _taken(archive, actors)) is None]
    if len(pending) < len(archives):
        tqdm.write(f"download: {len(archives) - len(pending)} of {len(archives)} archives are here already")
    if pending:
        published = source.published(pending)
        workspace.require_space(_space(pending, published, workspace, parallel))

        def work(archive: Archive, stop: Event) -> None:
            file = published[archive.name]
            target = workspace.folder / archive.name
            fetch(file, source.opener(archive), target, patience, stop)
            taken = _taken(archive, actors)
            unpacked = unpack(target, workspace.raw, taken, archive.suffixes)
            workspace.write_receipt(archive.name, Receipt(file.md5, taken, unpacked.files))
            target.unlink()
            left = "".join(f", {count} left out ({reason})" for reason, count in sorted(unpacked.skipped.items()))
            tqdm.write(f"download: {len(unpacked.files)} files from {archive.name}{left}")

        for_each(work, pending, parallel)
    receipts = [workspace.receipt(archive.name, _taken(archive, actors)) for archive in archives]
    workspace.keep_only({path for receipt in receipts if receipt for path in receipt.files})
    workspace.clear()


def _taken(archive: Archive, actors: Collection[int]) -> list[int]:
    """Actors whose files are taken from an archive."""
    return sorted(set(archive.actors) & set(actors))


def _space(pending: Sequence[Archive], published: dict[str, Published], workspace: Workspace, parallel: int) -> float:
    """Bytes still needed: everything unpacked, and as many zips as are in work at a time, less what has arrived."""
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
