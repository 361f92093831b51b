"""Re-sharding: a safetensors file that is too large for a layer becomes several valid ones while it is sent.

Tensor bytes are copied as they are; only headers and the index are written anew. The result is a pure function of the
file and the limit; docs/layer-rule.md says it byte by byte. Nothing is stored: a shard is its new header and one range
of the original.
"""

import hashlib
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import PurePosixPath
from typing import Any

from weight_bakery._checks import patiently, whole_file
from weight_bakery._errors import CorruptWeights, SourceDamaged
from weight_bakery._layer_rule import BLOCK, TRAILER
from weight_bakery._safetensors import Header, Tensor, read_header
from weight_bakery._selection import LeftOut, Selection
from weight_bakery._sources import Inventory, Notice, Reader, SourceFile, WeightSource

RESHARD_RULE = 1
_INDEX = ".safetensors.index.json"
_READ = 2 * 1024 * 1024


@dataclass(frozen=True)
class Shard:
    """A part of a safetensors file that is a safetensors file itself: a header, and one range of the original."""

    path: str
    header: bytes
    begin: int
    end: int
    tensors: tuple[Tensor, ...]

    @property
    def size(self) -> int:
        """Length of the file in bytes."""
        return len(self.header) + self.end - self.begin


@dataclass(frozen=True)
class Split:
    """A file that was too large, and what became of it."""

    original: SourceFile
    limit: int
    """Largest layer, in bytes."""
    shards: tuple[Shard, ...]


@dataclass(frozen=True)
class Resharding:
    """What is baked when files had to be split."""

    selection: Selection
    source: WeightSource
    splits: tuple[Split, ...] = ()


def reshard(selection: Selection, source: WeightSource, root: str, limit: int | None, notice: Notice) -> Resharding:
    """Split the safetensors files whose layer below `root` would be larger than `limit` bytes.

    Reads headers and indexes only. A tensor that is larger than the limit gets a shard of its own.
    """
    if limit is None:
        return Resharding(selection, source)
    splits = []
    for file in selection.weights:
        room = file_room(f"{root}/{file.path}", limit)
        if file.path.endswith(".safetensors") and file.size > room:
            header = _header_of(file, source)
            shards = split_file(file.path, header, room)
            if len(shards) > 1:
                splits.append(Split(file, limit, shards))
            for shard in shards:
                if shard.size > room:
                    tensor = max(shard.tensors, key=lambda item: item.end - item.begin)
                    notice(
                        f"{file.path}: tensor {tensor.name} has {tensor.end - tensor.begin:,} bytes, more than a layer"
                        f" of {limit:,} holds; a tensor cannot be split, so it gets a layer of its own"
                    )
    if not splits:
        return Resharding(selection, source)
    documents = _indexes(selection, source, splits)
    return _apply(selection, source, splits, documents)


def file_room(path: str, limit: int) -> int:
    """Size of the largest file whose layer has at most `limit` bytes, `path` being its path in the image."""
    entries = path.count("/") + 1  # one for each folder above it, and its own
    return max(limit - entries * BLOCK - len(TRAILER), 0) // BLOCK * BLOCK


def split_file(path: str, header: Header, room: int) -> tuple[Shard, ...]:
    """Take tensors in the order of their data, and begin a new shard where the file would outgrow `room` bytes."""
    groups: list[list[Tensor]] = []
    metadata = _metadata(header)
    prefix = 2 + (len(metadata) + 1 if metadata else 0)  # braces, and a comma
    length = 0
    for tensor in header.tensors:
        base = groups[-1][0].begin if groups else 0
        if groups:
            longer = length + 1 + len(_entry(tensor, base))
            if 8 + _aligned(longer) + tensor.end - base <= room:
                groups[-1].append(tensor)
                length = longer
                continue
        groups.append([tensor])
        length = prefix + len(_entry(tensor, tensor.begin))
    stem = path.removesuffix(".safetensors")
    return tuple(
        Shard(
            f"{stem}-{number:05}-of-{len(groups):05}.safetensors",
            _header(header, group),
            header.data + group[0].begin,
            header.data + group[-1].end,
            tuple(group),
        )
        for number, group in enumerate(groups, start=1)
    )


