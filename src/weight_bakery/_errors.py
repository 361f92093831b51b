"""Everything the bakery refuses, in one tree. Each error is one line: what is wrong and where, then the way out.

BakeryError
  BadRequest              the request itself: a reference, a name, a combination of options
  SourceError             the model's files
    ModelNotFound  AccessDenied  SourceUnavailable  SourceChanged
      SourceDamaged       bytes arrived that the source did not promise; asking again may help
    NoConfig  NoWeights  MissingShard  CorruptWeights  UnsafePath
  LayerRuleError          a path or a set of files that layer rule version 1 cannot hold
  BaseImageError          the image to build on
  LayoutError             an OCI layout on disk
    DiskFull
  RegistryError           a registry; carries `status`
    RegistryDenied  RegistryTooLarge  RegistryUnreachable  DigestMismatch
  LockError               weights.lock
  VolumeError             a network volume's S3 API
    VolumeDenied  VolumeUnreachable
  SigningError            cosign, after the image was baked
  HarvestError            start-up caches that cannot be taken into an image
"""

from redaction import redact


class BakeryError(Exception):
    """Base of everything this package raises on purpose; `str()` is one line, free of secrets."""

    def __init__(self, message: str, remedy: str = "") -> None:
        self.message = redact(" ".join(message.split()))
        self.remedy = redact(" ".join(remedy.split()))
        super().__init__(f"{self.message}; {self.remedy}" if self.remedy else self.message)


class BadRequest(BakeryError):
    """The request cannot be understood; nothing was read or written."""


class SourceError(BakeryError):
    """Something about the model's files."""


class ModelNotFound(SourceError):
    """No such folder, repository or revision."""


class AccessDenied(SourceError):
    """The Hub knows the model but does not hand it to this token."""


class SourceUnavailable(SourceError):
    """The source stopped answering, and repeating did not help."""


class SourceChanged(SourceError):
    """A file is not what the inventory said it was."""


class SourceDamaged(SourceChanged):
    """A file's bytes do not have the digest that its source promised; they may have been damaged on their way."""


class NoConfig(SourceError):
    """A model without config.json cannot be served."""


class NoWeights(SourceError):
    """Nothing among the files is a weight file that vLLM can load."""


class MissingShard(SourceError):
    """An index names a file that is not there."""


class CorruptWeights(SourceError):
    """A safetensors file is damaged or was cut off."""


class UnsafePath(SourceError):
    """A path or link that would lead out of the folder, or that an image cannot hold safely."""


class LayerRuleError(BakeryError):
    """Layer rule version 1 has no bytes for this."""


class BaseImageError(BakeryError):
    """The base image cannot be used."""


class LayoutError(BakeryError):
    """The OCI layout on disk cannot be read or written."""


class DiskFull(LayoutError):
    """No space left; the tag still points at what it pointed at before."""


class RegistryError(BakeryError):
    """A registry's refusal or failure; `status` is its HTTP status, None when there was no answer."""

    def __init__(self, message: str, remedy: str = "", *, status: int | None = None) -> None:
        self.status = status
        super().__init__(message, remedy)


class RegistryDenied(RegistryError):
    """401 or 403: not logged in, or not allowed to."""


class RegistryTooLarge(RegistryError):
    """413: a layer or the manifest is over the registry's limit."""


class RegistryUnreachable(RegistryError):
    """No answer, or only failures, after several tries."""


class DigestMismatch(RegistryError):
    """Bytes on the other side are not the bytes that were sent."""


class LockError(BakeryError):
    """weights.lock is damaged, foreign, or written by a newer version."""


class VolumeError(BakeryError):
    """A network volume refused something, or holds what it should not."""


class VolumeDenied(VolumeError):
    """No login for the volume, or one that may not do this."""


class VolumeUnreachable(VolumeError):
    """The volume did not answer, or only with failures, after several tries."""


class SigningError(BakeryError):
    """cosign could not be run, or refused; the image is there and whole, but not signed."""


class HarvestError(BakeryError):
    """Start-up caches that are damaged, mixed, unsafe, or of something else than the image; nothing was changed."""
