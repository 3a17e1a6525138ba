"""`cfnsr doctor`: checks that everything a profile needs is available, and suggests remedies."""

from __future__ import annotations

import importlib.metadata
import platform
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cfnsr.config.corpus import DatasetSettings
from cfnsr.config.load import Settings
from cfnsr.corpus.ravdess import file_kind
from cfnsr.errors import InputError
from cfnsr.files import visible_files
from cfnsr.parallel import default_workers
from cfnsr.registry import tracking_uri
from cfnsr.text import printable

PACKAGES = ("torch", "torchaudio", "torchvision", "lightning", "av", "librosa", "mlflow", "prefect", "dvc", "optuna")
COPIES = 2  # of the raw files: the second is in the archive during unpacking, and then in the DVC cache
SAMPLE_BYTES = 500_000_000  # corpus, features, cache and runs of the sample profile, rounded up
TIMEOUT = 10  # s


@dataclass(frozen=True)
class Check:
    """The result of one check."""

    name: str
    found: str
    remedy: str = ""
    """What to do; empty if the check passed."""
    needed: bool = True
    """Whether the profile can't do without it."""


def run_checks(settings: Settings) -> Iterator[Check]:
    """Run all checks, one after the other."""
    yield _python()
    yield from _packages()
    yield _gpu()
    yield from _codecs()
    yield _detector(settings)
    yield Check("cores", f"{default_workers()} (CFNSR_WORKERS overrides)")
    yield _disk(settings)
    yield _source(settings)
    yield _tracking(settings.layout.root)


def _python() -> Check:
    remedy = "" if sys.version_info[:2] in ((3, 11), (3, 12)) else "use Python 3.11: `make install PYTHON=python3.11`"
    return Check("python", f"{platform.python_version()} on {platform.platform()}", remedy)


def _packages() -> Iterator[Check]:
    for name in PACKAGES:
        try:
            yield Check(name, importlib.metadata.version(name))
        except importlib.metadata.PackageNotFoundError:
            yield Check(name, "not installed", "run `make install`")


def _gpu() -> Check:
    import torch

    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
        return Check("GPU", ", ".join(names))
    remedy = "the sample profile needs none; use a CUDA machine to train the paper's network"
    return Check("GPU", "none that PyTorch can use", remedy, needed=False)


def _codecs() -> Iterator[Check]:
    import av.codec

    for name, mode in (("h264", "r"), ("aac", "r"), ("flac", "r"), ("libx264", "w"), ("aac", "w")):
        verb = "decode" if mode == "r" else "encode"
        try:
            av.codec.Codec(name, mode)  # type: ignore[arg-type]
            yield Check(f"{verb} {name}", f"FFmpeg in PyAV {av.__version__}")
        except ValueError:
            remedy = "install PyAV from its wheel, which includes FFmpeg: `pip install --only-binary av av`"
            yield Check(f"{verb} {name}", "missing", remedy)


def _detector(settings: Settings) -> Check:
    import cv2

    from cfnsr.features.faces.detect import load_detector

    found = f"OpenCV {cv2.__version__}"
    if yunet := settings.params.faces.yunet:
        try:
            load_detector(settings.layout.root / yunet)
        except InputError as error:
            return Check("face detector", str(error), "set faces.yunet in params.yaml to the file, or to null for Haar")
        return Check("face detector", f"{found}, YuNet {settings.layout.root / yunet}")
    return Check("face detector", f"{found}, Haar cascade")


def _disk(settings: Settings) -> Check:
    free = shutil.disk_usage(settings.layout.root).free
    needed = max(SAMPLE_BYTES, 0 if settings.layout.manifest.exists() else _raw_bytes(settings) * COPIES)
    found = f"{free / 2**30:.1f} GiB free below {settings.layout.root}"
    remedy = f"free some space: the profile {settings.profile} needs about {needed / 2**30:.1f} GiB"
    return Check("disk", found, "" if free >= needed else remedy)


