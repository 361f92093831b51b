"""What a bake is asked for, what it plans, and what it hands back."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from weight_bakery._attached import Attached
from weight_bakery._events import Outcome
from weight_bakery._layer_rule import LAYER_RULE
from weight_bakery._layers import Role
from weight_bakery._references import SourceChoice
from weight_bakery._sources import SourceKind


@dataclass(frozen=True)
class Credentials:
    """A registry login: a name and password, or an identity token (`username` empty)."""

    username: str
    password: str = field(repr=False)
    identity_token: str = field(default="", repr=False)


@dataclass(frozen=True)
class BakeRequest:
    """Bake `model` into the image `to`."""

    model: str
    """A folder, or a Hub repository id with an optional @revision."""
    to: str
    """`oci:<dir>:<tag>`, or `<host>[:port]/<repository>[:tag]`."""
    base: str | None = None
    """Image to build on, in either form."""
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    name: str | None = None
    """Folder under /models; made from the model's id when not given."""
    served_name: str | None = None
    """Model name of the OpenAI route; the Hub id or the folder's name when not given."""
    worker_deps: Path | None = None
    worker_code: tuple[Path, ...] = ()
    lock: Path | None = None
    """weights.lock to keep; None keeps none."""
    attest: bool = True
    """Attach bill of materials and provenance where the target is a registry."""
    cache: Path | None = None
    """Digest cache; a layout has one of its own when this is None."""
    flows: int = 4
    """Layers in flight at once."""
    source: SourceChoice = "auto"
    """Where a repository id is looked up: on the Hub ("auto", "hub"), or in this machine's cache ("hf-cache")."""
    max_layer_size: int | None = None
    """Split safetensors files whose layer would be larger than this; what the registry takes when None."""
    hub_endpoint: str | None = None
    """Address of the Hub; huggingface_hub's own setting (HF_ENDPOINT) when None."""
    hub_token: str | None = field(default=None, repr=False)
    hf_cache: Path | None = None
    """Folder of the Hugging Face cache; huggingface_hub's own setting (HF_HUB_CACHE) when None."""
    credentials: Credentials | None = None
    """Login for the target's registry; Docker's configuration when None."""
    docker_config: Path | None = None
    """Folder of Docker's config.json; None means no stored logins are used."""


@dataclass(frozen=True)
class PlannedFile:
    """A file of the source: taken, or left out for a reason."""

    path: str
    size: int
    left_out: str | None = None


@dataclass(frozen=True)
class PlannedLayer:
    """A layer before it moves. `digest` is None while only a pass over the bytes could tell."""

    role: Role
    label: str
    size: int
    files: int
    digest: str | None
    present: bool | None
    """Whether the target has it already; None when that cannot be known yet."""
    mountable: bool = False
    """Whether its registry can be asked to take it over from another repository, which moves no bytes."""


@dataclass(frozen=True)
class BakePlan:
    """What a bake would do. Making it moves no payload."""

    target: str
    kind: SourceKind
    model: str
    revision: str | None
    name: str
    served_name: str
    base_digest: str | None
    files: tuple[PlannedFile, ...]
    layers: tuple[PlannedLayer, ...]
    licence: str | None = None
    gated: str | None = None
    digest: str | None = None
    """The image's digest, where every layer's is known beforehand."""
    standing: str | None = None
    """Digest of what the target's tag names now."""
    notes: tuple[str, ...] = ()
    """What the bake would leave out that the target's image has."""

    @property
    def size(self) -> int:
        """Bytes of all layers."""
        return sum(layer.size for layer in self.layers)

    @property
    def reused(self) -> int:
        """Bytes of the layers that are known to be at the target already."""
        return sum(layer.size for layer in self.layers if layer.present)

    @property
    def to_send(self) -> int:
        """Bytes of the layers that are known to be missing and cannot be mounted."""
        return sum(layer.size for layer in self.layers if layer.present is False and not layer.mountable)

    @property
    def to_mount(self) -> int:
        """Bytes of the layers that the registry will be asked to take over."""
        return sum(layer.size for layer in self.layers if not layer.present and layer.mountable)

    @property
    def undecided(self) -> int:
        """Bytes of the layers of which only reading them tells whether they are there."""
        return self.size - self.reused - self.to_mount - self.to_send

    def to_json(self) -> dict[str, Any]:
        """Plain data for `--json`."""
        sums = {
            "size": self.size,
            "reused": self.reused,
            "to_mount": self.to_mount,
            "to_send": self.to_send,
            "undecided": self.undecided,
        }
        return {"plan": {**asdict(self), **sums, "layerRule": LAYER_RULE}}


@dataclass(frozen=True)
class LayerReceipt:
    """A layer of the finished image."""

    role: Role
    label: str
    digest: str
    size: int
    files: int
    outcome: Outcome


@dataclass(frozen=True)
class BakeReceipt:
    """A finished bake."""

    image: str
    """The image pinned by digest, ready for a stack's `image`."""
    digest: str
    config_digest: str
    kind: SourceKind
    model: str
    revision: str
    name: str
    served_name: str
    base_digest: str | None
    layers: tuple[LayerReceipt, ...]
    size: int
    """Bytes of all layers."""
    sent_bytes: int
    """Layer bytes that moved to the target."""
    hashed_bytes: int
    """Layer bytes that were read to learn their digest without being sent."""
    seconds: float
    attached: tuple[Attached, ...] = ()
    """What belongs to the image and stands beside it in the registry."""

    def to_json(self) -> dict[str, Any]:
        """Plain data for `--json`."""
        return {"receipt": {**asdict(self), "layerRule": LAYER_RULE}}


Kind = Literal["plan", "receipt"]


class Tellable(Protocol):
    """A plan or a receipt."""

    def to_json(self) -> dict[str, Any]:
        """Plain data."""


def as_json_line(value: Tellable) -> str:
    """Serialise a plan or receipt on one line."""
    return json.dumps(value.to_json(), sort_keys=True)
