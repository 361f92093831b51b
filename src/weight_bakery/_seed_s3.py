"""The S3 API of a network volume: a small set of calls, each repeated while that may help, and errors in one line.

The gateway stands before a file system. It knows no symbolic links, no DeleteObjects and no checksums but MD5; it
answers 502 under load, joins large files for minutes, and may hand out the same page of a listing twice.
"""

import base64
import hashlib
import os
import random
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from redaction import redact, register_secret
from weight_bakery._errors import BadRequest, BakeryError, VolumeDenied, VolumeError, VolumeUnreachable
from weight_bakery._seed_request import SeedRequest

ACCESS_KEY_VARIABLE = "RUNPOD_S3_ACCESS_KEY_ID"
SECRET_KEY_VARIABLE = "RUNPOD_S3_SECRET_ACCESS_KEY"  # noqa: S105 - the variable's name, not a key

_TRIES = 10
_TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504})
_BAD_LOGIN = frozenset({"InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken", "AuthFailure"})
_MD5 = re.compile(r"[0-9a-f]{32}")
_LOGIN_HELP = f"set {ACCESS_KEY_VARIABLE} and {SECRET_KEY_VARIABLE} (console: Settings, S3 API keys), or give --profile"

T = TypeVar("T")
Note = Callable[[str], None]


@dataclass(frozen=True)
class Stored:
    """An object of the volume."""

    size: int
    etag: str


@dataclass(frozen=True)
class StoredPart:
    """A part of an upload that was begun."""

    number: int
    size: int
    etag: str


