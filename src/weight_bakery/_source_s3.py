"""A model in a bucket: S3, or whatever speaks its protocol (endpoint, profile and keys as boto3 finds them).

Every read says which version of the object it means (If-Match on the ETag of the listing), so content that changes
under a bake is refused by the bucket itself. A break is mended by another ranged read; nothing is kept on disk.
"""

import base64
import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConfigNotFound,
    HTTPClientError,
    IncompleteReadError,
    NoCredentialsError,
    NoRegionError,
    PartialCredentialsError,
    ProfileNotFound,
    TokenRetrievalError,
)

from redaction import redact, register_secret
from weight_bakery._errors import (
    AccessDenied,
    BadRequest,
    BakeryError,
    ModelNotFound,
    SourceChanged,
    SourceError,
    SourceUnavailable,
)
from weight_bakery._licence import CARD, CARD_LIMIT, licence_of
from weight_bakery._references import BucketModel
from weight_bakery._sources import Inventory, Reader, SourceFile

_TRIES = 6
_WORTH_ANOTHER = 1 << 20
_TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504})
_NO_LOGIN = (NoCredentialsError, PartialCredentialsError, ProfileNotFound, ConfigNotFound, TokenRetrievalError)
_BAD_LOGIN = frozenset({"InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken", "AuthFailure"})


class BucketSource:
    """The objects below one prefix, as they were when they were listed."""

    cheap = False
    flow_limit = None

    def __init__(self, model: BucketModel) -> None:
        self._model = model
        self._prefix = f"{model.prefix}/" if model.prefix else ""
        self._stopped = threading.Event()
        self._etags: dict[str, str] = {}
        self._sizes: dict[str, int] = {}
        try:
            session = boto3.Session()
            keys = session.get_credentials()
            register_secret(keys.secret_key if keys else None)
            register_secret(keys.token if keys else None)
            self._client: Any = session.client("s3", config=_CONFIG)
        except (BotoCoreError, ValueError) as error:
            raise self._explain(error) from error

    def inventory(self) -> Inventory:
        """List the objects; those that keep a sha256 are asked for it."""
        files = []
        try:
            for page in self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self._model.bucket, Prefix=self._prefix
            ):
                files += [self._describe(entry) for entry in page.get("Contents", ()) if not entry["Key"].endswith("/")]
        except (BotoCoreError, ClientError) as error:
            raise self._explain(error) from error
        if not files:
            raise ModelNotFound(f"there is nothing under {self._model}/", "check the bucket and the prefix")
        files.sort(key=lambda file: file.path)
        name = (self._model.prefix or self._model.bucket).rpartition("/")[2]
        return Inventory("s3", name, None, tuple(files), licence=self._licence())

    def key(self, path: str) -> str:
        """Endpoint, bucket and key; the stamp is the ETag."""
        return f"s3:{self._client.meta.endpoint_url}/{self._model.bucket}/{self._prefix}{path}"

    @contextmanager
    def open(self, path: str, offset: int = 0) -> Iterator[Reader]:
        """Open an object; nothing is requested before the first read."""
        reader = _ObjectReader(self, path, self._sizes[path], offset)
        try:
            yield reader
        finally:
            reader.close()

    def close(self) -> None:
        """Let reads that are under way give up at their next break."""
        self._stopped.set()

    def connect(self, path: str, offset: int) -> Any:
        """Ask for an object from `offset` on, in the version that was listed."""
        if self._stopped.is_set():
            raise SourceUnavailable("the bake was stopped")
        wanted: dict[str, Any] = {"Bucket": self._model.bucket, "Key": self._prefix + path}
        if self._etags[path]:
            wanted["IfMatch"] = self._etags[path]
        if offset:
            wanted["Range"] = f"bytes={offset}-"
        answer = self._client.get_object(**wanted)
        if answer["ContentLength"] != self._sizes[path] - offset or answer["ETag"] != self._etags[path]:
            answer["Body"].close()
            raise SourceChanged(f"{self._model}/{path} changed while it was being baked", "run the bake again")
        return answer["Body"]

    def failed(self, path: str, error: Exception, failures: int) -> None:
        """Wait before another try, or raise for good."""
        if self._stopped.is_set():
            raise SourceUnavailable("the bake was stopped") from error
        status = _status(error)
        if status in (404, 412, 416):
            raise SourceChanged(f"{self._model}/{path} changed while it was being baked", "run the bake again")
        if not _may_pass(error):
            raise self._explain(error) from error
        if failures >= _TRIES:
            raise SourceUnavailable(
                f"{self._model}/{path} could not be read to its end ({redact(str(error)).splitlines()[0]})",
                "check the network, then run the bake again; finished layers are kept",
            ) from error
        self._stopped.wait(min(0.5 * 2**failures, 30.0) * random.uniform(0.5, 1.0))  # noqa: S311 - jitter

    def _describe(self, entry: dict[str, Any]) -> SourceFile:
        path, size, etag = entry["Key"].removeprefix(self._prefix), entry["Size"], entry.get("ETag", "")
        self._etags[path], self._sizes[path] = etag, size
        sha256 = None
        if "SHA256" in entry.get("ChecksumAlgorithm", ()) and entry.get("ChecksumType", "FULL_OBJECT") == "FULL_OBJECT":
            sha256 = self._checksum(entry["Key"])
        return SourceFile(path, size, sha256=sha256, stamp=f"etag:{etag}:{size}" if etag else None)

    def _checksum(self, key: str) -> str | None:
        head = self._client.head_object(Bucket=self._model.bucket, Key=key, ChecksumMode="ENABLED")
        found = str(head.get("ChecksumSHA256", ""))
        if not found or "-" in found:  # "-4": made of the digests of four parts, and no digest of the content
            return None
        return base64.b64decode(found).hex()

    def _licence(self) -> str | None:
        if CARD not in self._sizes:
            return None
        with self.open(CARD) as card:
            return licence_of(card.read(CARD_LIMIT))

    def _explain(self, error: Exception) -> BakeryError:
        """Put what boto3 says into one line."""
        if isinstance(error, _NO_LOGIN):
            return AccessDenied(
                f"there is no usable login for {self._model} ({_first_line(error)})",
                "set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
            )
        if isinstance(error, NoRegionError):
            return BadRequest(f"no region is set for {self._model}", "set AWS_REGION")
        if isinstance(error, ClientError):
            code = str(error.response.get("Error", {}).get("Code", ""))
            if code == "NoSuchBucket":
                return ModelNotFound(
                    f"there is no bucket {self._model.bucket!r}", "check its name, and AWS_ENDPOINT_URL_S3"
                )
            if code in ("RequestTimeTooSkewed", "RequestExpired"):
                return AccessDenied(
                    f"the bucket of {self._model} refuses this machine's clock ({code})",
                    "set it right, then bake again",
                )
            if code in _BAD_LOGIN:
                return AccessDenied(
                    f"the login for {self._model} is not valid ({code})",
                    "check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_ENDPOINT_URL_S3",
                )
            if _status(error) in (401, 403):
                return AccessDenied(
                    f"this login may not read {self._model}", "it needs s3:ListBucket and s3:GetObject there"
                )
            return SourceError(f"the bucket of {self._model} answered {code}", "check AWS_ENDPOINT_URL_S3")
        return SourceUnavailable(
            f"{self._model} cannot be reached ({_first_line(error)})", "check AWS_ENDPOINT_URL_S3 and the network"
        )


