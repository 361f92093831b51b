"""The files of another image as a source: what was baked once goes to another base or registry, and no Hub is asked.

An image of ours says which layers hold weights, with their paths and digests: only those are looked at, and inside one
registry they are mounted. Of any other image every layer is looked through for one folder; layers that are not
compressed are read by ranges, gzip ones from their start each time. No layer is unpacked or kept.
"""

import asyncio
import hashlib
import json
import tarfile
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from concurrent import futures
from contextlib import AbstractAsyncContextManager, contextmanager, suppress
from dataclasses import dataclass
from typing import Any, BinaryIO, TypeVar, cast

from weight_bakery._base import BaseImage, read_base
from weight_bakery._errors import BadRequest, BaseImageError, ModelNotFound, SourceError, SourceUnavailable
from weight_bakery._image_tree import ImageTree, TreeFile
from weight_bakery._layer_rule import LAYER_RULE, content_key
from weight_bakery._licence import CARD, CARD_LIMIT, licence_of
from weight_bakery._media import LAYER, LAYER_GZIP
from weight_bakery._range_file import Inflating, RangeFile, Stream
from weight_bakery._references import ImageModel, ImageReference, RegistryReference
from weight_bakery._sources import Inventory, Reader, SourceFile, WeightSource
from weight_bakery._stores import ImageStore

T = TypeVar("T")
_PREFIX = "io.vllm-runpod"
_CLOSE_S = 2.0
_OURS = frozenset({"weights", "files"})


@dataclass(frozen=True)
class _KeyFile:
    """A file as the content key wants it."""

    path: str
    size: int
    executable: bool = False


