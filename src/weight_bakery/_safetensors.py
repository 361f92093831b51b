"""What a sound safetensors file looks like, judged from its header and its length alone.

The check reads eight bytes and the header, never the tensors: a file that was cut off, or whose header does not fit
its length, is refused before anything is sent.
"""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeGuard

from weight_bakery._errors import CorruptWeights
from weight_bakery._sources import Reader

_HEADER_LIMIT = 100_000_000  # the format's own limit
_BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
    "U16": 16, "I16": 16, "F16": 16, "BF16": 16, "U32": 32, "I32": 32, "F32": 32, "U64": 64, "I64": 64, "F64": 64,
    "C64": 64, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6,
}  # fmt: skip


@dataclass(frozen=True)
class Tensor:
    """A tensor as a header describes it; `begin` and `end` count from the start of the file's data."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


@dataclass(frozen=True)
class Header:
    """A sound header: its tensors in the order of their data, without gaps, up to the end of the file."""

    metadata: Mapping[str, Any] | None
    tensors: tuple[Tensor, ...]
    data: int
    """Where the data begins in the file."""


def check_safetensors(name: str, size: int, reader: Reader) -> None:
    """Raise CorruptWeights when the file `name` of `size` bytes cannot be a whole safetensors file."""
    read_header(name, size, reader)


def read_header(name: str, size: int, reader: Reader) -> Header:
    """Read and check the header of the file `name` of `size` bytes."""
    if size < 8:
        raise _broken(name, f"is {size} bytes long, too short for a safetensors file")
    length = int.from_bytes(_exactly(name, reader, 8), "little")
    if length > min(_HEADER_LIMIT, size - 8):
        raise _broken(name, f"says its header is {length} bytes long, but the file has {size} bytes")
    header = _parse(name, _exactly(name, reader, length))
    body = size - 8 - length
    metadata = header.pop("__metadata__", None)
    spans = sorted((*_span(name, tensor, entry), tensor) for tensor, entry in header.items())
    position = 0
    for begin, end, tensor in spans:
        if begin != position:
            raise _broken(name, f"has a gap or an overlap at byte {position} of its data, before tensor {tensor!r}")
        position = end
    if position != body:
        raise _broken(name, f"holds {body} bytes of tensors, but its header describes {position}: it was cut off")
    tensors = (
        Tensor(tensor, header[tensor]["dtype"], tuple(header[tensor]["shape"]), begin, end)
        for begin, end, tensor in spans
    )
    return Header(metadata if isinstance(metadata, dict) else None, tuple(tensors), 8 + length)


def shards_of_index(name: str, content: bytes) -> set[str]:
    """Return the file names that a `*.safetensors.index.json` points at."""
    remedy = "download the file again"
    try:
        index = json.loads(content)
    except ValueError as error:
        raise CorruptWeights(f"{name} is not valid JSON ({error})", remedy) from error
    shards = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(shards, dict) or not all(isinstance(shard, str) for shard in shards.values()):
        raise CorruptWeights(f"{name} has no weight_map of tensor names to file names", remedy)
    return set(shards.values())


def _parse(name: str, raw: bytes) -> dict[str, Any]:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        table = dict(pairs)
        if len(table) != len(pairs):
            raise _broken(name, "names a tensor twice")
        return table

    try:
        header = json.loads(raw, object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        raise _broken(name, "has a header that is not JSON") from error
    if not isinstance(header, dict) or not raw.startswith(b"{"):
        raise _broken(name, "has a header that is not a JSON object")
    return header


def _span(name: str, tensor: str, entry: object) -> tuple[int, int]:
    if not isinstance(entry, dict):
        raise _broken(name, f"describes tensor {tensor!r} wrongly")
    dtype, shape, offsets = entry.get("dtype"), entry.get("shape"), entry.get("data_offsets")
    if not isinstance(dtype, str) or not _naturals(shape) or not _naturals(offsets) or len(offsets) != 2:
        raise _broken(name, f"describes tensor {tensor!r} without dtype, shape and data_offsets")
    begin, end = offsets
    if end < begin:
        raise _broken(name, f"gives tensor {tensor!r} a negative length")
    bits = _BITS.get(dtype) or _bits_by_name(dtype)
    # A dtype that is younger than this table still has its offsets checked.
    if bits is not None and (end - begin) * 8 != math.prod(shape) * bits:
        raise _broken(name, f"gives tensor {tensor!r} {end - begin} bytes, which {dtype} {shape} does not have")
    return begin, end


def _naturals(value: object) -> TypeGuard[list[int]]:
    return isinstance(value, list) and all(type(item) is int and item >= 0 for item in value)


def _bits_by_name(dtype: str) -> int | None:
    match = re.fullmatch(r"[UIF](8|16|32|64)", dtype)
    return int(match[1]) if match else None


def _exactly(name: str, reader: Reader, size: int) -> bytes:
    parts = []
    while size:
        part = reader.read(size)
        if not part:
            raise _broken(name, "ends inside its own header")
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def _broken(name: str, what: str) -> CorruptWeights:
    return CorruptWeights(f"{name} {what}", "download the file again")
