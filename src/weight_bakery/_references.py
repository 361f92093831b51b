"""What the texts after --model, --to and --base mean. Pure: nothing is opened here.

oci:<dir>:<tag>[@sha256:...]             an OCI image layout on disk
<host>[:port]/<repo>[:tag][@sha256:...]  a registry; http only on loopback, https everywhere else
<repo>[:tag]                             Docker Hub, as docker writes it
"""

import ipaddress
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from weight_bakery._errors import BadRequest

_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_REPOSITORY = re.compile(r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*)*")
_HOST = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9a-fA-F:]+\])(?::[0-9]{1,5})?")
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(?:/[\w.-]+)?")
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]*")

_IMAGE_FORMS = "write oci:<directory>:<tag>, or <host>/<repository>[:tag]"

DOCKER_HUB = "docker.io"
_DOCKER_HUB_API = "registry-1.docker.io"


@dataclass(frozen=True)
class LayoutReference:
    """An image in an OCI layout."""

    directory: Path
    tag: str | None
    digest: str | None = None

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        return f"oci:{self.directory}{tag}" + (f"@{self.digest}" if self.digest else "")


@dataclass(frozen=True)
class RegistryReference:
    """An image in a registry. `host` is as the user wrote it; `api_url` is where requests go."""

    host: str
    repository: str
    tag: str | None
    digest: str | None = None

    @property
    def api_url(self) -> str:
        """Scheme and host of the registry's API."""
        if self.host == DOCKER_HUB:
            return f"https://{_DOCKER_HUB_API}"
        return f"{'http' if is_loopback(self.host) else 'https'}://{self.host}"

    @property
    def target(self) -> str:
        """What to ask the manifest route for: the digest if there is one, else the tag."""
        return self.digest or self.tag or "latest"

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        return f"{self.host}/{self.repository}{tag}" + (f"@{self.digest}" if self.digest else "")


ImageReference = LayoutReference | RegistryReference


@dataclass(frozen=True)
class FolderModel:
    """A model in a folder of this machine."""

    folder: Path


@dataclass(frozen=True)
class HubModel:
    """A model repository on the Hugging Face Hub."""

    repository: str
    revision: str | None = None


@dataclass(frozen=True)
class CachedModel:
    """A model repository in the Hugging Face cache of this machine."""

    repository: str
    revision: str | None = None


@dataclass(frozen=True)
class BucketModel:
    """A model below a prefix of a bucket."""

    bucket: str
    prefix: str

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.prefix}".rstrip("/")


@dataclass(frozen=True)
class ImageModel:
    """A model inside another image; without a path, where the image's own label says."""

    image: ImageReference
    path: str | None = None


ModelReference = FolderModel | HubModel | CachedModel | BucketModel | ImageModel

SourceChoice = Literal["auto", "hub", "hf-cache"]
"""Where a repository id is looked up."""


def parse_image(text: str, *, option: str) -> ImageReference:
    """Read an image reference; `option` names the place in error messages."""
    rest, at, digest = text.strip().partition("@")
    if at and not _DIGEST.fullmatch(digest):
        raise BadRequest(f"{option} {text!r}: {digest!r} is not a digest", "write @sha256: and 64 hexadecimal digits")
    if rest.startswith("oci:"):
        directory, colon, tag = rest[len("oci:") :].rpartition(":")
        if not colon and digest:
            directory, tag = tag, ""
        if not directory or not (digest or tag) or (tag and not _TAG.fullmatch(tag)):
            raise BadRequest(f"{option} {text!r} is not an image in a layout", "write oci:<directory>:<tag>")
        return LayoutReference(Path(directory), tag or None, digest or None)
    return _parse_registry(rest, digest or None, text, option)


def parse_target(text: str) -> ImageReference:
    """Read --to: like any image reference, but it must name a tag to write and no digest."""
    reference = parse_image(text, option="--to")
    if reference.digest is not None:
        raise BadRequest(f"--to {text!r} names a digest", "name a tag: the digest is what a bake finds out")
    if isinstance(reference, RegistryReference):
        if "/" not in text:
            # docker would read this as docker.io/library/<name>, where nobody may push.
            raise BadRequest(f"--to {text!r} names no registry", _IMAGE_FORMS)
        return replace(reference, tag=reference.tag or "latest")
    return reference


