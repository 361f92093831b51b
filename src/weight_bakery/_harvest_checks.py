"""What must not get into an image with start-up caches: somebody's secrets, and kernels of another GPU."""

import json
import re
from collections.abc import Callable, Iterator

from weight_bakery._errors import HarvestError
from weight_bakery._harvest_key import CacheFile
from weight_bakery._harvest_tree import CONTENT, Caches

# Narrower than what is hidden in logs: compiled models are full of names like "hf_overrides".
_SECRET = re.compile(
    rb"hf_[A-Za-z0-9]{30,}|rp[as]_[A-Za-z0-9]{20,}|gh[pousr]_[A-Za-z0-9]{30,}|AKIA[0-9A-Z]{16}"
    rb"|-----BEGIN [A-Z ]{0,20}PRIVATE KEY-----"
)
_CHUNK = 1 << 20
_OVERLAP = 256
_SMALL = 64 * 1024


def check_contents(caches: Caches, advance: Callable[[int], None] = lambda _: None) -> None:
    """Read everything once. Raises HarvestError for a secret, or for a kernel that another GPU's compiler made."""
    key = caches.key_file
    if found := _SECRET.search(key.dump()):
        raise HarvestError(
            f"{caches.where}: {_kind(found[0])} stands in its key", "start the worker without it, and harvest again"
        )
    architecture = str(key.key["gpu"]["capability"]).replace(".", "")
    for file in {file.sha256: file for file in key.files}.values():
        with caches.open(CONTENT + file.sha256) as reader:
            tail = b""
            while chunk := reader.read(_CHUNK):
                if found := _SECRET.search(tail + chunk):
                    raise HarvestError(
                        f"{caches.where}: {_kind(found[0])} stands in {file.path}",
                        "start the worker without it, and harvest again",
                    )
                tail = chunk[-_OVERLAP:]
                advance(len(chunk))
    for file, target in _triton_targets(caches):
        if target != architecture:
            raise HarvestError(
                f"{caches.where}: {file.path} was made for compute capability {target}, the key says {architecture}",
                "caches of several GPUs are mixed here: let each kind of worker write its own",
            )


def _triton_targets(caches: Caches) -> Iterator[tuple[CacheFile, str]]:
    """Triton's notes beside its kernels say for which architecture each was made."""
    for file in caches.key_file.files:
        if not file.path.startswith("triton/") or not file.path.endswith(".json") or file.size > _SMALL:
            continue
        with caches.open(CONTENT + file.sha256) as reader:
            try:
                target = json.loads(reader.read(_SMALL))["target"]
                if target["backend"] == "cuda":
                    yield file, str(target["arch"])
            except (ValueError, KeyError, TypeError, RecursionError):
                continue  # not every JSON file there is such a note


def _kind(found: bytes) -> str:
    if found.startswith(b"-----"):
        return "a private key"
    return f"what looks like a secret ({found[:4].decode()}…)"
