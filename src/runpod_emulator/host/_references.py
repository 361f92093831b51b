"""Image references: `oci:<dir>:<tag>[@sha256:…]` and `<host>[:port]/<repo>[:tag][@sha256:…]`.

A reference never carries credentials, and an OCI layout lies below the emulator's --image-root or nowhere.
"""

import ipaddress
import re
from dataclasses import dataclass
from pathlib import Path

from runpod_emulator.host._errors import BadReference, ImageNotFound

DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_REPOSITORY = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*")
_HOST = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:]+\])(?::[0-9]{1,5})?")


@dataclass(frozen=True)
class LayoutReference:
    text: str
    directory: str
    tag: str
    digest: str | None

    def path(self, image_root: Path | None) -> Path:
        """The layout's folder, symlinks resolved. Raises BadReference when it is not below `image_root`."""
        if image_root is None:
            raise BadReference(self.text, "the emulator was started without --image-root, so it has no OCI layouts")
        root = image_root.resolve()
        path = (root / self.directory).resolve()
        if not path.is_relative_to(root):
            raise BadReference(self.text, f"folder {self.directory} leads out of --image-root")
        if not (path / "index.json").is_file():
            raise ImageNotFound(
                self.text, f"{self.directory} below --image-root is no OCI layout", "bake the image into it first"
            )
        return path


@dataclass(frozen=True)
class RegistryReference:
    text: str
    host: str
    repository: str
    tag: str | None
    digest: str | None

    @property
    def base_url(self) -> str:
        """Plain http only where nobody can listen in: on this machine."""
        return f"{'http' if is_loopback(self.host) else 'https'}://{self.host}"

    @property
    def wanted(self) -> str:
        """What to ask the registry for. A digest beats a tag, as everywhere."""
        return self.digest or self.tag or "latest"


def is_loopback(host: str) -> bool:
    """Whether `host`, with or without a port, is this machine."""
    name = host[1:].partition("]")[0] if host.startswith("[") else host.rpartition(":")[0] or host
    if name.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def parse(image: str) -> LayoutReference | RegistryReference:
    """Read a reference. Raises BadReference with what is wrong and how one is written."""
    name, at, digest = image.partition("@")
    if at and not DIGEST.fullmatch(digest):
        raise BadReference(image, f"{digest!r} is no digest")
    if name.startswith("oci:"):
        return _layout(image, name[4:], digest or None)
    return _registry(image, name, digest or None)


def _layout(image: str, name: str, digest: str | None) -> LayoutReference:
    directory, _, tag = name.rpartition(":")
    if not directory or not _TAG.fullmatch(tag):
        raise BadReference(image, "folder or tag is missing or malformed")
    if directory.startswith("/") or ".." in directory.split("/") or "\0" in directory:
        raise BadReference(image, "the folder must be a path below --image-root, without a leading / and without ..")
    return LayoutReference(image, directory, tag, digest)


def _registry(image: str, name: str, digest: str | None) -> RegistryReference:
    first, slash, rest = name.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        host = first
    else:
        # As every container engine reads a name without a host.
        host, rest = "registry-1.docker.io", name if slash else f"library/{name}"
    if host in ("docker.io", "index.docker.io"):
        host, rest = "registry-1.docker.io", rest if "/" in rest else f"library/{rest}"
    repository, colon, tag = rest.partition(":")
    if not _HOST.fullmatch(host):
        raise BadReference(image, f"{host!r} is no host")
    if not _REPOSITORY.fullmatch(repository):
        raise BadReference(image, f"{repository!r} is no repository name (lower case, digits, . _ - and /)")
    if colon and not _TAG.fullmatch(tag):
        raise BadReference(image, f"{tag!r} is no tag")
    return RegistryReference(image, host, repository, tag or None, digest)
