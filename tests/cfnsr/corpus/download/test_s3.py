from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

import boto3
import pytest
import requests
from helpers.ravdess_zips import HASTY, files_below, noise, settings_for, video_zip
from helpers.servers import Fault, FileServer, file_server, s3_server

from cfnsr.config.load import Settings
from cfnsr.corpus.download import s3
from cfnsr.corpus.download.mirror import MirrorResult, fill_mirror
from cfnsr.corpus.download.transfer import Interrupted, Published
from cfnsr.corpus.download.zenodo import wanted_archives
from cfnsr.errors import InputError
from components.download import download

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

POLICY = replace(HASTY, attempts=2)
BUCKET = "mirror"
VIDEO_1, VIDEO_2 = "Video_Speech_Actor_01.zip", "Video_Speech_Actor_02.zip"
OBJECT = f"/{BUCKET}/ravdess/v1/{VIDEO_1}"
CONTENT = noise(3, 300_000)
FILE = Published(VIDEO_1, len(CONTENT), hashlib.md5(CONTENT).hexdigest())


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with s3_server() as url:
        yield url


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_SESSION_TOKEN", "AWS_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for variable in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(variable, str(tmp_path / "none"))


@pytest.fixture
def client(endpoint: str) -> S3Client:
    """An S3 client, and an empty bucket `mirror`."""
    requests.post(f"{endpoint}/moto-api/reset", timeout=10).raise_for_status()
    made = boto3.client("s3", endpoint_url=endpoint)
    made.create_bucket(Bucket=BUCKET)
    return made


@pytest.fixture
def zenodo() -> Iterator[FileServer]:
    with file_server() as server:
        server.publish(1188976, {VIDEO_1: video_zip(1), VIDEO_2: video_zip(2)})
        yield server


def settings(root: Path, endpoint: str, **dataset: Any) -> Settings:
    values = {
        "source": "s3",
        "s3_bucket": BUCKET,
        "s3_prefix": "ravdess/v1/",
        "s3_endpoint": endpoint,
        "actors": [1, 2],
    }
    return settings_for(root, **{**values, **dataset})


def fill(root: Path, endpoint: str, zenodo: FileServer, **dataset: Any) -> MirrorResult:
    return fill_mirror(settings(root / "filling", endpoint, zenodo_url=zenodo.url, **dataset), POLICY)


def objects(client: S3Client) -> dict[str, bytes]:
    listed = client.list_objects_v2(Bucket=BUCKET).get("Contents", [])
    return {key["Key"]: client.get_object(Bucket=BUCKET, Key=key["Key"])["Body"].read() for key in listed}


def test_mirrored_archives_can_be_downloaded(
    tmp_path: Path, endpoint: str, client: S3Client, zenodo: FileServer
) -> None:
    assert fill(tmp_path, endpoint, zenodo) == MirrorResult(uploaded=(VIDEO_1, VIDEO_2), present=())
    contents = {name: zenodo.files[zenodo.path(name)] for name in (VIDEO_1, VIDEO_2)}
    assert objects(client) == {f"ravdess/v1/{name}": content for name, content in contents.items()}
    assert [path.name for path in (tmp_path / "filling/data/test/.download").iterdir()] == ["lock"]
    wanted = settings(tmp_path, endpoint)
    download(wanted, POLICY)
    names = {f"Actor_0{actor}/01-01-0{emotion}-01-01-01-0{actor}.mp4" for actor in (1, 2) for emotion in (1, 2, 3)}
    assert files_below(wanted.layout.raw) == {name: noise(Path(name).name, 100_000) for name in names}


def test_a_complete_object_is_not_uploaded_again(
    tmp_path: Path, endpoint: str, client: S3Client, zenodo: FileServer
) -> None:
    fill(tmp_path, endpoint, zenodo, actors=[1])
    before = client.head_object(Bucket=BUCKET, Key=f"ravdess/v1/{VIDEO_1}")["LastModified"]
    assert fill(tmp_path, endpoint, zenodo) == MirrorResult(uploaded=(VIDEO_2,), present=(VIDEO_1,))
    assert client.head_object(Bucket=BUCKET, Key=f"ravdess/v1/{VIDEO_1}")["LastModified"] == before
    assert len(zenodo.to(VIDEO_1)) == 1


@pytest.mark.parametrize("metadata", [{}, {"md5": "0" * 32}])
def test_an_object_that_is_not_the_published_file_is_replaced(
    tmp_path: Path, endpoint: str, client: S3Client, zenodo: FileServer, metadata: dict[str, str]
) -> None:
    client.put_object(Bucket=BUCKET, Key=f"ravdess/v1/{VIDEO_1}", Body=b"other", Metadata=metadata)
    assert fill(tmp_path, endpoint, zenodo, actors=[1]).uploaded == (VIDEO_1,)
    assert objects(client) == {f"ravdess/v1/{VIDEO_1}": zenodo.files[zenodo.path(VIDEO_1)]}


