"""`key.json`: for which machine, vLLM and flags start-up caches were made, and which files they are.

The worker writes it; nothing in it is believed here. What is read is checked and written down again in one form, so
that equal caches are an equal layer. The name of caches is a function of their key alone (`caches_id`).
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from weight_bakery._errors import HarvestError

FORMAT = 1
FOLDERS = ("flashinfer", "inductor", "nv", "triton", "vllm")
"""What caches may hold: FlashInfer's and Inductor's kernels, the driver's PTX cache, Triton's kernels, vLLM's own."""
MAX_FILES = 200_000
MAX_KEY_FILE = 64 * 1024 * 1024

_SHA256 = re.compile(r"[0-9a-f]{64}")
_ID = re.compile(r"[0-9a-f]{16}")
_REMEDY = "let a worker write the caches again"
_MAX_PATH = 1024
_MAX_TEXT = 64 * 1024
_MAX_TIME = 1 << 40


@dataclass(frozen=True)
class CacheFile:
    """A file of the caches, by its path below the worker's cache folder."""

    path: str
    size: int
    sha256: str
    executable: bool
    mtime: int
    """Seconds since 1970: FlashInfer's build tool compares times."""


@dataclass(frozen=True)
class KeyFile:
    """What `key.json` says, checked."""

    key: Mapping[str, Any]
    facts: Mapping[str, str]
    files: tuple[CacheFile, ...]

    @property
    def id(self) -> str:
        """The name of the caches."""
        return caches_id(self.key)

    @property
    def gpu(self) -> str:
        """Name of the GPU (or CPU)."""
        return str(self.key["gpu"]["name"])

    @property
    def vllm(self) -> str:
        """Version of vLLM."""
        return str(self.key["software"]["vllm"])

    @property
    def model_path(self) -> str:
        """Where the model lay."""
        return str(self.key["model"]["path"])

    @property
    def model_config(self) -> str | None:
        """sha256 of the model's config.json, hexadecimal."""
        found = self.key["model"]["config"]
        return None if found is None else str(found).removeprefix("sha256:")

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)

    def dump(self) -> bytes:
        """The file in the one form that it has in an image."""
        files = [asdict(file) for file in sorted(self.files, key=lambda file: file.path)]
        document = {"format": FORMAT, "id": self.id, "key": self.key, "facts": self.facts, "files": files}
        return (canonical(document) + "\n").encode()


def caches_id(key: Mapping[str, Any]) -> str:
    """Sixteen hexadecimal digits that name a key, whatever order its parts stand in."""
    return hashlib.sha256(f"start-up caches {FORMAT}\n{canonical(key)}".encode()).hexdigest()[:16]


def canonical(value: object) -> str:
    """JSON in one way only."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def read_key_file(content: bytes, where: str) -> KeyFile:
    """Read and check a key file; `where` names it. Raises HarvestError."""
    try:
        document = json.loads(content)
        written = document["format"]
    except (ValueError, RecursionError, KeyError, TypeError) as error:
        raise HarvestError(f"{where} is not a key file", _REMEDY) from error
    if type(written) is not int or written != FORMAT:
        raise HarvestError(f"{where} has the format {written!r}, and this version reads {FORMAT}", "update vllm-runpod")
    try:
        key = _key(document["key"])
        facts = {_text(name): _text(value) for name, value in _mapping(document.get("facts", {})).items()}
        listed = document["files"]
        if not isinstance(listed, list) or not 0 < len(listed) <= MAX_FILES:
            raise _Wrong("files")
        files = tuple(sorted((_file(item) for item in listed), key=lambda file: file.path))
        _check_tree([file.path for file in files])
        found = KeyFile(key, facts, files)
        if document.get("id") != found.id:
            raise _Wrong("id")
    except _Wrong as wrong:
        raise HarvestError(f"{where} is damaged or made up ({wrong})", _REMEDY) from wrong
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise HarvestError(f"{where} is damaged or made up ({type(error).__name__}: {error})", _REMEDY) from error
    return found


def is_id(text: str) -> bool:
    """Whether a text can be the name of caches."""
    return _ID.fullmatch(text) is not None


class _Wrong(Exception):
    """A value that no worker writes."""


def _key(value: Any) -> Mapping[str, Any]:
    """The key, with nothing in it that is not known."""
    gpu, software, model = (_mapping(value[part]) for part in ("gpu", "software", "model"))
    if set(value) != {"gpu", "software", "model", "flags", "environment"} or set(model) != {"path", "config"}:
        raise _Wrong("key")
    config = model["config"]
    if config is not None and not _SHA256.fullmatch(_text(config).removeprefix("sha256:")):
        raise _Wrong("key.model.config")
    if not isinstance(value["flags"], list):
        raise _Wrong("key.flags")
    key: dict[str, Any] = {
        "gpu": {
            "name": _text(gpu["name"], some=True),
            "capability": _text(gpu["capability"]),
            "memory_gib": _whole(gpu["memory_gib"], 1 << 20),
        },
        "software": {
            _text(name): None if version is None else _text(version, some=True) for name, version in software.items()
        },
        "model": {"path": _text(model["path"], some=True), "config": config},
        "flags": [[_text(word) for word in flag] for flag in value["flags"]],
        "environment": {_text(name): _text(text) for name, text in _mapping(value["environment"]).items()},
    }
    if set(gpu) != set(key["gpu"]) or key["software"].get("vllm") is None:
        raise _Wrong("key.gpu or key.software")
    return key


def _file(value: Any) -> CacheFile:
    file = CacheFile(
        _path(value["path"]),
        _whole(value["size"], 1 << 43),
        _text(value["sha256"]),
        value["executable"],
        _whole(value["mtime"], _MAX_TIME),
    )
    if not _SHA256.fullmatch(file.sha256) or not isinstance(file.executable, bool):
        raise _Wrong(f"files: {file.path}")
    return file


def _path(value: Any) -> str:
    path = _text(value, some=True)
    parts = path.split("/")
    plain = len(parts) > 1 and parts[0] in FOLDERS and not {"", ".", ".."} & set(parts)
    if not plain or len(path.encode()) > _MAX_PATH or not path.isprintable() or "\\" in path:
        raise _Wrong(f"files: {path[:100]!r} is no place in a cache folder")
    return path


def _check_tree(paths: list[str]) -> None:
    """Refuse a path that is there twice, and one that is a file and a folder."""
    known = set(paths)
    if len(known) != len(paths):
        raise _Wrong("files: a path stands there twice")
    for path in paths:
        parent = path.rpartition("/")[0]
        while parent:
            if parent in known:
                raise _Wrong(f"files: {parent!r} is a file and a folder")
            parent = parent.rpartition("/")[0]


def _mapping(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise _Wrong("something else stands where a map belongs")
    return value


def _text(value: Any, *, some: bool = False) -> str:
    if not isinstance(value, str) or len(value) > _MAX_TEXT or (some and not value.strip()):
        raise _Wrong(f"{str(value)[:60]!r} stands where a text belongs")
    value.encode()  # a lone surrogate is a ValueError
    return value


def _whole(value: Any, limit: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < limit:
        raise _Wrong(f"{str(value)[:60]!r} stands where a number belongs")
    return value
