"""`cfnsr mirror`: fill an S3 bucket with the archives of Zenodo."""

from __future__ import annotations

from dataclasses import dataclass
from threading import Event

from tqdm import tqdm

from cfnsr.config.load import Settings
from cfnsr.corpus.download.s3 import S3Mirror
from cfnsr.corpus.download.threads import for_each
from cfnsr.corpus.download.transfer import RETRY_POLICY, RetryPolicy
from cfnsr.corpus.download.workspace import Workspace
from cfnsr.corpus.download.zenodo import Archive, Zenodo, wanted_archives


@dataclass(frozen=True)
class MirrorResult:
    """What filling a mirror did, as names of archives."""

    uploaded: tuple[str, ...]
    present: tuple[str, ...]  # already there, with the right size and md5


def fill_mirror(settings: Settings, policy: RetryPolicy = RETRY_POLICY) -> MirrorResult:
    """Copy the archives that the dataset section names from Zenodo to its S3 bucket.

    Each is downloaded, verified, uploaded and deleted, `parallel_downloads` at a time, so the disk never holds more
    than that many. Archives already in the bucket with the right size and md5 are not copied again.

    Returns:
        Which archives were uploaded and which were already there.

    Raises:
        InputError: Zenodo or the bucket can't be used, or the disk is too small.
    """
    dataset = settings.params.dataset
    archives = wanted_archives(dataset)
    workspace = Workspace(settings.layout.data, settings.layout.raw)
    with workspace.locked():
        bucket = S3Mirror(dataset, policy)
        zenodo = Zenodo(dataset.zenodo_url, policy)
        published = zenodo.published(archives)
        pending = [archive for archive in archives if bucket.stored(archive) != published[archive.name]]
        sizes = sorted(published[archive.name].size for archive in pending)
        workspace.require_space(sum(sizes[-dataset.parallel_downloads :]))

        def work(archive: Archive, stop: Event) -> None:
            target = workspace.folder / archive.name
            zenodo.fetch(archive, published[archive.name], target, stop)
            bucket.upload(archive, published[archive.name], target, stop)
            target.unlink()
            tqdm.write(f"mirror: {archive.name} is in the bucket")

        for_each(work, pending, dataset.parallel_downloads)
    present = (archive.name for archive in archives if archive not in pending)
    return MirrorResult(tuple(archive.name for archive in pending), tuple(present))
