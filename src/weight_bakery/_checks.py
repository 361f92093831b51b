"""Looking before baking: config.json, every index and every safetensors header, without reading a tensor."""

import asyncio
import hashlib
import json
from collections.abc import Callable
from typing import TypeVar

from weight_bakery._errors import CorruptWeights, SourceDamaged, SourceError
from weight_bakery._safetensors import check_safetensors, shards_of_index
from weight_bakery._selection import Selection, check_shards
from weight_bakery._sources import SourceFile, WeightSource
from weight_bakery._threads import Threads

_JSON_LIMIT = 64 * 1024 * 1024
_TRIES = 3
T = TypeVar("T")


def patiently(source: WeightSource, look: Callable[[], T]) -> T:
    """Look again before the model is blamed: what came over a network may have been damaged on its way."""
    for _ in range(0 if source.cheap else _TRIES - 1):
        try:
            return look()
        except (CorruptWeights, SourceDamaged):
            continue
    return look()


async def check_model(selection: Selection, source: WeightSource, unknown: set[str], threads: Threads) -> None:
    """Raise for a model that cannot work. Weight files not in `unknown` passed these checks in an earlier bake."""
    loop = asyncio.get_running_loop()
    jobs = [loop.run_in_executor(threads.readers, _check_file, file, selection, source) for file in selection.others]
    jobs += [
        loop.run_in_executor(threads.readers, _check_file, file, selection, source)
        for file in selection.weights
        if file.path in unknown
    ]
    for result in await asyncio.gather(*jobs, return_exceptions=True):
        if isinstance(result, BaseException):
            raise result


def _check_file(file: SourceFile, selection: Selection, source: WeightSource) -> None:
    patiently(source, lambda: _look_at(file, selection, source))


def _look_at(file: SourceFile, selection: Selection, source: WeightSource) -> None:
    if file.path == "config.json":
        _check_config(whole_file(file, source))
    elif file.path.endswith(".safetensors.index.json"):
        check_shards(file.path, shards_of_index(file.path, whole_file(file, source)), selection)
    elif file.path.endswith(".safetensors"):
        with source.open(file.path) as reader:
            check_safetensors(file.path, file.size, reader)


def _check_config(content: bytes) -> None:
    try:
        config = json.loads(content)
    except ValueError as error:
        raise SourceError(f"config.json is not valid JSON ({error})", "download the file again") from error
    if not isinstance(config, dict):
        raise SourceError("config.json is not a JSON object", "download the file again")


def whole_file(file: SourceFile, source: WeightSource) -> bytes:
    """Read a small file, and compare it with what its source promised."""
    if file.size > _JSON_LIMIT:
        raise SourceError(f"{file.path} is {file.size} bytes long, too long for what it is", "check the file")
    parts = []
    with source.open(file.path) as reader:
        while part := reader.read(1 << 20):
            parts.append(part)
    content = b"".join(parts)
    git_oid = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
    if file.sha256 not in (None, hashlib.sha256(content).hexdigest()) or file.git_oid not in (None, git_oid):
        raise SourceDamaged(f"{file.path} has not the digest its source promised", "run the bake again")
    return content
