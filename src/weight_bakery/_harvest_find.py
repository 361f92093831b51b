"""What `--from` names: an archive, a folder with archives or with one unpacked, or a folder of a network volume."""

from collections.abc import Callable
from pathlib import Path

from weight_bakery._errors import BadRequest, HarvestError
from weight_bakery._harvest_request import HarvestRequest
from weight_bakery._harvest_tree import KEY_FILE, Caches, read_archive, read_folder

Tell = Callable[[str], None]
_SUFFIX = ".tar"


def find_caches(request: HarvestRequest, scratch: Path, tell: Tell) -> list[Caches]:
    """Open all caches below `--from`, by their names; `scratch` takes what has to be fetched. Raises BakeryError."""
    if request.source.startswith("s3://"):
        from weight_bakery._harvest_s3 import fetch_archives  # boto3 takes a moment to import

        found = [read_archive(path) for path in fetch_archives(request, scratch, tell)]
    else:
        found = _local(Path(request.source).expanduser())
    return sorted(found, key=lambda caches: caches.key_file.id)


def _local(path: Path) -> list[Caches]:
    if path.is_file():
        return [read_archive(path)]
    if not path.is_dir():
        raise BadRequest(f"--from {str(path)!r} does not exist", "name what WORKER_CACHE_HARVEST was set to")
    if (path / KEY_FILE).exists():
        return [read_folder(path)]
    # A leading dot: a worker is still writing it.
    archives = sorted(item for item in path.iterdir() if item.suffix == _SUFFIX and not item.name.startswith("."))
    if not archives:
        raise HarvestError(
            f"--from {str(path)!r} holds no start-up caches (neither *{_SUFFIX} nor {KEY_FILE})",
            "start a worker with WORKER_CACHE_HARVEST set to this folder",
        )
    return [read_archive(archive) for archive in archives]
