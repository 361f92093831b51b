"""What seeding a network volume is asked for, what it plans and what it hands back; and where volumes are reached."""

import re
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from weight_bakery._errors import BadRequest
from weight_bakery._references import SourceChoice, is_address, is_loopback

DATA_CENTERS = (
    "EU-CZ-1", "EU-RO-1", "EUR-IS-1", "EUR-NO-1", "US-CA-2", "US-GA-2", "US-IL-1", "US-KS-2", "US-MD-1", "US-MO-1",
    "US-MO-2", "US-NC-1", "US-NC-2", "US-NE-1", "US-WA-1",
)  # fmt: skip
"""Where network volumes have an S3 API. RunPod's catalogue does not say, so this list is kept by hand."""

CACHE_PREFIX = "huggingface-cache/hub"
"""Where the worker looks below its BASE_PATH, and where RunPod's own model cache lies."""
MOUNT = "/runpod-volume"
"""Where a serverless worker sees a network volume."""

MIB = 1 << 20
PART_SIZE = 32 * MIB
MAX_PART_SIZE = 476 * MIB
"""The gateway takes requests below 500 MB (decimal)."""
MIN_PART_SIZE = 5 * MIB
_MAX_PARTS = 10_000

_VOLUME = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*(?:/[\w.-]+)?")

Verify = Literal["etag", "read-back"]
"""How a file counts as there: by size and ETag (read back only where the ETag says nothing), or always read back."""
FileState = Literal["present", "check", "resume", "send"]
"""Present: was seeded before and is unchanged. Check: there with the right size, must be read back. Resume: partly
sent. Send: missing or different."""


@dataclass(frozen=True)
class SeedRequest:
    """Put a model on the network volume `volume`, where workers find it as a Hugging Face cache."""

    volume: str
    """The volume's id, which is the bucket's name."""
    datacenter: str | None = None
    endpoint_url: str | None = None
    """Address of the S3 API, where it is not the data centre's own."""
    profile: str | None = None
    """Profile of the AWS configuration that holds the volume's keys."""
    target: str | None = None
    """Which entry of the lock to take, when `model` is not given; the only one if None."""
    lock: Path | None = None
    model: str | None = None
    """A model as for a bake; what the lock names when None."""
    source: SourceChoice = "auto"
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    repository: str | None = None
    """Repository id that workers ask for; the model's own when None."""
    prefix: str = CACHE_PREFIX
    part_size: int | None = None
    flows: int = 4
    """Files in flight at once; each holds one part in memory."""
    verify: Verify = "etag"
    prune: bool = False
    """Delete other snapshots of this model, once this one is complete."""
    read_timeout_s: float = 120.0
    complete_timeout_s: float = 7200.0
    """Joining the parts of a large file takes the gateway long."""
    hub_endpoint: str | None = None
    hub_token: str | None = field(default=None, repr=False)
    hf_cache: Path | None = None
    docker_config: Path | None = None


@dataclass(frozen=True)
class SeedFile:
    """A file and what is to be done about it."""

    path: str
    key: str
    size: int
    state: FileState
    there: int = 0
    """Bytes that an interrupted run has sent already."""


@dataclass(frozen=True)
class SeedPlan:
    """What seeding would do. Making it sends nothing."""

    volume: str
    endpoint: str
    repository: str
    revision: str
    snapshot: str
    """Key of the snapshot's folder."""
    files: tuple[SeedFile, ...]
    refs_main: str | None
    """The commit that refs/main names now."""

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)

    @property
    def to_send(self) -> int:
        """Bytes that have to move; files to be checked are expected to be right."""
        return sum(file.size - file.there for file in self.files if file.state in ("resume", "send"))

    def to_json(self) -> dict[str, Any]:
        """Plain data for `--json`."""
        return {"plan": {**asdict(self), "size": self.size, "to_send": self.to_send}}


@dataclass(frozen=True)
class SeedReceipt:
    """A seeded volume."""

    volume: str
    endpoint: str
    repository: str
    revision: str
    snapshot: str
    files: int
    size: int
    sent_bytes: int
    """Bytes of model files that moved to the volume."""
    read_back_bytes: int
    """Bytes that were read from the volume to compare their digest."""
    pruned: int
    """Objects of other snapshots that were deleted."""
    seconds: float
    environment: dict[str, str]
    """What the endpoint's environment must say for the worker to find the model."""

    def to_json(self) -> dict[str, Any]:
        """Plain data for `--json`."""
        return {"receipt": asdict(self)}


def check_volume(request: SeedRequest) -> str:
    """Return the address of the volume's S3 API. Raises BadRequest for what cannot be one."""
    if not _VOLUME.fullmatch(request.volume):
        raise BadRequest(
            f"--volume {request.volume!r} is not the id of a network volume",
            "give its id, not its name (console: Storage)",
        )
    if request.part_size is not None and not MIN_PART_SIZE <= request.part_size <= MAX_PART_SIZE:
        raise BadRequest(f"--part-size {request.part_size} is out of range", "choose 5MiB to 476MiB")
    if request.prefix.startswith("/") or {"", ".", ".."} & set(request.prefix.split("/")):
        raise BadRequest(f"--prefix {request.prefix!r} is not a folder of the volume", f"write {CACHE_PREFIX}")
    center = request.datacenter.upper() if request.datacenter else None
    if request.endpoint_url is not None:
        parts = urlsplit(request.endpoint_url) if is_address(request.endpoint_url) else None
        if parts is None or parts.username or parts.query:
            raise BadRequest(f"--endpoint-url {request.endpoint_url!r} is not an address", "write https://<host>")
        if parts.scheme == "http" and not is_loopback(parts.netloc):
            raise BadRequest("--endpoint-url is plain http, and not on this machine", "write https://<host>")
        return request.endpoint_url.rstrip("/")
    if center is None:
        raise BadRequest("the volume's data centre is not given", "name it with --datacenter, EU-RO-1 for example")
    if center not in DATA_CENTERS:
        raise BadRequest(
            f"--datacenter {request.datacenter!r} is not known to have an S3 API",
            f"there are {', '.join(DATA_CENTERS)}; for a newer one give --endpoint-url",
        )
    return f"https://s3api-{center.lower()}.runpod.io"


def check_repository(repository: str) -> str:
    """Return a repository id that a cache folder can be named after."""
    if not _REPOSITORY.fullmatch(repository) or ".." in repository or "--" in repository:
        raise BadRequest(f"{repository!r} is not a repository id", "name one with --repository <owner>/<name>")
    return repository


def part_size(size: int, wanted: int | None = None) -> int:
    """Length of a file's parts: a function of its size alone, so that another run can go on with a started upload."""
    least = -(-size // _MAX_PARTS)
    chosen = max(wanted or PART_SIZE, -(-least // MIB) * MIB)
    if chosen > MAX_PART_SIZE:
        raise BadRequest(f"a file of {size} bytes is too large for the volume's S3 API", "split it: 4 TB is the limit")
    return chosen
