"""From a reference to a root: resolve, fetch, verify, take apart, put together. Once per image, for all who wait.

    images = Images(Cache(state / "cache"), image_root)
    ready = await images.prepare("oci:images:llm", None, log_line)     # ready.root is the image's /

Bytes are verified before anything is made of them. A local layout is hashed again whenever one of its files is not
the very file (device, inode, size, times) that was hashed before, even if the image's root is in the cache: a changed
byte must stop the next start.
"""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from runpod_emulator.host._cache import Cache
from runpod_emulator.host._documents import Descriptor, Image, Layer, Source, resolve
from runpod_emulator.host._errors import BadImage, CacheUnusable, DigestMismatch, HostError, disk_errors
from runpod_emulator.host._layout import LayoutSource
from runpod_emulator.host._references import RegistryReference, parse
from runpod_emulator.host._registry import RegistrySource
from runpod_emulator.host._threads import in_thread
from runpod_emulator.host._tree import LayerIncomplete, Tree
from runpod_emulator.host._unpack import hash_file, unpack

Say = Callable[[str], None]
"""Takes one line for the worker's system log."""

PARALLEL_DOWNLOADS = 3
"""As container engines do (baking-coldstart.md §1.5)."""
PARALLEL_UNPACKS = 2


@dataclass(frozen=True)
class Ready:
    image: Image
    root: Path
    pull_s: float
    verify_s: float
    unpack_s: float


@dataclass
class _Clock:
    """Seconds during which at least one of several parallel steps ran."""

    seconds: float = 0.0
    _running: int = 0
    _since: float = 0.0

    @contextmanager
    def step(self) -> Iterator[None]:
        if self._running == 0:
            self._since = time.monotonic()
        self._running += 1
        try:
            yield
        finally:
            self._running -= 1
            if self._running == 0:
                self.seconds += time.monotonic() - self._since


@dataclass
class _Job:
    """The making of one root. Those who come later hear what was said before."""

    task: "asyncio.Task[None] | None" = None
    said: list[str] = field(default_factory=list)
    hearers: list[Say] = field(default_factory=list)
    pull: _Clock = field(default_factory=_Clock)
    verify: _Clock = field(default_factory=_Clock)
    unpack: _Clock = field(default_factory=_Clock)

    def say(self, line: str) -> None:
        self.said.append(line)
        for hearer in self.hearers:
            hearer(line)


