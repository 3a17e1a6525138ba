"""`cfnsr mirror`: fill an S3 bucket with the archives of Zenodo."""

from __future__ import annotations

from dataclasses import dataclass
from threading import Event

from tqdm import tqdm

from cfnsr.config.load import Settings
from cfnsr.corpus.download.s3 import Mirror
from cfnsr.corpus.download.threads import for_each
from cfnsr.corpus.download.transfer import PATIENCE, Patience, fetch
from cfnsr.corpus.download.workspace import Workspace
from cfnsr.corpus.download.zenodo import Archive, Zenodo, wanted_archives


@dataclass(frozen=True)
class Mirrored:
    """What filling a mirror did; names of archives."""

    uploaded: tuple[str, ...]
    present: tuple[str, ...]  # there before, with the right size and md5


def mirror(settings: Settings, patience: Patience = PATIENCE) -> Mirrored:
    """Bring the archives that the dataset section names from Zenodo into its S3 bucket.

    Each is downloaded, checked, uploaded and removed again, `parallel_downloads` at a time, so no more than that many
    lie on the disk. Those already in the bucket with the right size and md5 are left alone.

    Returns:
        What was uploaded and what was there.

    Raises:
        InputError: Zenodo or the bucket can't be used, or the disk is too small.
    """
    dataset = settings.params.dataset
    archives = wanted_archives(dataset)
    workspace = Workspace(settings.layout.data, settings.layout.raw)
    with workspace.locked():
        bucket = Mirror(dataset, patience)
        zenodo = Zenodo(dataset.zenodo_url, patience)
        published = zenodo.published(archives)
        pending = [archive for archive in archives if bucket.held(archive) != published[archive.name]]
        sizes = sorted(published[archive.name].size for archive in pending)
        workspace.require_space(sum(sizes[-dataset.parallel_downloads :]))

        def work(archive: Archive, stop: Event) -> None:
            target = workspace.folder / archive.name
            fetch(published[archive.name], zenodo.opener(archive), target, patience, stop)
            bucket.upload(archive, published[archive.name], target)
            target.unlink()
            tqdm.write(f"mirror: {archive.name} is in the bucket")

        for_each(work, pending, dataset.parallel_downloads)
    names = {archive.name for archive in pending}
    present = tuple(archive.name for archive in archives if archive.name not in names)
    return Mirrored(tuple(archive.name for archive in pending), present)
