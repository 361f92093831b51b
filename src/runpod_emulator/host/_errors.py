"""Everything that can keep a worker from starting. One cause, one remedy, one line each; never a secret.

HostError
├── BadReference            the image's name cannot be understood or leaves --image-root
├── ImageNotFound           layout, tag or manifest is not there
├── RegistryRefused         the registry does not let us in
├── RegistryUnreachable     no usable answer from the registry
├── BadImage                the image is not what it should be
│   ├── DigestMismatch      bytes are not the ones that were named
│   ├── UnsafeLayer         a layer tries to leave the root or brings a device
│   └── Unsupported         a form of image that this host does not read
├── CacheUnusable           the host's cache cannot be written
│   └── DiskFull
├── NamespacesMissing       bubblewrap was asked for and is not to be had
└── StartFailed             the image is there, its program does not start
"""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from runpod_emulator.errors import EmulatorError


class HostError(EmulatorError):
    """Base of the host's errors; `str()` is one line and safe to show."""


class BadReference(HostError):
    def __init__(self, image: str, why: str) -> None:
        self.image = image
        super().__init__(
            f"image reference {image!r}: {why}; write oci:<folder below --image-root>:<tag>[@sha256:<digest>] "
            "or <registry host>/<repository>[:<tag>][@sha256:<digest>]"
        )


class ImageNotFound(HostError):
    def __init__(self, image: str, why: str, remedy: str) -> None:
        self.image = image
        super().__init__(f"image {image} not found: {why}; {remedy}")


class RegistryRefused(HostError):
    def __init__(self, image: str, registry: str, why: str, *, with_credentials: bool) -> None:
        self.image, self.registry = image, registry
        remedy = (
            "check the endpoint's registry credential"
            if with_credentials
            else "give the endpoint a registry credential if the repository is private"
        )
        super().__init__(f"image {image}: registry {registry} refused: {why}; {remedy}")


class RegistryUnreachable(HostError):
    def __init__(self, image: str, registry: str, why: str) -> None:
        self.image, self.registry = image, registry
        super().__init__(
            f"image {image}: no usable answer from registry {registry}: {why}; "
            "check that it runs and can be reached from this machine"
        )


class BadImage(HostError):
    def __init__(self, image: str, why: str, remedy: str = "bake or push the image again") -> None:
        self.image = image
        super().__init__(f"image {image}: {why}; {remedy}")


class DigestMismatch(BadImage):
    """Names the piece, and both digests, so that one can find out which side is wrong."""

    def __init__(self, image: str, piece: str, expected: str, actual: str) -> None:
        self.piece, self.expected, self.actual = piece, expected, actual
        super().__init__(image, f"{piece} is damaged or was altered: expected {expected}, found {actual}")


class UnsafeLayer(BadImage):
    def __init__(self, image: str, layer: str, entry: str, why: str) -> None:
        self.layer, self.entry = layer, entry
        super().__init__(image, f"{layer} is refused, its entry {entry!r} {why}", "build the image without this entry")


class Unsupported(BadImage):
    pass


class CacheUnusable(HostError):
    def __init__(self, path: Path | str, why: str) -> None:
        self.path = path
        super().__init__(f"cannot write {path}: {why}; repair it or start the emulator with another --state")


class DiskFull(CacheUnusable):
    def __init__(self, path: Path | str) -> None:
        self.path = path
        HostError.__init__(
            self, f"no space left on the disk of {path}; free some, or start the emulator with --state on a larger disk"
        )


class NamespacesMissing(HostError):
    def __init__(self, why: str) -> None:
        super().__init__(
            f"workers cannot get a root of their own: {why}; "
            "allow user namespaces on this machine, or leave the isolation on auto"
        )


class StartFailed(HostError):
    def __init__(self, image: str, why: str, remedy: str = "check the image's and the endpoint's command") -> None:
        self.image = image
        super().__init__(f"image {image} does not start: {why}; {remedy}")


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn an OSError of writing below `path` into CacheUnusable or DiskFull."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFull(path) from error
        raise CacheUnusable(error.filename or path, error.strerror or str(error)) from error
