"""An S3 mirror of the archives: same file names, below a prefix of a bucket; size and md5 in each object's metadata."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from cfnsr.config.corpus import DatasetSettings
from cfnsr.corpus.download.transfer import CHUNK, Opener, Patience, Published, Stream, Transient
from cfnsr.corpus.download.zenodo import Archive
from cfnsr.errors import InputError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import GetObjectRequestTypeDef

PART_SIZE = 64 << 20  # bytes; larger files go up in parts, which are retried one by one
_MD5 = "md5"  # metadata key; an ETag is no md5 where a file went up in parts
_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+)")


class Mirror:
    """A bucket as a source of archives, and as the place to put them.

    Args:
        dataset: names bucket, prefix and endpoint; credentials come from where boto3 finds them.
        patience: waits and limits.

    Raises:
        InputError: no bucket is named, or bucket or endpoint can't be meant.
    """

    def __init__(self, dataset: DatasetSettings, patience: Patience) -> None:
        if not dataset.s3_bucket:
            raise InputError("The mirror needs a bucket: set dataset.s3_bucket in params.yaml.")
        self._bucket = dataset.s3_bucket
        self._prefix = f"{dataset.s3_prefix.strip('/')}/".lstrip("/")
        with _sentences(f"s3://{self._bucket}"):
            self._client = _client(dataset.s3_endpoint, patience)

    def published(self, archives: Sequence[Archive]) -> dict[str, Published]:
        """Size and md5 of the archives by name: from the objects' metadata, else from the table in `zenodo.py`.

        Raises:
            InputError: no access, no such bucket, or an archive is not in it.
        """
        found = {}
        for archive in archives:
            held = self.held(archive)
            if held is None:
                raise InputError(f"{self._url(archive)} does not exist: fill the mirror with `cfnsr mirror`.")
            if not held.md5 and held.size != archive.published.size:
                raise InputError(
                    f"{self._url(archive)} has {held.size} bytes instead of {archive.published.size}: "
                    "delete it and fill the mirror again with `cfnsr mirror`."
                )
            found[archive.name] = Published(archive.name, held.size, held.md5 or archive.published.md5)
        return found

    def opener(self, archive: Archive) -> Opener:
        """Opens the archive at an offset."""
        return partial(self._open, archive)

    def held(self, archive: Archive) -> Published | None:
        """Size and md5 (empty if nobody noted it) of the archive in the bucket; None if it is not there.

        Raises:
            InputError: no access, or no such bucket.
        """
        from botocore.exceptions import ClientError

        with _sentences(self._url(archive)):
            try:
                head = self._client.head_object(Bucket=self._bucket, Key=self._key(archive))
            except ClientError as error:
                if _status(error) != 404:
                    raise
                self._client.head_bucket(Bucket=self._bucket)  # a 404 without a body does not say what is missing
                return None
        return Published(archive.name, head["ContentLength"], head["Metadata"].get(_MD5, ""))

    def upload(self, archive: Archive, file: Published, path: Path) -> None:
        """Put a verified archive into the bucket, in parts if it is large, and check that it is there.

        Raises:
            InputError: no access, no such bucket, or what is there afterwards is not what was sent.
        """
        from boto3.exceptions import S3UploadFailedError
        from boto3.s3.transfer import TransferConfig

        config = TransferConfig(multipart_threshold=PART_SIZE, multipart_chunksize=PART_SIZE)
        bar = tqdm(total=file.size, desc=f"{file.name} up", unit="B", unit_scale=True, unit_divisor=1024, leave=False)
        with bar, _sentences(self._url(archive)):
            try:
                self._client.upload_file(
                    str(path),
                    self._bucket,
                    self._key(archive),
                    ExtraArgs={"Metadata": {_MD5: file.md5}},
                    Callback=bar.update,
                    Config=config,
                )
            except S3UploadFailedError as error:
                raise (error.__context__ or error) from None  # boto3 keeps what happened only as text and context
        if self.held(archive) != file:
            raise InputError(f"{self._url(archive)} is not what was uploaded: is something else writing to the bucket?")

    @contextmanager
    def _open(self, archive: Archive, offset: int, etag: str | None) -> Iterator[Stream]:
        request: GetObjectRequestTypeDef = {
            "Bucket": self._bucket,
            "Key": self._key(archive),
            "Range": f"bytes={offset}-",
        }
        if etag:
            request["IfMatch"] = etag
        with _sentences(self._url(archive), passing=True):
            response = self._client.get_object(**request)
            match = _CONTENT_RANGE.fullmatch(response.get("ContentRange", ""))
            start, total = (int(match[1]), int(match[2])) if match else (0, response["ContentLength"])
            if start not in (0, offset):
                raise Transient("the server sent another range than the one asked for", start_over=True)
            with closing(response["Body"]) as body:
                yield Stream(start, total, response["ETag"], partial(body.read, CHUNK))

    def _key(self, archive: Archive) -> str:
        return f"{self._prefix}{archive.name}"

    def _url(self, archive: Archive) -> str:
        return f"s3://{self._bucket}/{self._key(archive)}"


def _client(endpoint: str | None, patience: Patience) -> S3Client:
    from boto3.session import Session
    from botocore.config import Config

    config = Config(
        connect_timeout=patience.connect_timeout,
        read_timeout=patience.stall_timeout,
        retries={"mode": "standard", "total_max_attempts": min(patience.attempts, 4)},
        # Servers other than AWS trip over the checksum trailers that AWS understands; every file's md5 is checked here.
        request_checksum_calculation="when_required" if endpoint else "when_supported",
        response_checksum_validation="when_required",
    )
    return Session().client("s3", endpoint_url=endpoint, config=config)  # boto3.client would cache credentials


@contextmanager
def _sentences(url: str, passing: bool = False) -> Iterator[None]:
    """Turn what boto3 raises into one sentence, or into `Transient` for what may pass if `passing`."""
    from botocore.exceptions import BotoCoreError, ClientError, ConnectionError, HTTPClientError, IncompleteReadError
    from urllib3.exceptions import HTTPError

    try:
        yield
    except ClientError as error:
        code = _status(error)
        if passing and code in (412, 416):
            raise Transient("the object changed", start_over=True) from None
        if passing and code >= 500:
            raise Transient(f"the server answered {code}") from None
        raise InputError(f"{url}: {_reason(error)}.") from None
    except (ConnectionError, HTTPClientError, IncompleteReadError, HTTPError) as error:
        if passing:
            raise Transient(f"the connection failed ({_brief(error)})") from None
        raise InputError(f"{url}: the server can't be reached ({_brief(error)}): check dataset.s3_endpoint.") from None
    except BotoCoreError as error:  # credentials, profile, region, malformed names
        hint = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE" if "redential" in str(error) else ""
        raise InputError(f"{url}: {_brief(error)}{hint and f': {hint}'}.") from None
    except InputError:
        raise
    except ValueError as error:  # how boto3 refuses an endpoint that is no URL
        raise InputError(f"{url}: {_brief(error)}: correct dataset.s3_endpoint.") from None


def _status(error: Exception) -> int:
    """HTTP status of a botocore ClientError."""
    response: dict = getattr(error, "response", {})
    return int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def _reason(error: Exception) -> str:
    response: dict = getattr(error, "response", {})
    code = str(response.get("Error", {}).get("Code", ""))
    if code == "NoSuchBucket" or (_status(error) == 404 and getattr(error, "operation_name", "") == "HeadBucket"):
        return "the bucket does not exist: create it, or correct dataset.s3_bucket and dataset.s3_endpoint"
    if _status(error) in (401, 403):
        return f"access is denied ({code}): check the credentials and the bucket's policy"
    if _status(error) in (301, 307, 400):
        return f"the request was refused ({code}): check the region (AWS_DEFAULT_REGION) and dataset.s3_endpoint"
    return _brief(error)


def _brief(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__