class ImageSource:
    """One folder of one image, pinned to its manifest's digest. Has an event loop of its own, for reading blobs."""

    cheap = False
    flow_limit = None

    def __init__(self, model: ImageModel, make_store: Callable[[], ImageStore]) -> None:
        self._model = model
        self._loop = asyncio.new_event_loop()
        self._closed = False
        self._lock = threading.Lock()
        self.contexts: set[AbstractAsyncContextManager[Any]] = set()
        """Blobs that are open; they end with the source."""
        threading.Thread(target=self._run_loop, daemon=True, name="bakery-image").start()
        self._known: dict[str, str] = {}
        try:
            self._store = self._run(_made(make_store))
            self._image = self._read_image()
            self._labels = _labels(self._image)
            self._root = self._find_root()
        except BaseException:
            self.close()
            raise
        self._files: dict[str, TreeFile] = {}

    @property
    def repository(self) -> RegistryReference | None:
        """Where the image is, if that is a registry, for mounting."""
        reference = self._model.image
        return reference if isinstance(reference, RegistryReference) else None

    def known_layers(self) -> Mapping[str, str]:
        """Layer digests by content key, of the layers that are ours; after `inventory`."""
        return self._known

    def layer_digests(self) -> frozenset[str]:
        """Digests of all layers that the image's repository has."""
        return frozenset(layer.digest for layer in self._image.layers)

    def inventory(self) -> Inventory:
        """List the folder's files. The small ones of our own images are read, for their digests."""
        manifest = self._manifest()
        tree = ImageTree()
        for number, (_layer, entry) in enumerate(zip(self._image.layers, manifest["layers"], strict=True)):
            notes = entry.get("annotations") or {}
            if not self._ours or notes.get(f"{_PREFIX}.role") in _OURS:
                self._read_layer(tree, number, notes)
        self._files = dict(tree.below(self._root))
        if not self._files:
            raise ModelNotFound(f"there is no file under {self._root} in {self._model.image}", "check the path after #")
        files = [
            SourceFile(path, file.size, sha256=file.sha256, stamp=self._stamp(file), executable=file.executable)
            for path, file in sorted(self._files.items())
        ]
        if self._ours:
            self._learn_layers(tree)
        name = self._root.rpartition("/")[2]
        said, licence = self._labels.get, self._labels.get(f"{_PREFIX}.licence")
        if licence is None and CARD in self._files:
            with self.open(CARD) as card:
                licence = licence_of(card.read(CARD_LIMIT))
        if not self._ours:
            return Inventory("image", name, None, tuple(files), licence=licence)
        model, revision = said(f"{_PREFIX}.model", name), said(f"{_PREFIX}.revision")
        return Inventory("image", model, revision, tuple(files), licence=licence, gated=said(f"{_PREFIX}.gated"))

    def key(self, path: str) -> str:
        """The layer is in the stamp, so the image need not be."""
        return f"image:{self._root}/{path}"

    @contextmanager
    def open(self, path: str, offset: int = 0) -> Iterator[Reader]:
        """Open a file inside its layer."""
        file = self._files[path]
        with self._layer(file.layer) as stream:
            stream.skip_to(file.offset + offset)
            yield _Limited(stream, file.size - offset)

    def close(self) -> None:
        """Close the store; reads that are under way fail."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        store: ImageStore | None = getattr(self, "_store", None)

        async def end() -> None:
            reads = asyncio.all_tasks() - {asyncio.current_task()}
            for read in reads:
                read.cancel()
            await asyncio.gather(*reads, return_exceptions=True)
            for context in list(self.contexts):
                with suppress(Exception):  # whatever a broken connection says now, nobody is reading from it
                    await context.__aexit__(None, None, None)
            if store is not None:
                await store.close()
            self._loop.call_soon(self._loop.stop)

        with suppress(TimeoutError):  # what hangs is left behind
            asyncio.run_coroutine_threadsafe(end(), self._loop).result(_CLOSE_S)

    def _run_loop(self) -> None:
        self._loop.run_forever()
        self._loop.close()

    @property
    def _ours(self) -> bool:
        return self._labels.get(f"{_PREFIX}.layer-rule") == str(LAYER_RULE) and self._model.path in (
            None,
            self._labels.get(f"{_PREFIX}.model-path"),
        )

    def _read_image(self) -> BaseImage:
        reference = self._model.image
        try:
            return self._run(read_base(self._store, reference.digest or reference.tag, str(reference)))
        except BaseImageError as error:
            raise SourceError(error.message.replace("--base", "--model image", 1), error.remedy) from error

    def _manifest(self) -> dict[str, Any]:
        stored = self._run(self._store.read_manifest(self._image.digest))
        if stored is None:
            raise SourceError(f"{self._model.image}: its manifest is gone", "run the bake again")
        return cast("dict[str, Any]", json.loads(stored.content))

    def _find_root(self) -> str:
        root = self._model.path or self._labels.get(f"{_PREFIX}.model-path")
        if root is None:
            raise BadRequest(
                f"{self._model.image} does not say where its model is",
                "name the folder inside the image: image:<image>#/<path>",
            )
        return root

    def _read_layer(self, tree: ImageTree, number: int, notes: Mapping[str, str]) -> None:
        layer = self._image.layers[number]
        alone = notes.get(f"{_PREFIX}.sha256")
        digests = self._ours and notes.get(f"{_PREFIX}.role") == "files"
        try:
            with self._layer(number) as stream:
                seekable = layer.media_type == LAYER
                # Streamed, tarfile must not seek; by ranges, it must, so that weights are passed over.
                mode = "r:" if seekable else "r|"
                with tarfile.open(fileobj=cast("BinaryIO", stream), mode=mode) as archive:  # type: ignore[call-overload]
                    for member in archive:
                        sha256 = None
                        if member.isreg() and digests:
                            content = archive.extractfile(member)
                            assert content is not None
                            sha256 = hashlib.file_digest(content, "sha256").hexdigest()
                        elif member.isreg() and self._ours and f"/{member.name}" == notes.get(f"{_PREFIX}.path"):
                            sha256 = alone
                        tree.add(number, member, sha256)
        except tarfile.TarError as error:
            raise SourceError(
                f"{self._model.image}: layer {number + 1} is not a tar archive ({error})", "check the image"
            ) from error
        tree.end_layer()

    def _learn_layers(self, tree: ImageTree) -> None:
        """Layers of ours whose files' digests are all known have a content key, and so need not be read."""
        for number, layer in enumerate(self._image.layers):
            files = tree.of_layer(number)
            if files and all(file.sha256 is not None for _, file in files):
                items = ((_KeyFile(path.lstrip("/"), file.size), str(file.sha256)) for path, file in files)
                self._known[content_key(items)] = layer.digest

    def _stamp(self, file: TreeFile) -> str:
        return f"blob:{self._image.layers[file.layer].digest}:{file.offset}:{file.size}"

    @contextmanager
    def _layer(self, number: int) -> Iterator[Stream]:
        """Open a layer's tar stream."""
        layer = self._image.layers[number]
        if layer.media_type not in (LAYER, LAYER_GZIP):
            raise SourceError(
                f"{self._model.image}: layer {number + 1} is compressed with zstd, which cannot be read here",
                "use an image with gzip layers",
            )
        blob = RangeFile(layer.size, lambda offset: _Blob(self, layer.digest, offset))
        try:
            yield blob if layer.media_type == LAYER else Inflating(blob)
        finally:
            blob.close()

    def _run(self, job: Coroutine[Any, Any, T]) -> T:
        with self._lock:  # so that the loop sees whatever was started before it is told to end
            if self._closed:
                job.close()
                raise SourceUnavailable("the bake was stopped")
            future = asyncio.run_coroutine_threadsafe(job, self._loop)
        try:
            return future.result()
        except (asyncio.CancelledError, futures.CancelledError) as error:
            raise SourceUnavailable("the bake was stopped") from error


