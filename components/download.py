"""Stage `download`: fill `data/<profile>/raw` with the files of the corpus, as published.

RAVDESS comes from Zenodo, an S3 mirror or a folder, any other corpus from a table of clips, and the synthetic sample
corpus is generated, as `dataset.source` in params.yaml says. The stage can be killed at any moment and continues from
there.
"""

from __future__ import annotations

from cfnsr.config.load import Settings
from cfnsr.corpus.download.transfer import RETRY_POLICY, RetryPolicy
from cfnsr.corpus.download.workspace import Workspace
from cfnsr.parallel import default_workers
from components.step import run_step

SAMPLE_RECORD = "sample.json"  # written by the generator; only a folder with it holds a synthetic corpus


def download(settings: Settings, policy: RetryPolicy = RETRY_POLICY) -> None:
    """Fill `settings.layout.raw` with the raw files of the corpus, and with nothing else.

    Args:
        settings: `params.dataset` selects the source and, in RAVDESS, the actors.
        policy: timeouts and retries.

    Raises:
        InputError: the source can't deliver the published files, or the disk is too small.
    """
    workspace = Workspace(settings.layout.data, settings.layout.raw)
    with workspace.locked():
        if settings.params.dataset.synthetic:
            _generate(settings, workspace)
            return
        # From here on, `raw` is not a synthetic corpus, even if this run is killed.
        (settings.layout.raw / SAMPLE_RECORD).unlink(missing_ok=True)
        if settings.params.dataset.source in ("local", "table"):
            _copy(settings, workspace)
        else:
            _fetch(settings, workspace, policy)


def _generate(settings: Settings, workspace: Workspace) -> None:
    from cfnsr.corpus.sample import generate

    dataset, raw = settings.params.dataset, settings.layout.raw
    if not (raw / SAMPLE_RECORD).exists():
        workspace.keep_only(())
    generate(raw, dataset.sample, dataset.actors, default_workers())


def _copy(settings: Settings, workspace: Workspace) -> None:
    from cfnsr.corpus.download.local import copy_folder
    from cfnsr.corpus.download.table import copy_table

    dataset = settings.params.dataset
    assert dataset.path is not None, "checked by DatasetSettings"
    path = settings.layout.root / dataset.path.expanduser()
    if dataset.source == "table":
        copy_table(path, workspace)
    else:
        copy_folder(path, dataset.actors, workspace)


def _fetch(settings: Settings, workspace: Workspace, policy: RetryPolicy) -> None:
    from cfnsr.corpus.download.archives import Source, fetch_archives
    from cfnsr.corpus.download.s3 import S3Mirror
    from cfnsr.corpus.download.zenodo import Zenodo, wanted_archives

    dataset = settings.params.dataset
    source: Source = S3Mirror(dataset, policy) if dataset.source == "s3" else Zenodo(dataset.zenodo_url, policy)
    fetch_archives(source, wanted_archives(dataset), dataset.actors, workspace, dataset.parallel_downloads)


if __name__ == "__main__":
    run_step(download, __doc__)
