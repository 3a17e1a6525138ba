"""An S3 mirror: the archives under their published names, below a prefix of a bucket, md5 in each object's metadata."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING

from tqdm import tqdm

from cfnsr.config.corpus import DatasetSettings
from cfnsr.corpus.download.transfer import Interrupted, Published, RetryPolicy, mismatch, progress_bar
from cfnsr.corpus.download.zenodo import Archive
from cfnsr.errors import InputError
from cfnsr.files import atomic_path

if TYPE_CHECKING:
    from boto3.s3.transfer import TransferConfig
    from botocore.exceptions import ClientError
    from mypy_boto3_s3 import S3Client

PART_SIZE = 64 << 20  # bytes; larger files are transferred in parts, each with retries of its own
_MD5 = "md5"  # metadata key; the ETag of an object that was uploaded in parts is not its md5


class S3Mirror:
    """A bucket as a source of archives, and as the place to store them.

    Args:
        dataset: bucket, prefix and endpoint; boto3 finds the credentials.
        policy: timeouts and retries.

    Raises:
        InputError: no bucket is configured, or the endpoint or profile is invalid.
    """

    def __init__(self, dataset: DatasetSettings, policy: RetryPolicy) -> None:
        if not dataset.s3_bucket:
            raise InputError("The mirror needs a bucket: set dataset.s3_bucket in params.yaml.")
        self._bucket = dataset.s3_bucket
        self._prefix = f"{dataset.s3_prefix.strip('/')}/".lstrip("/")
        with _input_errors(f"s3://{self._bucket}"):
            self._client = _client(dataset.s3_endpoint, policy)

    def published(self, archives: Sequence[Archive]) -> dict[str, Published]:
        """Size and md5 of the archives by name: the objects' own, or the table's for an object without an md5.

        Raises:
            InputError: access is denied, or the bucket or an archive does not exist.
        """
        found = {}
        for archive in archives:
            stored = self.stored(archive)
            if stored is None:
                raise InputError(f"{self._url(archive)} does not exist: fill the mirror with `cfnsr mirror`.")
            found[archive.name] = stored if stored.md5 else archive.published
        return found

    def stored(self, archive: Archive) -> Published | None:
        """Size and md5 (empty if the metadata lacks it) of the archive in the bucket; None if it is not there.

        Raises:
            InputError: access is denied, or the bucket does not exist.
        """
        from botocore.exceptions import ClientError

        with _input_errors(self._url(archive)):
            try:
                head = self._client.head_object(Bucket=self._bucket, Key=self._key(archive))
            except ClientError as error:
                if _status(error) != 404:
                    raise
                self._client.head_bucket(Bucket=self._bucket)  # raises if the bucket itself is missing
                return None
        return Published(archive.name, head["ContentLength"], head["Metadata"].get(_MD5, ""))

    def fetch(self, archive: Archive, file: Published, target: Path, stop: Event) -> None:
        """Download an archive to `target`, which exists only once size and md5 are verified.

        Raises:
            InputError: the bucket can't be read, or the object is not the published file.
            Interrupted: `stop` was set.
        """
        if target.exists() and mismatch(file, target) is None:
            return
        with progress_bar(file) as bar, _input_errors(self._url(archive)), atomic_path(target) as temporary:
            with temporary.open("wb") as out:
                self._client.download_fileobj(
                    self._bucket, self._key(archive), out, Callback=_report(bar, stop), Config=_transfer_config()
                )
            if difference := mismatch(file, temporary):
                raise InputError(
                    f"{self._url(archive)} has {difference}: delete it and fill the mirror again with `cfnsr mirror`."
                )

    def upload(self, archive: Archive, file: Published, path: Path, stop: Event) -> None:
        """Upload a verified archive, and check that the bucket holds it.

        Raises:
            InputError: access is denied, the bucket does not exist, or it does not hold what was uploaded.
            Interrupted: `stop` was set.
        """
        with progress_bar(file, note=" (upload)") as bar, _input_errors(self._url(archive)), path.open("rb") as content:
            self._client.upload_fileobj(
                content,
                self._bucket,
                self._key(archive),
                ExtraArgs={"Metadata": {_MD5: file.md5}},
                Callback=_report(bar, stop),
                Config=_transfer_config(),
            )
        if self.stored(archive) != file:
            raise InputError(f"{self._url(archive)} is not what was uploaded: is something else writing to the bucket?")

    def _key(self, archive: Archive) -> str:
        return f"{self._prefix}{archive.name}"

    def _url(self, archive: Archive) -> str:
        return f"s3://{self._bucket}/{self._key(archive)}"


def _client(endpoint: str | None, policy: RetryPolicy) -> S3Client:
    from boto3.session import Session
    from botocore.config import Config

    config = Config(
        connect_timeout=policy.connect_timeout,
        read_timeout=policy.read_timeout,
        retries={"mode": "standard", "total_max_attempts": min(policy.attempts, 4)},
        # Some servers other than AWS do not understand checksum trailers; the md5 of every file is verified anyway.
        request_checksum_calculation="when_required" if endpoint else "when_supported",
        response_checksum_validation="when_required",
    )
    return Session().client("s3", endpoint_url=endpoint, config=config)  # boto3.client would cache credentials


def _transfer_config() -> TransferConfig:
    """Transfers in the calling thread: several archives are in progress at a time, and Ctrl-C need not wait."""
    from boto3.s3.transfer import TransferConfig

    return TransferConfig(multipart_threshold=PART_SIZE, multipart_chunksize=PART_SIZE, use_threads=False)


def _report(bar: tqdm, stop: Event) -> Callable[[int], None]:
    def report(count: int) -> None:
        bar.update(count)
        if stop.is_set():
            raise Interrupted

    return report


@contextmanager
def _input_errors(url: str) -> Iterator[None]:
    """Turn what boto3 raises into an InputError."""
    from botocore.exceptions import BotoCoreError, ClientError, ConnectionError, HTTPClientError
    from s3transfer.exceptions import RetriesExceededError

    try:
        yield
    except ClientError as error:
        raise InputError(f"{url}: {_refusal(error)}.") from None
    except RetriesExceededError as error:
        reason = _one_line(error.last_exception)
        raise InputError(f"{url}: the transfer keeps failing ({reason}): run the same command again later.") from None
    except (ConnectionError, HTTPClientError) as error:
        reason = _one_line(error)
        raise InputError(f"{url}: the server can't be reached ({reason}): check dataset.s3_endpoint.") from None
    except BotoCoreError as error:  # credentials, profile, region, malformed names
        hint = ": set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE" if "redential" in str(error) else ""
        raise InputError(f"{url}: {_one_line(error)}{hint}.") from None
    except InputError:
        raise
    except ValueError as error:  # an endpoint that is not a URL
        raise InputError(f"{url}: {_one_line(error)}: correct dataset.s3_endpoint.") from None


def _status(error: ClientError) -> int:
    return error.response["ResponseMetadata"]["HTTPStatusCode"]


def _refusal(error: ClientError) -> str:
    code = error.response.get("Error", {}).get("Code", "")
    status = _status(error)
    if code == "NoSuchBucket" or (status == 404 and error.operation_name == "HeadBucket"):
        return "the bucket does not exist: create it, or correct dataset.s3_bucket and dataset.s3_endpoint"
    if status in (401, 403):
        return f"access is denied ({code}): check the credentials and the bucket's policy"
    if status in (301, 307, 400):
        return f"the request was refused ({code}): check the region (AWS_DEFAULT_REGION) and dataset.s3_endpoint"
    return _one_line(error)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__