class Volume:
    """One volume. Safe to use from several threads."""

    def __init__(self, request: SeedRequest, endpoint: str, note: Note) -> None:
        self.endpoint = endpoint
        self._name = request.volume
        self._note = note
        self.stopped = threading.Event()
        self._errors, self._client, self._patient = _clients(request, endpoint)

    def head(self, key: str) -> Stored | None:
        """Size and ETag of an object; None when there is none."""
        try:
            found = self._call("look at", key, lambda: self._client.head_object(Bucket=self._name, Key=key))
        except _Missing:
            return None
        # What a worker wrote to the volume, past the gateway, may have no ETag.
        return Stored(found["ContentLength"], _bare(found.get("ETag", "")))

    def read_small(self, key: str) -> bytes | None:
        """The content of a small object; None when there is none."""

        def get() -> bytes:
            content: bytes = self._client.get_object(Bucket=self._name, Key=key)["Body"].read()
            return content

        try:
            return self._call("read", key, get)
        except _Missing:
            return None

    def sha256(self, key: str, size: int, advance: Callable[[int], None]) -> str:
        """Read an object of known size and return its digest."""
        digest = hashlib.sha256()

        def take(part: bytes) -> None:
            digest.update(part)
            advance(len(part))

        self.read("read back", key, size, take)
        return digest.hexdigest()

    def read(self, verb: str, key: str, size: int, take: Callable[[bytes], object]) -> None:
        """Hand an object of known size to `take`, in order; a break is mended by another ranged read."""
        position = 0

        def go_on() -> None:
            nonlocal position
            wanted = {"Range": f"bytes={position}-"} if position else {}
            body = self._client.get_object(Bucket=self._name, Key=key, **wanted)["Body"]
            try:
                while position < size and (part := body.read(1 << 20)):
                    if self.stopped.is_set():
                        raise VolumeUnreachable("seeding was stopped")
                    take(part)
                    position += len(part)
            finally:
                body.close()
            if position != size:
                raise EOFError(f"ended {size - position} bytes early")

        if size:
            self._call(verb, key, go_on)

    def put(self, key: str, content: bytes) -> Stored:
        """Write a small object whole; the gateway is told its MD5."""
        answer = self._call(
            "write", key,
            lambda: self._client.put_object(Bucket=self._name, Key=key, Body=content, ContentMD5=_content_md5(content)),
        )  # fmt: skip
        return Stored(len(content), _bare(answer.get("ETag", "")))

    def delete(self, key: str) -> None:
        """Delete one object: the gateway has no call for several."""
        self._call("delete", key, lambda: self._client.delete_object(Bucket=self._name, Key=key))

    def begin(self, key: str) -> str:
        """Begin an upload in parts."""
        answer = self._call("begin", key, lambda: self._client.create_multipart_upload(Bucket=self._name, Key=key))
        return str(answer["UploadId"])

    def send_part(self, key: str, upload: str, number: int, content: bytes) -> str:
        """Send a part and return its ETag, which must be its MD5 where it looks like one."""
        md5 = hashlib.md5(content, usedforsecurity=False)

        def send() -> str:
            answer = self._client.upload_part(
                Bucket=self._name, Key=key, UploadId=upload, PartNumber=number, Body=content,
                ContentMD5=base64.b64encode(md5.digest()).decode(),
            )  # fmt: skip
            etag = _bare(answer["ETag"])
            if _MD5.fullmatch(etag) and etag != md5.hexdigest():
                raise _Damaged(f"part {number} arrived damaged")
            return etag

        return self._call("send", key, send)

    def started(self, key: str) -> list[str]:
        """Uploads of this key that were begun and not finished."""
        found: list[str] = []
        markers: dict[str, str] = {}
        while True:
            wanted = dict(markers)
            page: dict[str, Any] = self._call(
                "list uploads of", key,
                partial(self._client.list_multipart_uploads, Bucket=self._name, Prefix=key, **wanted),
            )  # fmt: skip
            found += [str(upload["UploadId"]) for upload in page.get("Uploads", ()) if upload["Key"] == key]
            following = {"KeyMarker": page.get("NextKeyMarker"), "UploadIdMarker": page.get("NextUploadIdMarker")}
            markers = {name: value for name, value in following.items() if value}
            if not page.get("IsTruncated") or not markers or markers == wanted:
                return found

    def parts(self, key: str, upload: str) -> list[StoredPart]:
        """The parts of an upload that have arrived."""
        found: list[StoredPart] = []
        marker = 0
        while True:
            page: dict[str, Any] = self._call(
                "list parts of", key,
                partial(self._client.list_parts, Bucket=self._name, Key=key, UploadId=upload, PartNumberMarker=marker),
            )  # fmt: skip
            found += [StoredPart(p["PartNumber"], p["Size"], _bare(p["ETag"])) for p in page.get("Parts", ())]
            following = page.get("NextPartNumberMarker") or 0
            if not page.get("IsTruncated") or following <= marker:
                return found
            marker = following

    def finish(self, key: str, upload: str, etags: list[str], size: int) -> Stored:
        """Join the parts. An answer that was lost on its way is asked after: the object may be there already."""
        parts = [{"PartNumber": number, "ETag": f'"{etag}"'} for number, etag in enumerate(etags, start=1)]

        def join() -> None:
            try:
                self._patient.complete_multipart_upload(
                    Bucket=self._name, Key=key, UploadId=upload, MultipartUpload={"Parts": parts}
                )
            except self._errors.ClientError as error:
                found = self.head(key) if _code(error) in ("NoSuchUpload", "404") else None
                if found is None or found.size != size:
                    raise

        self._call("finish", key, join)
        found = self.head(key)
        if found is None or found.size != size:
            there = "nothing" if found is None else f"{found.size} bytes"
            raise VolumeError(f"{key} was sent with {size} bytes, and the volume has {there}", "run the command again")
        return found

    def abort(self, key: str, upload: str) -> None:
        """Drop a started upload and the space its parts take."""
        try:
            self._call(
                "drop an upload of", key,
                lambda: self._client.abort_multipart_upload(Bucket=self._name, Key=key, UploadId=upload),
            )  # fmt: skip
        except _Missing:
            return  # gone, which is what was wanted

    def keys(self, prefix: str) -> Iterator[str]:
        """All objects below a prefix; empty folders, which the gateway lists too, are left out."""
        token: str | None = None
        repeats = 0
        seen: set[str] = set()
        while True:
            wanted = {"ContinuationToken": token} if token else {}
            page: dict[str, Any] = self._call(
                "list", prefix,
                partial(self._client.list_objects_v2, Bucket=self._name, Prefix=prefix, **wanted),
            )  # fmt: skip
            for entry in page.get("Contents", ()):
                if entry["Key"] not in seen and not entry["Key"].endswith("/"):
                    seen.add(entry["Key"])
                    yield entry["Key"]
            following = page.get("NextContinuationToken")
            if not page.get("IsTruncated"):
                return
            # The gateway says so while it still computes the ETags of a large folder.
            repeats = repeats + 1 if not following or following == token else 0
            if repeats >= _TRIES:
                raise VolumeUnreachable(f"the listing of {prefix} does not go on", "try again in a few minutes")
            if repeats:
                self._wait(repeats)
            token = following or token

    def _call(self, verb: str, key: str, call: Callable[[], T]) -> T:
        failures = 0
        while True:
            if self.stopped.is_set():
                raise VolumeUnreachable("seeding was stopped")
            try:
                return call()
            except (self._errors.ClientError, self._errors.BotoCoreError, OSError, EOFError, _Damaged) as error:
                if _status(error) == 404 and _code(error) != "NoSuchBucket":
                    raise _Missing(f"{key} is not on volume {self._name} any more", "run the command again") from error
                if not self._may_pass(error):
                    raise self._explain(error, verb, key) from error
                failures += 1
                if failures >= _TRIES:
                    raise VolumeUnreachable(
                        f"could not {verb} {key} in {_TRIES} tries ({_first_line(error)})",
                        "run the command again later: what has arrived is kept",
                    ) from error
                self._note(f"{verb} {key}: {_first_line(error)}; trying again")
                self._wait(failures)

    def _wait(self, failures: int) -> None:
        self.stopped.wait(min(0.5 * 2**failures, 30.0) * random.uniform(0.5, 1.0))  # noqa: S311 - jitter

    def _may_pass(self, error: Exception) -> bool:
        passing = (self._errors.HTTPClientError, self._errors.IncompleteReadError, OSError, EOFError, _Damaged)
        return isinstance(error, passing) or _status(error) in _TRANSIENT or _code(error) == "BadDigest"

    def _explain(self, error: Exception, verb: str, key: str) -> BakeryError:
        if not isinstance(error, self._errors.ClientError):
            if isinstance(error, self._errors.NoCredentialsError | self._errors.PartialCredentialsError):
                return VolumeDenied(f"there is no login for volume {self._name}", _LOGIN_HELP)
            return VolumeError(f"could not {verb} {key} ({_first_line(error)})", "check --endpoint-url")
        code = _code(error)
        if code == "NoSuchBucket":
            return VolumeError(
                f"{self.endpoint} has no volume {self._name}", "check the volume's id and its data centre"
            )
        if code in ("RequestTimeTooSkewed", "RequestExpired"):
            return VolumeDenied("this machine's clock is more than an hour off", "set the clock, then run it again")
        if code in _BAD_LOGIN or _status(error) == 401:
            return VolumeDenied(f"the login for volume {self._name} is not valid ({code})", _LOGIN_HELP)
        if _status(error) == 403:
            return VolumeDenied(f"this login may not {verb} {key} on volume {self._name} ({code})", _LOGIN_HELP)
        if code in ("InsufficientStorage", "QuotaExceeded", "EntityTooLarge") or _status(error) in (413, 507):
            return VolumeError(
                f"volume {self._name} has no room for {key} ({code})",
                "make it larger (a volume can grow, not shrink), then run the command again",
            )
        return VolumeError(f"could not {verb} {key}: the volume answered {code or _status(error)}", "try again later")


