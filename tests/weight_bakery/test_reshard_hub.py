"""Files of the Hub that are too large for a layer: split while they stream, and still held against the Hub's digest."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import web

from tests.weight_bakery.hub import Hub
from tests.weight_bakery.proxy import fake_registry
from tests.weight_bakery.support import CONFIG, Layout, payload, safetensors
from tests.weight_bakery.test_reshard import MIB, loaded, tensors_of
from weight_bakery import BakeRequest, Event, Note, SourceChanged, bake_async, read_lock

MODEL = safetensors({f"layer.{number}": payload(400_000, number) for number in range(6)})


@pytest.fixture
def request_(hub: Hub, tmp_path: Path) -> BakeRequest:
    """A bake of a model in one file, which has to be split."""
    hub.files = {"config.json": json.dumps(CONFIG).encode(), "model.safetensors": MODEL}
    return BakeRequest(
        model="owner/Tiny", to=f"oci:{tmp_path}/layout:v1", hub_endpoint=hub.origin, max_layer_size=MIB,
        lock=tmp_path / "weights.lock",
    )  # fmt: skip


async def test_a_file_of_the_hub_is_split_and_drops_do_no_harm(hub: Hub, request_: BakeRequest, tmp_path: Path) -> None:
    """Ranges of the original make the shards; connections that break in the middle of one are continued."""
    hub.drop_after = 700_000
    receipt = await bake_async(request_)
    files = Layout(tmp_path / "layout").files("v1")
    assert loaded(files, "models/tiny") == tensors_of(MODEL)
    assert len([layer for layer in receipt.layers if layer.role == "weights"]) == 3
    (split,) = next(iter(read_lock(tmp_path / "weights.lock").images.values())).resharded
    assert split.sha256 is not None


async def test_a_second_bake_reads_the_header_alone(hub: Hub, request_: BakeRequest) -> None:
    """What the lock says about the split file is enough; its tensors are not looked at again."""
    await bake_async(request_)
    hub.seen.clear()
    hub.corrupt = "model.safetensors"  # the last byte would be noticed if it were read
    again = await bake_async(request_)
    assert again.sent_bytes == 0
    assert hub.seen["resolve"] <= 3


async def test_a_shard_with_a_flipped_bit_is_never_tagged(hub: Hub, request_: BakeRequest, tmp_path: Path) -> None:
    """Only the pass over the whole file can tell; the tag is not written, and the next bake is right."""
    plain = hub._send

    async def flipping(request: web.Request, path: str) -> web.StreamResponse:
        hub.corrupt = path if "Range" in request.headers and path == "model.safetensors" else None
        return await plain(request, path)

    hub._send = flipping  # type: ignore[method-assign]
    with pytest.raises(SourceChanged, match=r"model-00003-of-00003.safetensors arrived damaged; run the bake again"):
        await bake_async(request_)
    index = tmp_path / "layout/index.json"
    assert json.loads(index.read_bytes())["manifests"] == []
    hub._send = plain  # type: ignore[method-assign]
    hub.corrupt = None
    await bake_async(request_)
    assert loaded(Layout(tmp_path / "layout").files("v1"), "models/tiny") == tensors_of(MODEL)


def flipped_once(hub: Hub, path: str, at: int, *, start: int, number: int) -> None:
    """Flip a bit in one answer about a file: in the nth that begins at `start`."""
    plain, sound, seen = hub._send, dict(hub.files), 0

    async def flipping(request: web.Request, asked: str, /) -> web.StreamResponse:
        nonlocal seen
        begun = int((request.headers.get("Range") or "bytes=0-").removeprefix("bytes=").removesuffix("-"))
        if (asked, begun) != (path, start):
            return await plain(request, asked)
        seen += 1
        if seen == number:
            hub.files = {**sound, path: sound[path][:at] + bytes([sound[path][at] ^ 1]) + sound[path][at + 1 :]}
        answer = asyncio.ensure_future(plain(request, asked))
        await asyncio.sleep(0)  # it takes the content at once
        hub.files = sound
        return await answer

    hub._send = flipping  # type: ignore[assignment, method-assign]


LAST_SHARD = len(MODEL) - 2 * 400_000
"""Where the last of three shards begins in the file."""
WHOLE = 3
"""The file is read from its start for its header, for its header once more, and as a whole."""
INDEX = json.dumps({"weight_map": {f"layer.{number}": "model.safetensors" for number in range(6)}}).encode()


@pytest.mark.parametrize(
    ("path", "at", "start", "number", "told"),
    [
        ("model.safetensors", len(MODEL) - 1, LAST_SHARD, 1, "model-00003-of-00003.safetensors arrived damaged"),
        ("model.safetensors", len(MODEL) - 1, 0, WHOLE, "model.safetensors has not the digest its source promised"),
        ("model.safetensors", MODEL.index(b"layer.3") + 6, 0, WHOLE, "model.safetensors has not the digest"),
        ("model.safetensors", MODEL.index(b"layer.3") + 6, 0, 1, None),
        ("model.safetensors", MODEL.index(b"layer.3") + 6, 0, 2, None),
        ("model.safetensors", 3, 0, 1, None),
        ("model.safetensors.index.json", INDEX.index(b"layer.3") + 6, 0, 1, None),
        ("model.safetensors.index.json", 0, 0, 1, None),
    ],
)
async def test_a_bit_that_flips_on_the_way_does_not_cost_the_bake(
    hub: Hub, request_: BakeRequest, tmp_path: Path, path: str, at: int, start: int, number: int, told: str | None
) -> None:
    """Wherever it falls (tensors, header, index), what arrived damaged is fetched again and the image is right."""
    hub.files = {**hub.files, "model.safetensors.index.json": INDEX}
    flipped_once(hub, path, at, start=start, number=number)
    events: list[Event] = []
    await bake_async(request_, progress=events.append)
    notes = [event.text for event in events if isinstance(event, Note)]
    assert len(notes) == (1 if told else 0)
    assert all(told is not None and note.startswith(told) and note.endswith("it is fetched again") for note in notes)
    files = Layout(tmp_path / "layout").files("v1")
    assert loaded(files, "models/tiny") == tensors_of(MODEL)
    lock = read_lock(tmp_path / "weights.lock").images.values()
    assert [split.path for entry in lock for split in entry.resharded] == ["model.safetensors"]


async def test_a_file_that_is_not_what_was_promised_is_never_tagged(hub: Hub, request_: BakeRequest) -> None:
    """Wrong in every answer: the whole has another digest than the Hub says, and a registry gets no tag."""
    hub.corrupt = "model.safetensors"
    async with fake_registry() as registry:
        with pytest.raises(SourceChanged, match=r"model.safetensors has not the digest its source promised"):
            await bake_async(replace(request_, to=f"{registry.host}/m:v1"))
        assert registry.manifests == {}
