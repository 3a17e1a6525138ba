"""Stage `download`: fill `data/<profile>/raw` with the RAVDESS files of the configured actors, as published.

They come from Zenodo, an S3 mirror or a folder, or are generated (the synthetic sample corpus), as `dataset.source` in
params.yaml says. The stage can be killed at any moment and continues from there.
"""

from __future__ import annotations

from cfnsr.config.load import Settings
from cfnsr.corpus.download.transfer import PATIENCE, Patience
from cfnsr.corpus.download.workspace import Workspace
from cfnsr.parallel import default_workers
from components.step import run_step

SAMPLE_RECORD = "sample.json"  # written by the generator; a folder without it holds no synthetic corpus


def download(settings: Settings, patience: Patience = PATIENCE) -> None:
    """Bring the raw files of the configured actors, and no others, to `settings.layout.raw`.

    Args:
        settings: `params.dataset` says what to fetch, and from where.
        patience: how long to go on with a server in trouble.

    Raises:
        InputError: the source does not provide the published files, or the disk is too small.
    """
    workspace = Workspace(settings.layout.data, settings.layout.raw)
    with workspace.locked():
        if settings.params.dataset.source == "sample":
            _generate(settings, workspace)
            return
        # From here on, `raw` is no synthetic corpus any more, even if this run is killed.
        (settings.layout.raw / SAMPLE_RECORD).unlink(missing_ok=True)
        if settings.params.dataset.source == "local":
            _copy(settings, workspace)
        else:
            _fetch(settings, workspace, patience)


def _generate(settings: Settings, workspace: Workspace) -> None:
    from cfnsr.corpus.sample import generate

    dataset, raw = settings.params.dataset, settings.layout.raw
    if not (raw / SAMPLE_RECORD).exists():
        workspace.keep_only(())
    generate(raw, dataset.sample, dataset.actors, default_workers())


def _copy(settings: Settings, workspace: Workspace) -> None:
    from cfnsr.corpus.download.local import copy_folder

    dataset = settings.params.dataset
    assert dataset.path is not None, "checked by DatasetSettings"
    copy_folder(settings.layout.root / dataset.path.expanduser(), dataset.actors, workspace)


def _fetch(settings: Settings, workspace: Workspace, patience: Patience) -> None:
    from cfnsr.corpus.download.archives import Source, fetch_archives
    from cfnsr.corpus.download.s3 import Mirror
    from cfnsr.corpus.download.zenodo import Zenodo, wanted_archives

    dataset = settings.params.dataset
    source: Source = Mirror(dataset, patience) if dataset.source == "s3" else Zenodo(dataset.zenodo_url, patience)
    fetch_archives(source, wanted_archives(dataset), dataset.actors, workspace, dataset.parallel_downloads, patience)


if __name__ == "__main__":
    run_step(download, __doc__)