class _Missing(VolumeError):
    """404: no such object, or no such upload."""


class _Damaged(Exception):
    """What arrived is not what was sent."""


def multipart_etag(md5s: list[str]) -> str:
    """The ETag that S3 gives an object made of parts with these MD5s."""
    joined = b"".join(bytes.fromhex(md5) for md5 in md5s)
    return f"{hashlib.md5(joined, usedforsecurity=False).hexdigest()}-{len(md5s)}"


def _clients(request: SeedRequest, endpoint: str) -> tuple[Any, Any, Any]:
    """botocore's exceptions, an ordinary client, and one that waits long for its answer."""
    import boto3  # takes half a second; only this command needs it
    import botocore.exceptions as errors
    from botocore.config import Config

    access, secret = os.environ.get(ACCESS_KEY_VARIABLE), os.environ.get(SECRET_KEY_VARIABLE)
    register_secret(secret)
    if bool(access) != bool(secret):
        raise BadRequest(f"only one of {ACCESS_KEY_VARIABLE} and {SECRET_KEY_VARIABLE} is set", "set both or neither")
    own = {"aws_access_key_id": access, "aws_secret_access_key": secret} if access and not request.profile else {}
    try:
        session = boto3.Session(profile_name=request.profile, **own)
        keys = session.get_credentials()
        if keys is None:
            raise VolumeDenied(f"there is no login for volume {request.volume}", _LOGIN_HELP)
        register_secret(keys.secret_key)
        register_secret(keys.token)

        # RunPod's region is the data centre; another gateway's is its own.
        region = request.datacenter.upper() if request.datacenter else session.region_name or "us-east-1"

        def client(timeout: float) -> Any:
            return session.client(
                "s3",
                endpoint_url=endpoint,
                region_name=region,
                config=Config(
                    connect_timeout=10,
                    read_timeout=timeout,
                    max_pool_connections=32,
                    retries={"mode": "standard", "total_max_attempts": 1},  # repeated here, where it can be told
                    s3={"addressing_style": "path"},
                    # The gateway knows MD5, which we send, and no newer checksum.
                    request_checksum_calculation="when_required",
                    response_checksum_validation="when_required",
                ),
            )  # fmt: skip

        return errors, client(request.read_timeout_s), client(request.complete_timeout_s)
    except (errors.BotoCoreError, ValueError) as error:
        raise VolumeDenied(f"there is no usable login for the volume ({_first_line(error)})", _LOGIN_HELP) from error


def _content_md5(content: bytes) -> str:
    return base64.b64encode(hashlib.md5(content, usedforsecurity=False).digest()).decode()


def _bare(etag: str) -> str:
    return etag.strip('"')


def _status(error: Exception) -> int | None:
    found = getattr(error, "response", None)
    status = found.get("ResponseMetadata", {}).get("HTTPStatusCode") if isinstance(found, dict) else None
    return status if isinstance(status, int) else None


def _code(error: Exception) -> str:
    found = getattr(error, "response", None)
    return str(found.get("Error", {}).get("Code", "")) if isinstance(found, dict) else ""


def _first_line(error: Exception) -> str:
    return redact(" ".join(str(error).split()))[:200].rstrip(".")
