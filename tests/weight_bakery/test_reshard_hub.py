"""Files of the Hub that are too large for a layer: split while they stream, and still held against the Hub's digest."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import web

from tests.weight_bakery.hub import Hub
from tests.weight_bakery.proxy import fake_registry
from tests.weight_bakery.support import CONFIG, Layout, payload, safetensors
from tests.weight_bakery.test_reshard import MIB, loaded, tensors_of
from weight_bakery import BakeRequest, SourceChanged, bake_async, read_lock

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


async def test_a_file_that_is_not_what_was_promised_is_never_tagged(hub: Hub, request_: BakeRequest) -> None:
    """Wrong in every answer: the whole has another digest than the Hub says, and a registry gets no tag."""
    hub.corrupt = "model.safetensors"
    async with fake_registry() as registry:
        with pytest.raises(SourceChanged, match=r"model.safetensors has not the digest its source promised"):
            await bake_async(replace(request_, to=f"{registry.host}/m:v1"))
        assert registry.manifests == {}