def test_large_files_are_uploaded_in_parts(
    tmp_path: Path, endpoint: str, client: S3Client, zenodo: FileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3, "PART_SIZE", 5 << 20)  # the smallest that S3 allows
    content = noise(5, 11 << 20)
    zenodo.publish(1188976, {VIDEO_1: content})
    fill(tmp_path, endpoint, zenodo, actors=[1], s3_prefix="")
    head = client.head_object(Bucket=BUCKET, Key=VIDEO_1)
    assert head["ETag"].endswith('-3"')
    assert head["Metadata"] == {"md5": hashlib.md5(content).hexdigest()}
    assert objects(client) == {VIDEO_1: content}


@pytest.fixture
def object_server() -> Iterator[FileServer]:
    """A server that answers for one object, and can misbehave."""
    with file_server() as server:
        server.files[OBJECT] = CONTENT
        yield server


def fetch(root: Path, server: FileServer, stop: Event | None = None) -> None:
    dataset = settings(root, server.url).params.dataset
    source = s3.S3Mirror(dataset, POLICY)
    source.fetch(wanted_archives(dataset)[0], FILE, root / VIDEO_1, stop or Event())


@pytest.mark.parametrize("fault", [Fault(status=503), Fault(cut_after=100_000)], ids=["error", "cut"])
def test_a_failing_server_is_retried(tmp_path: Path, object_server: FileServer, fault: Fault) -> None:
    object_server.faults[OBJECT] = [fault]
    fetch(tmp_path, object_server)
    assert files_below(tmp_path) == {VIDEO_1: CONTENT}
    assert len(object_server.to(VIDEO_1)) == 2


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        pytest.param(Fault(status=503), "503", id="error"),
        pytest.param(Fault(cut_after=100_000), "the transfer keeps failing", id="cut"),
        pytest.param(Fault(corrupt=True), f"instead of {FILE.md5}", id="corrupt"),
    ],
)
def test_a_transfer_that_keeps_failing_leaves_no_file(
    tmp_path: Path, object_server: FileServer, fault: Fault, message: str
) -> None:
    object_server.always[OBJECT] = fault
    with pytest.raises(InputError, match=f"s3:/{OBJECT}.*{message}"):
        fetch(tmp_path, object_server)
    assert files_below(tmp_path) == {}


def test_a_stopped_transfer_ends_at_once(tmp_path: Path, object_server: FileServer) -> None:
    stop = Event()
    stop.set()
    with pytest.raises(Interrupted):
        fetch(tmp_path, object_server, stop)
    assert files_below(tmp_path) == {}


def test_a_mirror_filled_by_hand_is_compared_with_the_table(tmp_path: Path, endpoint: str, client: S3Client) -> None:
    client.put_object(Bucket=BUCKET, Key=f"ravdess/v1/{VIDEO_1}", Body=b"short")
    with pytest.raises(InputError, match=rf"s3://mirror/ravdess/v1/{VIDEO_1} has 5 bytes instead of 552968353"):
        download(settings(tmp_path, endpoint, actors=[1]), POLICY)


@pytest.mark.parametrize(
    ("dataset", "environment", "message"),
    [
        pytest.param({}, {}, rf"^s3://mirror/ravdess/v1/{VIDEO_1} does not exist: fill the mirror", id="no object"),
        pytest.param(
            {"s3_bucket": "absent"}, {}, r"^s3://absent/.*: the bucket does not exist: create it, or", id="no bucket"
        ),
        pytest.param(
            {"s3_endpoint": "http://127.0.0.1:9"},
            {},
            r"can't be reached \(.*: check dataset\.s3_endpoint",
            id="unreachable",
        ),
        pytest.param(
            {"s3_endpoint": "localhost"}, {}, r"Invalid endpoint.*: correct dataset\.s3_endpoint", id="no URL"
        ),
        pytest.param(
            {},
            {"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None},
            r"Unable to locate credentials: set AWS_ACCESS_KEY_ID",
            id="no credentials",
        ),
    ],
)
def test_an_unusable_bucket(
    tmp_path: Path,
    endpoint: str,
    client: S3Client,
    monkeypatch: pytest.MonkeyPatch,
    dataset: dict[str, str],
    environment: dict[str, str | None],
    message: str,
) -> None:
    for name, value in environment.items():
        monkeypatch.delenv(name) if value is None else monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match=message):
        download(settings(tmp_path, endpoint, **dataset), POLICY)


def test_denied_access(tmp_path: Path, endpoint: str, client: S3Client, zenodo: FileServer) -> None:
    fill(tmp_path, endpoint, zenodo, actors=[1])
    denial = {"Effect": "Deny", "Principal": "*", "Action": ["s3:GetObject", "s3:PutObject"]}
    policy = {"Version": "2012-10-17", "Statement": [{**denial, "Resource": f"arn:aws:s3:::{BUCKET}/*"}]}
    client.put_bucket_policy(Bucket=BUCKET, Policy=json.dumps(policy))
    with pytest.raises(InputError, match=r"^s3://mirror/.*: access is denied \(\w+\): check the credentials and"):
        download(settings(tmp_path, endpoint, actors=[1]), POLICY)


def test_a_mirror_needs_the_name_of_a_bucket(tmp_path: Path, zenodo: FileServer) -> None:
    with pytest.raises(InputError, match=r"set dataset\.s3_bucket"):
        fill_mirror(settings_for(tmp_path, source="zenodo", zenodo_url=zenodo.url), POLICY)