def _raw_bytes(settings: Settings) -> int:
    """Size of the files that the download stage fetches; 0 for the sample corpus."""
    from cfnsr.corpus.download.zenodo import wanted_archives

    dataset = settings.params.dataset
    match dataset.source:
        case "sample":
            return 0
        case "local":
            files = visible_files(settings.layout.root / (dataset.path or ""))
            return sum(path.stat().st_size for path in files if file_kind(path) and path.is_file())
        case "table":
            rows = _table_rows(settings)
            return sum(path.stat().st_size for path in rows if path.is_file()) if isinstance(rows, set) else 0
        case "zenodo" | "s3":
            return sum(archive.published.size for archive in wanted_archives(dataset))


def _table_rows(settings: Settings) -> set[Path] | str:
    """The files of a table of clips, or why the table can't be used."""
    from cfnsr.corpus.table import read_rows

    table = settings.layout.root / (settings.params.dataset.path or "")
    try:
        return {table.parent / row.path for row in read_rows(table)}
    except InputError as error:
        return str(error)


def _source(settings: Settings) -> Check:
    """Where the download stage gets the data of the profile."""
    dataset = settings.params.dataset
    match dataset.source:
        case "sample":
            return Check("data source", "synthetic sample corpus, generated locally")
        case "local":
            path = settings.layout.root / (dataset.path or "")
            remedy = "" if path.is_dir() else "not a folder: set dataset.path in params.yaml to your RAVDESS folder"
            return Check("data source", f"folder {path}", remedy)
        case "table":
            path, rows = settings.layout.root / (dataset.path or ""), _table_rows(settings)
            return Check("data source", f"table {path}", "" if isinstance(rows, set) else rows)
        case "zenodo":
            return _reachable("data source", f"{dataset.zenodo_url}/api/records/1188976", "dataset.zenodo_url")
        case "s3":
            return _bucket(dataset)


def _reachable(name: str, url: str, key: str) -> Check:
    import requests

    try:
        answer = requests.get(url, timeout=TIMEOUT)
    except requests.RequestException as error:
        remedy = f"check the network or {key}, or use another dataset.source"
        return Check(name, f"{url} does not answer ({type(error).__name__})", remedy)
    remedy = "" if answer.ok else f"check {key}; the server may also be down: try again later"
    return Check(name, f"{url} answers {answer.status_code}", remedy)


def _bucket(dataset: DatasetSettings) -> Check:
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError

    config = Config(connect_timeout=TIMEOUT, read_timeout=TIMEOUT, retries={"max_attempts": 1})
    try:
        boto3.client("s3", endpoint_url=dataset.s3_endpoint, config=config).head_bucket(Bucket=dataset.s3_bucket)
    except (BotoCoreError, ClientError, ValueError) as error:  # ValueError: the endpoint is not a URL
        remedy = "check dataset.s3_bucket, dataset.s3_endpoint and your AWS credentials"
        return Check("data source", f"bucket {dataset.s3_bucket}: {' '.join(str(error).split())}", remedy)
    return Check("data source", f"bucket {dataset.s3_bucket}")


def _tracking(root: Path) -> Check:
    uri = tracking_uri(root)
    if not uri.startswith(("http://", "https://")):
        return Check("tracking", uri)
    return _reachable("tracking", f"{uri.rstrip('/')}/health", "MLFLOW_TRACKING_URI")


def report(settings: Settings) -> None:
    """Print the results of all checks.

    Raises:
        InputError: something that the profile needs is missing.
    """
    missing = 0
    for check in run_checks(settings):
        mark = "ok  " if not check.remedy else "MISS" if check.needed else "note"
        missing += mark == "MISS"
        print(printable(f"{mark} {check.name:<16} {check.found}"))
        if check.remedy:
            print(f"     {'':<16} -> {check.remedy}")
    if missing:
        raise InputError(f"{missing} of the checks for the profile {settings.profile} failed; follow the arrows above.")
    print(f"everything that the profile {settings.profile} needs is available")
