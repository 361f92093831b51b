"""Baking from the Hub: the real huggingface_hub client against a server that behaves like the Hub."""

import asyncio
from pathlib import Path

import pytest

from tests.weight_bakery.hub import COMMIT, Hub
from tests.weight_bakery.support import Layout, image_root, write_files
from weight_bakery import (
    AccessDenied,
    BakeRequest,
    BakeryError,
    ModelNotFound,
    SourceUnavailable,
    bake_async,
    plan_bake_async,
)
from weight_bakery._source_hub import HubSource

TOKEN = "hf_abcdefghijklmnop"


def request_for(hub: Hub, tmp_path: Path, model: str = "owner/Tiny", token: str | None = None) -> BakeRequest:
    """A bake into a layout."""
    return BakeRequest(model=model, to=f"oci:{tmp_path}/layout:v1", hub_endpoint=hub.origin, hub_token=token)


async def test_a_repository_becomes_an_image(hub: Hub, tmp_path: Path) -> None:
    """The branch is pinned to its commit, and every file arrives byte for byte."""
    receipt = await bake_async(request_for(hub, tmp_path))
    expected = {name: content for name, content in hub.files.items() if name != "README.md"}
    assert Layout(tmp_path / "layout").files("v1") == image_root(expected, "models/tiny")
    assert (receipt.kind, receipt.model, receipt.revision) == ("hub", "owner/Tiny", COMMIT)
    assert receipt.served_name == "owner/Tiny"


async def test_hub_and_folder_share_their_layers(hub: Hub, tmp_path: Path) -> None:
    """A layer does not know where its file came from."""
    from_hub = await bake_async(request_for(hub, tmp_path))
    folder = write_files(tmp_path / "Tiny", hub.files)
    from_folder = await bake_async(BakeRequest(model=str(folder), to=f"oci:{tmp_path}/layout:v2"))
    assert [layer.digest for layer in from_hub.layers] == [layer.digest for layer in from_folder.layers]


async def test_a_second_bake_downloads_nothing(hub: Hub, tmp_path: Path) -> None:
    """The Hub's digests and the remembered layers are enough."""
    await bake_async(request_for(hub, tmp_path))
    hub.seen.clear()
    receipt = await bake_async(request_for(hub, tmp_path))
    assert receipt.sent_bytes == 0
    # config.json and the index are looked at each time; no weight is.
    assert hub.seen == {"info": 1, "resolve": 2}


async def test_a_lock_alone_is_enough_on_a_fresh_machine(hub: Hub, tmp_path: Path) -> None:
    """With the lock file and a target that has the layers, nothing is downloaded either."""
    first = BakeRequest(
        model="owner/Tiny", to=f"oci:{tmp_path}/layout:v1", hub_endpoint=hub.origin, lock=tmp_path / "weights.lock"
    )
    await bake_async(first)
    (tmp_path / "layout" / ".bakery" / "digests.json").unlink()
    hub.seen.clear()
    plan = await plan_bake_async(first)
    assert [layer.present for layer in plan.layers if layer.role == "weights"] == [True, True]
    await bake_async(first)
    assert hub.seen["storage"] == 0


async def test_broken_connections_go_on_where_they_stopped(hub: Hub, tmp_path: Path) -> None:
    """Each retry asks the resolve route for the missing range only, since signed addresses are bound to theirs."""
    hub.drop_after = 1_200_000
    await bake_async(request_for(hub, tmp_path))
    expected = {name: content for name, content in hub.files.items() if name != "README.md"}
    assert Layout(tmp_path / "layout").files("v1") == image_root(expected, "models/tiny")
    assert len(hub.ranges) >= 4
    assert all(wanted != "bytes=0-" for wanted in hub.ranges)


async def test_a_server_that_ignores_ranges_still_works(hub: Hub) -> None:
    """What comes again is read over, not taken twice."""
    hub.ignore_range = True
    path = "model-00001-of-00002.safetensors"
    assert await asyncio.to_thread(_read_from, hub, path, 1_500_000) == hub.files[path][1_500_000:]


def _read_from(hub: Hub, path: str, offset: int) -> bytes:
    source = HubSource("owner/Tiny", None, endpoint=hub.origin)
    with source.open(path, offset) as reader:
        return b"".join(iter(lambda: reader.read(100_000), b""))


async def test_passing_failures_are_repeated(hub: Hub, tmp_path: Path) -> None:
    """A 503 and a 429 at the start change nothing."""
    hub.failures = [503, 429]
    assert (await bake_async(request_for(hub, tmp_path))).revision == COMMIT


async def test_lasting_failures_end_in_one_line(hub: Hub, tmp_path: Path) -> None:
    """A Hub that never answers well is given up, and no tag exists."""
    hub.failures = [503] * 50
    with pytest.raises(SourceUnavailable, match="the Hub stopped answering for owner/Tiny"):
        await bake_async(request_for(hub, tmp_path))
    assert not (tmp_path / "layout").exists()


async def test_the_token_reaches_the_hub_and_nobody_else(hub: Hub, tmp_path: Path) -> None:
    """A gated model needs the token; the storage that a signed address leads to never sees it."""
    hub.token = TOKEN
    await bake_async(request_for(hub, tmp_path, token=TOKEN))
    assert hub.leaked == []


@pytest.mark.parametrize(
    ("model", "token", "error", "message"),
    [
        ("owner/Tiny", "hf_wrongwrongwrong", AccessDenied, "owner/Tiny is gated and this token has no access to it"),
        ("owner/Tiny", None, AccessDenied, "owner/Tiny is gated, and no token was given"),
        ("owner/Missing", None, ModelNotFound, "the Hub has no model owner/Missing"),
        ("owner/Tiny@nope", None, ModelNotFound, "owner/Tiny@nope: no such revision"),
    ],
)
async def test_refusals_are_one_line(
    hub: Hub, tmp_path: Path, model: str, token: str | None, error: type[BakeryError], message: str
) -> None:
    """Gated, missing and misspelt: what is wrong, what to do, and no token in it."""
    hub.token = TOKEN
    with pytest.raises(error, match=message) as caught:
        await bake_async(request_for(hub, tmp_path, model, token))
    assert "\n" not in str(caught.value)
    assert "hf_" not in str(caught.value)
    assert caught.value.remedy
