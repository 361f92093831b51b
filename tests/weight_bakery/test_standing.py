"""What stands under a tag, whether a plan knows it beforehand, and taking it away."""

import time
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.tools import RegistryProcess, built_tool, running_registry
from tests.weight_bakery.support import Layout, write_model, write_package
from weight_bakery import (
    BakeRequest,
    LayoutError,
    Removal,
    bake_async,
    plan_bake_async,
    remove_image_async,
    standing_digest_async,
)


@pytest.fixture
def request_(tmp_path: Path) -> BakeRequest:
    """A bake into a layout that is not there yet."""
    request = BakeRequest(
        model=str(write_model(tmp_path / "model")),
        to=f"oci:{tmp_path / 'images'}:v1",
        worker_code=(write_package(tmp_path, "worker"),),
        lock=tmp_path / "weights.lock",
    )
    time.sleep(0.15)  # what changed a moment ago is not remembered: it may change again
    return request


async def test_a_plan_knows_the_digest_once_nothing_has_to_be_read(request_: BakeRequest) -> None:
    """Unknown before the first bake, then just what a bake gives, also for another target, by the lock alone."""
    before = await plan_bake_async(request_)
    assert (before.digest, before.standing, before.reused) == (None, None, 0)
    baked = await bake_async(request_)
    after = await plan_bake_async(request_)
    assert (after.digest, after.standing, after.reused) == (baked.digest, baked.digest, baked.size)
    assert await standing_digest_async(request_) == baked.digest


async def test_another_name_is_another_digest(request_: BakeRequest) -> None:
    """Layers alone do not make an image; what it says of itself counts too."""
    baked = await bake_async(request_)
    plan = await plan_bake_async(replace(request_, served_name="other/name"))
    again = await bake_async(replace(request_, served_name="other/name"))
    assert plan.digest == again.digest != baked.digest
    assert again.sent_bytes == 0


async def test_a_changed_file_makes_the_digest_unknown(request_: BakeRequest, tmp_path: Path) -> None:
    """What the plan cannot know it does not guess."""
    await bake_async(request_)
    (tmp_path / "model/tokenizer.json").write_text('{"version": "2.0"}')
    plan = await plan_bake_async(request_)
    assert plan.digest is None
    assert 0 < plan.reused < plan.size


async def test_a_tag_of_a_layout_goes_and_the_others_stay(request_: BakeRequest, tmp_path: Path) -> None:
    """Only the tag that still names the image, and never a blob that another tag needs."""
    baked = await bake_async(request_)
    await bake_async(replace(request_, to=f"oci:{tmp_path / 'images'}:v2"))
    assert await remove_image_async(request_, "sha256:" + "0" * 64) is Removal.MOVED
    assert await remove_image_async(request_, baked.digest) is Removal.REMOVED
    assert await remove_image_async(request_, baked.digest) is Removal.NOT_THERE
    layout = Layout(tmp_path / "images")
    assert layout.tags() == {"v2": baked.digest}
    assert layout.files("v2")


async def test_layers_of_a_layout_go_with_the_last_image_that_needs_them(request_: BakeRequest, tmp_path: Path) -> None:
    """What the other image has stays, and so does what no image ever named; a damaged manifest stops it."""
    kept = await bake_async(request_)
    blobs = tmp_path / "images/blobs/sha256"
    before = {path.name for path in blobs.iterdir()}
    (blobs / ("f" * 64)).write_bytes(b"of a bake that is under way")
    (tmp_path / "model/tokenizer.json").write_text('{"version": "2.0"}')
    other = replace(request_, to=f"oci:{tmp_path / 'images'}:v2")
    gone = await bake_async(other)
    assert await remove_image_async(other, gone.digest) is Removal.REMOVED
    assert {path.name for path in blobs.iterdir()} == before | {"f" * 64}
    again = await bake_async(other)
    assert again.digest == gone.digest
    assert again.sent_bytes < again.size / 2  # the small files alone

    (blobs / kept.digest.removeprefix("sha256:")).write_bytes(b"damaged")
    there = {path.name for path in blobs.iterdir()}
    with pytest.raises(LayoutError, match="its layers stay: a manifest there cannot be read"):
        await remove_image_async(other, again.digest)
    assert {path.name for path in blobs.iterdir()} == there
    assert list(Layout(tmp_path / "images").tags()) == ["v1"]


@pytest.mark.tools
async def test_a_registry_that_deletes_nothing_is_told(
    request_: BakeRequest, registry: RegistryProcess, tmp_path: Path
) -> None:
    """The real registry, as it comes: deleting is switched off."""
    request = replace(request_, to=f"{registry.host}/standing/kept:v1", cache=tmp_path / "digests.json")
    assert await standing_digest_async(request) is None
    baked = await bake_async(request)
    assert await standing_digest_async(request) == baked.digest
    assert (await plan_bake_async(request)).standing == baked.digest
    assert await remove_image_async(request, baked.digest) is Removal.NOT_ALLOWED
    assert await standing_digest_async(request) == baked.digest


@pytest.mark.tools
async def test_a_registry_that_deletes_loses_the_tag(request_: BakeRequest, tmp_path: Path) -> None:
    """The real registry with deleting switched on."""
    folder = tmp_path / "registry"
    folder.mkdir()
    with running_registry(built_tool("registry"), folder, storage=", delete: {enabled: true}") as there:
        request = replace(request_, to=f"{there.host}/standing/gone:v1", cache=tmp_path / "digests.json")
        baked = await bake_async(request)
        assert await remove_image_async(request, baked.digest) is Removal.REMOVED
        assert await standing_digest_async(request) is None
