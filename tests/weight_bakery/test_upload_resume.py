"""Connections that break in mid-layer: the upload goes on where the registry is, and what arrives is what was read."""

import asyncio
import hashlib
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from aiohttp import web

from tests.support.tools import RegistryProcess
from tests.weight_bakery.proxy import BreakingProxy, CountingProxy, FakeRegistry, fake_registry
from tests.weight_bakery.support import payload, write_model
from tests.weight_bakery.test_registry_faults import CONTENT, DIGEST, store_for
from weight_bakery import BakeRequest, SourceFile, bake_async, plan_bake_async
from weight_bakery._blobs import BytesBlob, LayerBlob, RemoteBlob
from weight_bakery._events import Event, Note
from weight_bakery._layers import Layer, LayerFile, LayerHashes, LayerStream
from weight_bakery._source_folder import FolderSource
from weight_bakery._threads import Threads


def layer_of(folder: Path, files: dict[str, bytes]) -> Layer:
    """A layer of files in a folder."""
    for path, content in files.items():
        (folder / path).write_bytes(content)
    source = FolderSource(folder)
    return Layer(
        "weights",
        tuple(
            LayerFile(f"models/m/{path}", len(content), False, source, SourceFile(path, len(content)))
            for path, content in files.items()
        ),
    )


def test_a_pass_goes_on_at_any_offset_with_the_hashes_of_the_first(tmp_path: Path) -> None:
    """Broken off anywhere and resumed anywhere before that, the bytes and all digests are those of one pass."""
    files = {"a": payload(700, 1), "b": b"", "c": payload(2_100_000, 2), "d": payload(5, 3)}
    layer = layer_of(tmp_path, files)
    with ThreadPoolExecutor(2) as pool:
        whole_hashes = LayerHashes(pool)
        whole = b"".join(LayerStream(layer, whole_hashes))
        expected = whole_hashes.result()
        cuts = [1, 511, 512, 1024, 1536, 2047, 2048, 3000, 2_097_152, len(whole) - 1025, len(whole) - 1, len(whole)]
        for offset in cuts:
            hashes = LayerHashes(pool)
            seen = bytearray()
            first = iter(LayerStream(layer, hashes))
            while len(seen) < offset:
                seen += next(first)
            first.close()  # type: ignore[attr-defined]
            rest = LayerStream(layer, hashes, offset)
            assert bytes(seen[:offset]) + b"".join(rest) == whole
            assert rest.done
            assert hashes.result() == expected


def keeping(registry: FakeRegistry, breaks: list[int]) -> None:
    """Make a fake registry keep what arrives before it breaks each of its next PATCHes after so many bytes."""

    async def hook(request: web.Request) -> web.StreamResponse | None:
        if request.method != "PATCH" or not breaks:
            return None
        name = request.path.rpartition("/")[2]
        registry.uploads[name] += await request.content.readexactly(breaks.pop(0))
        assert request.transport is not None
        request.transport.close()
        return web.Response()

    registry.hook = hook


async def test_a_break_costs_only_what_had_not_arrived(tmp_path: Path) -> None:
    """Three breaks in one layer: one session, three continuations, and the digest of the whole at the end."""
    layer = layer_of(tmp_path, {"w": payload(9_000_000)})
    threads = Threads(1)
    moved: list[int] = []
    notes: list[str] = []
    async with fake_registry() as registry:
        keeping(registry, [1_234_567, 3_000_000, 4_000_001])
        store = store_for(registry, notes=notes)
        digest = await store.write_blob(LayerBlob(layer, threads), moved.append)
        await store.close()
    threads.close()
    assert f"sha256:{hashlib.sha256(registry.blobs[digest]).hexdigest()}" == digest
    assert registry.seen == {"POST upload": 1, "PATCH upload": 4, "GET upload": 3, "PUT upload": 1}
    assert sum(moved) == layer.size
    assert "goes on at 1,234,567 of" in notes[0]


async def test_everything_arrived_but_the_answer(tmp_path: Path) -> None:
    """Nothing is left to send: the hashes are finished and the upload is closed."""
    layer = layer_of(tmp_path, {"w": payload(50_000)})
    threads = Threads(1)
    async with fake_registry() as registry:
        keeping(registry, [layer.size])
        store = store_for(registry)
        digest = await store.write_blob(LayerBlob(layer, threads), lambda _: None)
        await store.close()
    threads.close()
    assert digest in registry.blobs
    assert registry.seen == {"POST upload": 1, "PATCH upload": 1, "GET upload": 1, "PUT upload": 1}


async def test_a_base_layer_goes_on_too() -> None:
    """A blob that comes from another registry is read on from the offset, and still verified as a whole."""
    async with fake_registry() as far, fake_registry() as near:
        far.blobs[DIGEST] = CONTENT
        keeping(near, [2_000_000])
        source, target = store_for(far), store_for(near)
        blob = RemoteBlob(DIGEST, len(CONTENT), lambda offset: source.stream_blob(DIGEST, offset))
        assert await target.write_blob(blob, lambda _: None) == DIGEST
        await source.close()
        await target.close()
    assert near.blobs[DIGEST] == CONTENT
    assert near.seen["POST upload"] == 1


