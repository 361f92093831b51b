"""Archives on a network volume, fetched through its S3 API with the calls that seeding uses."""

import re
from pathlib import Path

from weight_bakery._errors import BadRequest, HarvestError
from weight_bakery._harvest_find import Tell
from weight_bakery._harvest_key import MAX_FILES
from weight_bakery._harvest_request import HarvestRequest
from weight_bakery._seed_request import SeedRequest, check_volume
from weight_bakery._seed_s3 import Volume

_ARCHIVE = re.compile(r"(?:.*/)?[0-9a-f]{16}\.tar")
_HEADERS = 1 << 30
"""What an archive may need beside its contents; generous, since it is only there to stop nonsense."""


def fetch_archives(request: HarvestRequest, scratch: Path, tell: Tell) -> list[Path]:
    """Fetch the archives below the folder (or the one archive) that `--from s3://` names. Raises BakeryError."""
    name, _, prefix = request.source.removeprefix("s3://").partition("/")
    prefix = prefix.strip("/")
    if not name or {".", ".."} & set(prefix.split("/")):
        raise BadRequest(
            f"--from {request.source!r} names no network volume and folder", "write s3://<volume id>/<folder>"
        )
    seeding = SeedRequest(
        volume=name, datacenter=request.datacenter, endpoint_url=request.endpoint_url, profile=request.profile
    )
    volume = Volume(seeding, check_volume(seeding), tell)
    one = prefix.endswith(".tar")
    keys = [prefix] if one else [
        key for key in volume.keys(f"{prefix}/" if prefix else "")
        if _ARCHIVE.fullmatch(key) and "/" not in key[len(prefix) :].strip("/")
    ]  # fmt: skip
    if not keys:
        raise HarvestError(
            f"{request.source} holds no start-up caches", "start a worker with WORKER_CACHE_HARVEST set to that folder"
        )
    paths = []
    for number, key in enumerate(sorted(keys)):
        there = volume.head(key)
        if there is None:
            raise HarvestError(f"{request.source} does not exist", "list the volume, and name a folder that is there")
        if there.size > request.max_size + min(_HEADERS, MAX_FILES * 1024):
            raise HarvestError(f"s3://{name}/{key} has {there.size} bytes", "raise --max-size if that is right")
        path = scratch / f"{number}.tar"
        with path.open("xb") as stream:
            volume.read("fetch", key, there.size, stream.write)
        paths.append(path)
    return paths