def parse_model(text: str, source: SourceChoice = "auto") -> ModelReference:
    """Read --model: an existing folder (or anything that looks like a path), else a Hub repository id.

    With a source named, the text is a repository id even where a folder is called the same.
    """
    if not text:
        raise BadRequest("--model is empty", "give a folder, or <owner>/<name> with an optional @<revision>")
    if text.startswith("s3://"):
        return _parse_bucket(text)
    if text.startswith(("oci:", "image:")):
        return _parse_image_model(text)
    path = Path(text).expanduser()
    looks_like_path = text.startswith(("/", "./", "../", "~")) or text in (".", "..")
    if (source == "auto" and path.is_dir()) or looks_like_path:
        return FolderModel(path)
    if source == "auto" and path.exists():
        raise BadRequest(f"--model {text!r} is a file", "give the folder that holds config.json and the weights")
    repository, at, revision = text.partition("@")
    if not _HUB_ID.fullmatch(repository) or ".." in repository or (at and not revision):
        raise BadRequest(
            f"--model {text!r} is neither a folder nor a Hub repository id",
            "write a folder's path, <owner>/<name> with an optional @<revision>, or s3://<bucket>/<prefix>",
        )
    return (CachedModel if source == "hf-cache" else HubModel)(repository, revision or None)


def _parse_bucket(text: str) -> BucketModel:
    bucket, _, prefix = text.removeprefix("s3://").partition("/")
    prefix = prefix.strip("/")
    if not _BUCKET.fullmatch(bucket) or "//" in prefix:
        raise BadRequest(f"--model {text!r} names no bucket and prefix", "write s3://<bucket>/<prefix>")
    return BucketModel(bucket, prefix)


def _parse_image_model(text: str) -> ImageModel:
    name, mark, path = text.removeprefix("image:").partition("#")
    if mark and (not path.startswith("/") or ".." in path.split("/")):
        raise BadRequest(f"--model {text!r}: {path!r} is no path in an image", "write it from its root: #/models/x")
    return ImageModel(parse_image(name, option="--model"), path.rstrip("/") or None)


def image_name(model_id: str) -> str:
    """Name of the model's folder under /models: the last part of the id, lower case, odd characters as dashes."""
    last = model_id.rstrip("/").rpartition("/")[2].lower()
    return re.sub(r"[^a-z0-9._-]+", "-", last).strip("-._") or "model"


def check_name(name: str) -> str:
    """Return `name` when it may stand under /models."""
    if not _NAME.fullmatch(name):
        raise BadRequest(f"--name {name!r} is not usable", "use lower-case letters, digits, dots, dashes, underscores")
    return name


def is_loopback(host: str) -> bool:
    """Whether `host` (with or without a port) is this machine, where plain http is fine."""
    bare = host[1 : host.index("]")] if host.startswith("[") else host.partition(":")[0]
    if bare == "localhost":
        return True
    try:
        return ipaddress.ip_address(bare).is_loopback
    except ValueError:
        return False


def is_address(text: str) -> bool:
    """Whether `text` is an address of a server: http or https, a host, a port that can be one."""
    try:
        parts = urlsplit(text)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _parse_registry(rest: str, digest: str | None, text: str, option: str) -> RegistryReference:
    remedy = _IMAGE_FORMS
    if "://" in rest:
        raise BadRequest(f"{option} {text!r} is a URL, not an image reference", remedy)
    name, colon, tag = rest.rpartition(":")
    if not colon or "/" in tag:
        name, tag = rest, ""
    first, slash, remainder = name.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        host, repository = first, remainder
    else:  # docker's own rule: no dot, no port, not localhost -> Docker Hub
        host, repository = DOCKER_HUB, name if slash else f"library/{name}"
    if host in ("index.docker.io", _DOCKER_HUB_API):
        host = DOCKER_HUB
    bad_tag = bool(colon) and name != rest and not _TAG.fullmatch(tag)
    if not _HOST.fullmatch(host) or not _REPOSITORY.fullmatch(repository) or bad_tag:
        raise BadRequest(f"{option} {text!r} is not an image reference", remedy)
    return RegistryReference(host, repository, tag or None, digest)