class _ObjectReader:
    """Reads an object in order; goes on where it stopped when the connection breaks."""

    def __init__(self, source: BucketSource, path: str, size: int, offset: int) -> None:
        self._source = source
        self._path = path
        self._size = size
        self._offset = offset
        self._body: Any = None
        self._failures = 0
        self._since_failure = 0

    def read(self, size: int, /) -> bytes:
        """Return up to `size` bytes, none at the end."""
        while self._offset < self._size:
            try:
                if self._body is None:
                    self._body = self._source.connect(self._path, self._offset)
                part: bytes = self._body.read(min(size, self._size - self._offset))
                if not part:
                    raise EOFError(f"ended {self._size - self._offset} bytes early")
            except (BotoCoreError, ClientError, OSError, EOFError) as error:
                self.close()
                self._failures += 1
                self._since_failure = 0
                self._source.failed(self._path, error, self._failures)
                continue
            self._offset += len(part)
            self._since_failure += len(part)
            if self._since_failure >= _WORTH_ANOTHER:  # less is not progress: tries must end some day
                self._failures = 0
            return part
        return b""

    def close(self) -> None:
        """Close the connection."""
        if self._body is not None:
            self._body.close()
            self._body = None


_CONFIG = Config(
    connect_timeout=10,
    read_timeout=30,
    max_pool_connections=32,
    retries={"mode": "standard", "total_max_attempts": 5},
    # Other implementations than Amazon's often know only what is required.
    request_checksum_calculation="when_required",
    response_checksum_validation="when_required",
)


def _status(error: Exception) -> int | None:
    if not isinstance(error, ClientError):
        return None
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    return status if isinstance(status, int) else None


def _may_pass(error: Exception) -> bool:
    return isinstance(error, HTTPClientError | IncompleteReadError | OSError | EOFError) or _status(error) in _TRANSIENT


def _first_line(error: Exception) -> str:
    return redact(" ".join(str(error).split()))[:200].rstrip(".")