@pytest.mark.parametrize("answer", ["404", "no range", "beyond", "refused"])
async def test_a_registry_that_cannot_go_on_gets_the_layer_again(answer: str) -> None:
    """An unknown session, a status without Range, an offset never sent, ranges refused: a new session each."""
    broken = [1]

    async def hook(request: web.Request) -> web.StreamResponse | None:
        name = request.path.rpartition("/")[2]
        if request.method == "PATCH" and broken:
            broken.pop()
            registry.uploads[name] += await request.content.readexactly(500_000)
            assert request.transport is not None
            request.transport.close()
            return web.Response()
        if request.method == "GET" and "/uploads/" in request.path and answer != "refused":
            headers = {} if answer == "no range" else {"Range": "0-99999999"}
            return web.Response(status=404) if answer == "404" else web.Response(status=204, headers=headers)
        if request.method == "PATCH" and answer == "refused" and "Content-Range" in request.headers:
            return web.Response(status=416)
        return None

    async with fake_registry(hook) as registry:
        store = store_for(registry)
        assert await store.write_blob(BytesBlob(CONTENT), lambda _: None) == DIGEST
        await store.close()
    assert registry.blobs[DIGEST] == CONTENT
    assert registry.seen["POST upload"] == 2


async def test_the_registry_knows_better_where_it_stands() -> None:
    """A status that was out of date when it was given is answered with 416, and the next one is right."""
    broken, late = [1], [1]

    async def hook(request: web.Request) -> web.StreamResponse | None:
        name = request.path.rpartition("/")[2]
        if request.method == "PATCH" and broken:
            broken.pop()
            registry.uploads[name] += await request.content.readexactly(500_000)
            assert request.transport is not None
            request.transport.close()
            return web.Response()
        if request.method == "GET" and late:
            late.pop()
            return web.Response(status=204, headers={"Range": "0-399999"})
        return None

    async with fake_registry(hook) as registry:
        store = store_for(registry)
        assert await store.write_blob(BytesBlob(CONTENT), lambda _: None) == DIGEST
        await store.close()
    assert registry.seen == {"POST upload": 1, "PATCH upload": 3, "GET upload": 2, "PUT upload": 1}


async def test_bytes_that_change_between_two_passes_are_never_stored(tmp_path: Path) -> None:
    """The registry refuses the mixture by its digest, and the layer starts again with what is there now."""
    layer = layer_of(tmp_path, {"w": payload(3_000_000, 1)})
    threads = Threads(1)
    async with fake_registry() as registry:
        keeping(registry, [1_000_000])
        inner = registry.hook
        assert inner is not None

        async def hook(request: web.Request) -> web.StreamResponse | None:
            answer = await inner(request)
            if answer is not None:
                # In place: a file that is cut to nothing for a moment is another story.
                with (tmp_path / "w").open("r+b") as file:
                    file.write(payload(3_000_000, 2))
            return answer

        registry.hook = hook
        store = store_for(registry)
        digest = await store.write_blob(LayerBlob(layer, threads), lambda _: None)
        await store.close()
    threads.close()
    assert list(registry.blobs) == [digest]
    assert payload(3_000_000, 2) in registry.blobs[digest]


@pytest.mark.tools
async def test_the_distribution_registry_goes_on_where_it_was_cut(tmp_path: Path, registry: RegistryProcess) -> None:
    """Cut twice in one layer, all in all little more than the layer's bytes cross the network."""
    model = write_model(tmp_path / "Tiny", shards=1, shard_bytes=24_000_000)
    notes: list[str] = []

    def progress(event: Event) -> None:
        if isinstance(event, Note):
            notes.append(event.text)

    async with BreakingProxy(registry.host, [9_000_000, 18_000_000]) as proxy:
        receipt = await bake_async(BakeRequest(model=str(model), to=f"{proxy.host}/cut/tiny:v1"), progress=progress)
        sent = proxy.sent
    assert len([note for note in notes if "goes on at" in note]) == 2, notes
    # What was in buffers when the connection was cut goes again.
    assert receipt.size < sent < receipt.size + 12_000_000
    here = await plan_bake_async(BakeRequest(model=str(model), to=f"{registry.host}/cut/tiny:v1"))
    assert here.size == receipt.size


CHILD = """
import sys
from pathlib import Path
from weight_bakery import BakeRequest, bake
bake(BakeRequest(model=sys.argv[1], to=sys.argv[2], cache=Path(sys.argv[3]), flows=1))
"""


@pytest.mark.tools
async def test_a_killed_bake_goes_on_at_the_layer(tmp_path: Path, registry: RegistryProcess) -> None:
    """kill -9 in the second layer: the next bake neither sends nor hashes the first one again."""
    model = write_model(tmp_path / "Tiny", shards=3, shard_bytes=6_000_000)
    cache = tmp_path / "digests.json"
    async with BreakingProxy(registry.host, [], hold_after=9_000_000) as proxy:
        command = [sys.executable, "-c", CHILD, str(model), f"{proxy.host}/kill/tiny:v1", str(cache)]
        child = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": "src"}, stderr=subprocess.DEVNULL)
        try:
            deadline = time.monotonic() + 60
            while not proxy.held.is_set() and time.monotonic() < deadline and child.poll() is None:
                await asyncio.sleep(0.02)
            assert proxy.held.is_set()
        finally:
            child.send_signal(signal.SIGKILL)
            child.wait()
    async with CountingProxy(registry.host) as counting:
        request = BakeRequest(model=str(model), to=f"{counting.host}/kill/tiny:v1", cache=cache, flows=1)
        receipt = await bake_async(request)
        sent = counting.sent
    assert [layer.outcome for layer in receipt.layers] == ["present", "sent", "sent", "sent"]
    assert receipt.sent_bytes <= sent < receipt.sent_bytes + 50_000
    assert receipt.hashed_bytes <= receipt.size - receipt.layers[0].size - receipt.layers[1].size