def read_split(source: WeightSource, split: Split) -> dict[str, str]:
    """Read an original once, from its start to its end; returns the sha256 of its shards.

    Raises SourceDamaged when the file is not what its source promised: a shard by itself could not show that.
    """
    whole = hashlib.sha256()
    found: dict[str, str] = {}
    with source.open(split.original.path) as reader:
        head = _read(reader, split.shards[0].begin)
        whole.update(head)
        position = len(head)
        for shard in split.shards:
            part = hashlib.sha256(shard.header)
            position += _feed(reader, shard.end - shard.begin, [whole, part])
            found[shard.path] = part.hexdigest()
    promised = split.original.sha256
    if position != split.original.size or (promised is not None and whole.hexdigest() != promised):
        raise SourceDamaged(f"{split.original.path} has not the digest its source promised", "run the bake again")
    header = read_header(split.original.path, split.original.size, io.BytesIO(head))
    tensors = tuple(tensor for shard in split.shards for tensor in shard.tensors)
    if tensors != header.tensors or any(shard.header != _header(header, shard.tensors) for shard in split.shards):
        raise SourceDamaged(f"the header of {split.original.path} arrived damaged", "run the bake again")
    return found


class ReshardedSource:
    """A source whose too large files are shown as their shards, with the indexes that fit."""

    def __init__(self, inner: WeightSource, splits: Sequence[Split], documents: Mapping[str, bytes]) -> None:
        self.inner = inner
        self.cheap = inner.cheap
        self._shards = {shard.path: (split.original, shard) for split in splits for shard in split.shards}
        self._documents = documents

    @property
    def flow_limit(self) -> int | None:
        """What the source itself says."""
        return self.inner.flow_limit

    def inventory(self) -> Inventory:
        """The files as they are in the source."""
        return self.inner.inventory()

    def key(self, path: str) -> str:
        """A shard is named by its original, its range and its header."""
        if path in self._documents:
            return f"{self.inner.key(path)}#{hashlib.sha256(self._documents[path]).hexdigest()[:16]}"
        if path not in self._shards:
            return self.inner.key(path)
        original, shard = self._shards[path]
        header = hashlib.sha256(shard.header).hexdigest()[:16]
        return f"{self.inner.key(original.path)}#{shard.begin}-{shard.end}-{header}"

    @contextmanager
    def open(self, path: str, offset: int = 0) -> Iterator[Reader]:
        """Open a file, a shard or an index at `offset`."""
        if path in self._documents:
            yield _Part(self._documents[path][offset:], None, 0)
            return
        if path not in self._shards:
            with self.inner.open(path, offset) as reader:
                yield reader
            return
        original, shard = self._shards[path]
        head = shard.header[offset:]
        start = shard.begin + max(offset - len(shard.header), 0)
        with self.inner.open(original.path, start) as reader:
            yield _Part(head, reader, shard.end - start)

    def close(self) -> None:
        """Close the source."""
        self.inner.close()


class _Part:
    """Some bytes, then a number of bytes of another reader."""

    def __init__(self, head: bytes, reader: Reader | None, rest: int) -> None:
        self._head = memoryview(head)
        self._reader = reader
        self._rest = rest

    def read(self, size: int, /) -> bytes:
        """Return up to `size` bytes, none at the end."""
        if self._head:
            piece, self._head = bytes(self._head[:size]), self._head[size:]
            return piece
        if not self._rest or self._reader is None:
            return b""
        piece = self._reader.read(min(size, self._rest))
        self._rest -= len(piece)
        return piece


def _apply(
    selection: Selection, source: WeightSource, splits: Sequence[Split], documents: Mapping[str, bytes]
) -> Resharding:
    made = []
    for split in splits:
        original = split.original
        stamp = original.stamp
        if stamp is None and (original.sha256 or original.git_oid):
            stamp = f"git:{original.sha256 or original.git_oid}"  # a name of the content, as git's is
        made += [SourceFile(shard.path, shard.size, stamp=stamp) for shard in split.shards]
    gone = {split.original.path for split in splits}
    taken = {file.path for file in selection.files} - set(documents)
    for file in made:
        if file.path in taken:
            raise CorruptWeights(
                f"{file.path} stands beside the file it would be a part of", "leave one of the two out with --exclude"
            )
    indexes = [
        SourceFile(path, len(content), sha256=hashlib.sha256(content).hexdigest())
        for path, content in documents.items()
    ]
    return Resharding(
        Selection(
            _sorted([*(file for file in selection.weights if file.path not in gone), *made]),
            _sorted([*(file for file in selection.others if file.path not in documents), *indexes]),
            (
                *selection.left_out,
                *(LeftOut(split.original, f"split into {len(split.shards)} files") for split in splits),
            ),
        ),
        ReshardedSource(source, splits, documents),
        tuple(splits),
    )


def _header_of(file: SourceFile, source: WeightSource) -> Header:
    """Read a header. No digest covers it alone, so of a source on a network two readings have to agree."""

    def read() -> Header:
        with source.open(file.path) as reader:
            return read_header(file.path, file.size, reader)

    def agreed() -> Header:
        header = read()
        if read() != header:
            raise SourceDamaged(f"the header of {file.path} arrives damaged", "run the bake again")
        return header

    return patiently(source, read if source.cheap else agreed)


