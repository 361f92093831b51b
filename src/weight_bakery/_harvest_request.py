"""What a harvest is asked for, what it plans, and what it hands back."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from weight_bakery._events import Outcome
from weight_bakery._lock import LockedCaches
from weight_bakery._request import Credentials

GIB = 1 << 30


@dataclass(frozen=True)
class HarvestRequest:
    """Append the start-up caches in `source` to the baked image `image`."""

    image: str
    source: str
    """An archive that a worker wrote, a folder with such archives (or one unpacked), or `s3://<volume>/<folder>`."""
    to: str | None = None
    """Where the result goes; `image`'s own tag when None."""
    lock: Path | None = None
    """weights.lock whose entry follows; None keeps none."""
    max_size: int = 8 * GIB
    """Caches of one key that are larger are refused."""
    flows: int = 4
    datacenter: str | None = None
    """Data centre of the network volume in `s3://`, as for `bake seed`."""
    endpoint_url: str | None = None
    profile: str | None = None
    credentials: Credentials | None = None
    """Login for the target's registry; Docker's configuration when None."""
    docker_config: Path | None = None


@dataclass(frozen=True)
class HarvestedCaches:
    """Caches of one key, and what becomes of their layer."""

    id: str
    gpu: str
    vllm: str
    driver: str
    files: int
    size: int
    """Bytes of the layer."""
    digest: str
    outcome: Outcome | None
    """None in a plan: not there yet."""
    replaces: str | None
    """Digest of the layer that the image had for this key."""


@dataclass(frozen=True)
class HarvestPlan:
    """What a harvest would do. Making it writes nothing."""

    target: str
    caches: tuple[HarvestedCaches, ...]
    kept: tuple[LockedCaches, ...]
    """Caches of other keys, which stay in the image."""
    notes: tuple[str, ...]
    previous_digest: str
    digest: str
    """The image's digest afterwards."""

    def to_json(self) -> dict[str, Any]:
        """Plain data for `--json`."""
        return {"plan": asdict(self)}


@dataclass(frozen=True)
class HarvestReceipt:
    """A finished harvest."""

    image: str
    digest: str
    previous_digest: str
    caches: tuple[HarvestedCaches, ...]
    kept: tuple[LockedCaches, ...]
    sent_bytes: int
    """Layer bytes that moved to the target."""
    weight_bytes: int
    """Those of them that are not start-up caches: none, unless the result goes to another place."""
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """Plain data for `--json`."""
        return {"harvest": asdict(self)}