class _Blob:
    """A blob's bytes from an offset on, read in a thread and streamed in the source's loop."""

    def __init__(self, source: ImageSource, digest: str, offset: int) -> None:
        self._source = source
        self._context = source._store.stream_blob(digest, offset)
        self._chunks = source._run(self._enter())

    def next(self) -> bytes:
        """The next chunk, none at the end."""
        return self._source._run(self._next())

    def close(self) -> None:
        """Close the connection."""
        with suppress(SourceUnavailable):  # then it is closed with everything else
            self._source._run(self._leave())

    async def _enter(self) -> AsyncIterator[bytes]:
        self._source.contexts.add(self._context)
        return await self._context.__aenter__()

    async def _next(self) -> bytes:
        return await anext(self._chunks, b"")

    async def _leave(self) -> None:
        if self._context in self._source.contexts:
            self._source.contexts.discard(self._context)
            await self._context.__aexit__(None, None, None)


class _Limited:
    """Reads a file and not what follows it in the layer."""

    def __init__(self, stream: Stream, left: int) -> None:
        self._stream = stream
        self._left = left

    def read(self, size: int, /) -> bytes:
        """Return up to `size` bytes, none at the end of the file."""
        part = self._stream.read(min(size, self._left))
        self._left -= len(part)
        return part


async def _made(make: Callable[[], T]) -> T:
    return make()


def _labels(image: BaseImage) -> Mapping[str, str]:
    container = image.config.get("config")
    labels = container.get("Labels") if isinstance(container, dict) else None
    return labels if isinstance(labels, dict) else {}


def known_to(source: WeightSource) -> Mapping[str, str]:
    """Layer digests by content key that a source knows without reading."""
    return source.known_layers() if isinstance(source, ImageSource) else {}


def held_by(source: WeightSource, target: ImageReference) -> Mapping[str, list[str]]:
    """Layers that the target's registry has in the repository of the source, and may be asked to mount."""
    if not isinstance(source, ImageSource) or not isinstance(target, RegistryReference):
        return {}
    place = source.repository
    if place is None or place.host != target.host or place.repository == target.repository:
        return {}
    return {digest: [place.repository] for digest in source.layer_digests()}