def _indexes(selection: Selection, source: WeightSource, splits: Sequence[Split]) -> dict[str, bytes]:
    """The indexes that must be written anew, and one for each folder whose split files no index names."""
    documents: dict[str, bytes] = {}
    shards_of = {split.original.path: split.shards for split in splits}
    named: set[str] = set()
    for file in selection.others:
        if not file.path.endswith(_INDEX):
            continue
        index = patiently(source, partial(_read_index, file, source))
        folder = PurePosixPath(file.path).parent
        paths = {name: (folder / name).as_posix() for name in set(index["weight_map"].values())}
        named.update(paths.values())
        if not any(path in shards_of for path in paths.values()):
            continue
        place = {tensor: paths[name] for tensor, name in index["weight_map"].items()}
        for original in sorted(set(place.values()) & shards_of.keys()):
            for shard in shards_of[original]:
                place |= {tensor.name: shard.path for tensor in shard.tensors}
        documents[file.path] = _document({**index, "weight_map": _relative(place, folder)})
    for folder in sorted({PurePosixPath(path).parent for path in shards_of if path not in named}):
        path, content = _new_index(folder, selection, source, shards_of, named)
        documents[path] = content
    return documents


def _new_index(
    folder: PurePosixPath,
    selection: Selection,
    source: WeightSource,
    shards_of: Mapping[str, tuple[Shard, ...]],
    named: set[str],
) -> tuple[str, bytes]:
    """An index over all safetensors files of a folder that no index names yet."""
    place: dict[str, str] = {}
    total = 0
    here = [
        file
        for file in selection.weights
        if file.path.endswith(".safetensors") and PurePosixPath(file.path).parent == folder and file.path not in named
    ]
    for file in here:
        if file.path in shards_of:
            parts = [(shard.path, shard.tensors) for shard in shards_of[file.path]]
        else:
            parts = [(file.path, _header_of(file, source).tensors)]
        for path, tensors in parts:
            for tensor in tensors:
                if tensor.name in place:
                    raise CorruptWeights(
                        f"{path} and {place[tensor.name]} both hold tensor {tensor.name!r}",
                        "leave one of the files out with --exclude",
                    )
                place[tensor.name] = path
                total += tensor.end - tensor.begin
    stems = [PurePosixPath(file.path).name.removesuffix(".safetensors") for file in here if file.path in shards_of]
    stem = "model" if "model" in stems else min(stems)
    index = {"metadata": {"total_size": total}, "weight_map": _relative(place, folder)}
    return (folder / f"{stem}{_INDEX}").as_posix(), _document(index)


def _read_index(file: SourceFile, source: WeightSource) -> dict[str, Any]:
    path = file.path
    try:
        index = json.loads(whole_file(file, source))
        if not all(isinstance(name, str) for name in index["weight_map"].values()):
            raise TypeError("a file name is not text")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CorruptWeights(f"{path} has no weight_map of tensor names to file names", "download it again") from error
    assert isinstance(index, dict)
    return index


def _relative(place: Mapping[str, str], folder: PurePosixPath) -> dict[str, str]:
    return {tensor: PurePosixPath(path).relative_to(folder).as_posix() for tensor, path in place.items()}


def _document(index: Mapping[str, Any]) -> bytes:
    return (json.dumps(index, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()


def _header(header: Header, tensors: Sequence[Tensor]) -> bytes:
    entries = [_entry(tensor, tensors[0].begin) for tensor in tensors]
    raw = b"{" + b",".join([part for part in (_metadata(header),) if part] + entries) + b"}"
    raw = raw.ljust(_aligned(len(raw)))
    return len(raw).to_bytes(8, "little") + raw


def _metadata(header: Header) -> bytes:
    return b"" if header.metadata is None else b'"__metadata__":' + _compact(dict(sorted(header.metadata.items())))


def _entry(tensor: Tensor, base: int) -> bytes:
    offsets = [tensor.begin - base, tensor.end - base]
    content = {"dtype": tensor.dtype, "shape": list(tensor.shape), "data_offsets": offsets}
    return _compact(tensor.name) + b":" + _compact(content)


def _compact(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def _aligned(length: int) -> int:
    return -(-length // 8) * 8


def _sorted(files: Sequence[SourceFile]) -> tuple[SourceFile, ...]:
    return tuple(sorted(files, key=lambda file: file.path))


def _read(reader: Reader, size: int) -> bytes:
    parts: list[bytes] = []
    while size and (piece := reader.read(min(_READ, size))):
        parts.append(piece)
        size -= len(piece)
    return b"".join(parts)


def _feed(reader: Reader, size: int, states: Sequence["hashlib._Hash"]) -> int:
    done = 0
    while done < size:
        piece = reader.read(min(_READ, size - done))
        if not piece:
            break
        for state in states:
            state.update(piece)
        done += len(piece)
    return done