class Images:
    def __init__(self, cache: Cache, image_root: Path | None) -> None:
        self.cache = cache
        self._image_root = image_root
        self._jobs: dict[str, _Job] = {}
        self._layer_locks: dict[str, asyncio.Lock] = {}
        self._downloads = asyncio.Semaphore(PARALLEL_DOWNLOADS)
        self._unpacks = asyncio.Semaphore(PARALLEL_UNPACKS)

    async def look(self, image: str, auth: tuple[str, str] | None) -> Image:
        """Resolve a reference without moving a layer. Raises HostError."""
        with _reading(image):
            async with self._source(image, auth) as source:
                return await resolve(source)

    async def prepare(self, image: str, auth: tuple[str, str] | None, say: Say) -> Ready:
        """The image's root, made now or found in the cache. Raises HostError.

        Cancelling one caller does not end the work for the others; it goes on and serves the next start.
        """
        began = time.monotonic()
        resolved = await self.look(image, auth)
        say(f"image {image}: {resolved.digest}, {len(resolved.layers)} layers, {megabytes(resolved.size)}")
        # A local layout and a registry may name the same image; each has its own way to be verified.
        key = f"{'registry' if isinstance(parse(image), RegistryReference) else image} {resolved.digest}"
        job = self._jobs.get(key)
        if job is None:
            job = self._jobs[key] = _Job()
            job.task = asyncio.create_task(self._make(job, resolved, image, auth), name=f"pull {image}")
            job.task.add_done_callback(lambda task: self._done(key, task))
        assert job.task is not None
        for line in job.said:
            say(line)
        job.hearers.append(say)
        try:
            with _reading(image):
                await asyncio.shield(job.task)
        finally:
            job.hearers.remove(say)
        self.cache.touch(resolved.digest)
        say(f"image ready after {time.monotonic() - began:.2f} s")
        root = self.cache.rootfs(resolved.digest)
        return Ready(resolved, root, job.pull.seconds, job.verify.seconds, job.unpack.seconds)

    def _done(self, key: str, task: "asyncio.Task[None]") -> None:
        del self._jobs[key]
        if not task.cancelled():
            task.exception()  # whoever waits gets it; if nobody does any more, it has been dealt with

    async def _make(self, job: _Job, image: Image, reference: str, auth: tuple[str, str] | None) -> None:
        async with self._source(reference, auth) as source:
            local = source if isinstance(source, LayoutSource) else None
            if local is not None:
                await self._verify(job, image, local)
            if self.cache.has_root(image.digest):
                job.say("root found in the cache")
                return
            for last in (False, True):
                await self._take_apart(job, image, source)
                try:
                    with job.unpack.step():
                        await in_thread(lambda stop: self._put_together(image, stop))
                    return
                except LayerIncomplete as error:
                    self.cache.discard_layer(error.folder)
                    if last:
                        raise CacheUnusable(error.folder, "what is written there does not stay") from error
                    job.say("a layer in the cache was incomplete, it is unpacked again")

    async def _verify(self, job: _Job, image: Image, source: LayoutSource) -> None:
        """Hash what is not known to be unchanged and will not be hashed anyway while it is unpacked."""
        rooted = self.cache.has_root(image.digest)
        for layer in image.layers:
            path = source.layer(layer)
            if not rooted and not self.cache.layer(layer.diff_id).exists():
                continue
            if await asyncio.to_thread(self.cache.was_verified, path, layer.digest):
                continue
            began, identity = time.monotonic(), self.cache.identity(path)
            with job.verify.step():
                actual, size = await in_thread(_hashing(path))
            if (actual, size) != (layer.digest, layer.size):
                expected, found = f"{layer.digest} ({layer.size} bytes)", f"{actual} ({size} bytes)"
                raise DigestMismatch(image.reference, layer.full_name, expected, found)
            self.cache.remember_verified(path, layer.digest, identity)
            job.say(f"{layer}: {megabytes(size)} verified in {time.monotonic() - began:.2f} s")

    async def _take_apart(self, job: _Job, image: Image, source: "LayoutSource | _CachedSource") -> None:
        layers = {layer.diff_id: layer for layer in image.layers}.values()
        try:
            async with asyncio.TaskGroup() as group:
                for layer in layers:
                    group.create_task(self._layer(job, image, layer, source))
        except BaseExceptionGroup as errors:
            raise _first(errors) from None

    async def _layer(self, job: _Job, image: Image, layer: Layer, source: "LayoutSource | _CachedSource") -> None:
        lock = self._layer_locks.setdefault(layer.diff_id, asyncio.Lock())
        async with lock:  # two images at once may share it
            if self.cache.layer(layer.diff_id).exists():
                job.say(f"{layer}: already here")
                return
            if isinstance(source, LayoutSource):
                path = source.layer(layer)
            else:
                path = await self._pull(job, layer, source)
            identity = self.cache.identity(path)
            async with self._unpacks:
                began = time.monotonic()
                try:
                    with job.unpack.step():
                        await in_thread(lambda stop: self._unpack(path, layer, image, stop))
                except BadImage:
                    if not isinstance(source, LayoutSource):
                        path.unlink(missing_ok=True)
                    raise
            job.say(f"{layer}: {megabytes(layer.size)} verified and unpacked in {time.monotonic() - began:.2f} s")
            if isinstance(source, LayoutSource):
                self.cache.remember_verified(path, layer.digest, identity)
            else:
                path.unlink(missing_ok=True)  # taken apart it serves every image; twice would cost the disk twice

    async def _pull(self, job: _Job, layer: Layer, source: "_CachedSource") -> Path:
        """Fetch the blob into the cache, or find it there from a start that was killed before it was unpacked."""
        target = self.cache.blob(layer.digest)
        if target.exists():
            return target
        async with self._downloads:
            began = time.monotonic()
            with self.cache.making_file(target) as fresh, job.pull.step():
                await source.fetch(layer, fresh)
        job.say(f"{layer}: {megabytes(layer.size)} pulled in {time.monotonic() - began:.2f} s")
        return target

    def _unpack(self, path: Path, layer: Layer, image: Image, stop: threading.Event) -> None:
        with self.cache.making(self.cache.layer(layer.diff_id)) as folder, path.open("rb", buffering=0) as source:
            unpack(source, layer, image.reference, folder, stop)

    def _put_together(self, image: Image, stop: threading.Event) -> None:
        with self.cache.making(self.cache.image(image.digest)) as folder:
            root = folder / "rootfs"
            with disk_errors(folder):
                root.mkdir(mode=0o755)
            tree = Tree(root, image.reference, stop)
            for layer in image.layers:
                tree.apply(self.cache.layer(layer.diff_id), layer.full_name)
            tree.finish()
            self.cache.record_root(folder, image)

    @asynccontextmanager
    async def _source(self, image: str, auth: tuple[str, str] | None) -> "AsyncIterator[LayoutSource | _CachedSource]":
        reference = parse(image)
        if not isinstance(reference, RegistryReference):
            yield LayoutSource(reference, self._image_root)
            return
        async with aiohttp.ClientSession() as session:
            yield _CachedSource(RegistrySource(reference, auth, session), reference, self.cache)


class _CachedSource(Source):
    """A registry whose documents are kept: an image named by digest, pulled before, starts without the registry."""

    def __init__(self, source: RegistrySource, reference: RegistryReference, cache: Cache) -> None:
        self.image = source.image
        self._source, self._reference, self._cache = source, reference, cache

    async def top(self) -> tuple[str, bytes]:
        pinned = self._reference.digest
        content = self._cache.document(pinned) if pinned else None
        if pinned is not None and content is not None:
            return pinned, content
        digest, content = await self._source.top()
        self._cache.keep_document(content)
        return digest, content

    async def document(self, descriptor: Descriptor) -> bytes:
        content = self._cache.document(descriptor.digest)
        if content is None:
            content = await self._source.document(descriptor)
            self._cache.keep_document(content)
        return content

    async def fetch(self, layer: Layer, target: Path) -> None:
        await self._source.fetch(layer, target)


def megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB"


@contextmanager
def _reading(image: str) -> Iterator[None]:
    """A file of a layout that cannot be read, or vanished meanwhile, is the image's fault."""
    try:
        yield
    except OSError as error:
        why = f"cannot read {error.filename}: {error.strerror or error}"
        raise BadImage(image, why, "make it readable, or bake the image again") from error


def _hashing(path: Path) -> Callable[[threading.Event], tuple[str, int]]:
    return lambda stop: hash_file(path, stop)


def _first(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    """The error to show: one of ours if there is any, else the first one."""
    leaves: list[BaseException] = []
    for error in errors.exceptions:
        leaves.append(_first(error) if isinstance(error, BaseExceptionGroup) else error)
    return next((error for error in leaves if isinstance(error, HostError)), leaves[0])
