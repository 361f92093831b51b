"""A baked image on a new base: the very image that a bake on it would make, and not one weight byte moved."""

import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from tests.support.tools import Crane, RegistryProcess
from tests.weight_bakery.proxy import CountingProxy
from tests.weight_bakery.support import image_root, model_files, read_tar, write_deps, write_model, write_package
from weight_bakery import (
    BadRequest,
    BakeRequest,
    BaseImageError,
    RebaseRequest,
    bake,
    bake_async,
    read_lock,
    rebase,
    rebase_async,
)


def base_image(crane: Crane, folder: Path, reference: str, text: str) -> None:
    """Push a small base for linux/amd64."""
    archive = folder / "base.tar.gz"
    with tarfile.open(archive, "w:gz") as stream:
        member = tarfile.TarInfo("etc/os-release")
        member.size = len(text)
        stream.addfile(member, io.BytesIO(text.encode()))
    crane("append", "--oci-empty-base", "-f", str(archive), "-t", reference)
    crane("mutate", reference, "--set-platform", "linux/amd64", "--env", f"BASE={text}")


@pytest.mark.tools
async def test_a_new_base_moves_no_weight_byte(tmp_path: Path, registry: RegistryProcess, crane: Crane) -> None:
    """Tag, lock entry and content change to the new base; the bytes on the wire are questions and documents."""
    for name in ("one", "two"):
        base_image(crane, tmp_path, f"{registry.host}/rebase/base:{name}", f"NAME={name}")
    model = str(write_model(tmp_path / "Tiny", shard_bytes=400_000))
    deps, code = write_deps(tmp_path / "deps"), write_package(tmp_path, "vllm_worker")
    lock = tmp_path / "weights.lock"
    async with CountingProxy(registry.host) as proxy:

        def request(base: str, tag: str) -> BakeRequest:
            return BakeRequest(
                model=model, to=f"{proxy.host}/rebase/tiny:{tag}", base=f"{proxy.host}/rebase/base:{base}",
                worker_deps=deps, worker_code=(code,), lock=lock, served_name="org/Tiny",
            )  # fmt: skip

        old = await bake_async(request("one", "v1"))
        proxy.sent = 0
        new = await rebase_async(
            RebaseRequest(f"{proxy.host}/rebase/tiny:v1", f"{proxy.host}/rebase/base:two", lock=lock)
        )
        sent = proxy.sent
        expected = await bake_async(request("two", "v2"))
        entries = read_lock(lock).images
        one, two = (entries[f"{proxy.host}/rebase/tiny:{tag}"] for tag in ("v1", "v2"))
    assert (new.sent_bytes, new.weight_bytes) == (0, 0)
    assert sent < 40_000 < old.size
    assert [layer.outcome for layer in new.layers] == ["mounted", *["present"] * (len(old.layers) - 1)]
    assert new.previous_digest == old.digest != new.digest
    assert new.digest == expected.digest, "as if it had been baked on the new base"
    assert one == two
    assert crane("digest", f"{registry.host}/rebase/tiny:v1").decode().strip() == new.digest
    exported = read_tar(crane("export", f"{registry.host}/rebase/tiny:v1", "-"))
    kept = {name: content for name, content in model_files(shard_bytes=400_000).items() if name != "README.md"}
    files = image_root(kept, "models/tiny")
    assert files.items() <= exported.items()
    assert exported["etc/os-release"] == b"NAME=two"


@pytest.mark.tools
async def test_into_another_repository_the_weights_are_mounted(
    tmp_path: Path, registry: RegistryProcess, crane: Crane
) -> None:
    """Same registry, other name: every layer is taken over there."""
    base_image(crane, tmp_path, f"{registry.host}/rebase2/base:1", "NAME=1")
    await bake_async(
        BakeRequest(model=str(write_model(tmp_path / "Tiny")), to=f"{registry.host}/rebase2/tiny:v1",
                    base=f"{registry.host}/rebase2/base:1")
    )  # fmt: skip
    new = await rebase_async(
        RebaseRequest(
            f"{registry.host}/rebase2/tiny:v1", f"{registry.host}/rebase2/base:1", to=f"{registry.host}/rebase2/b:v1"
        )
    )
    assert {layer.outcome for layer in new.layers} == {"mounted"}
    assert new.digest == new.previous_digest


@pytest.mark.tools
def test_a_layer_the_lock_knows_elsewhere_is_mounted(tmp_path: Path, registry: RegistryProcess) -> None:
    """A second repository of the same registry takes the weights over, since weights.lock names the first."""
    model, lock = str(write_model(tmp_path / "Tiny")), tmp_path / "weights.lock"
    first = bake(BakeRequest(model=model, to=f"{registry.host}/mount/a:v1", lock=lock))
    second = bake(BakeRequest(model=model, to=f"{registry.host}/mount/b:v1", lock=lock))
    assert {layer.outcome for layer in first.layers} == {"sent"}
    assert {layer.outcome for layer in second.layers} == {"mounted"}
    assert (second.sent_bytes, second.digest) == (0, first.digest)


def test_layouts_and_registries_can_be_mixed(tmp_path: Path) -> None:
    """From a layout into another one: everything is copied, and the result is the same."""
    model = str(write_model(tmp_path / "Tiny"))
    other = str(write_model(tmp_path / "Other", shards=3))
    bake(BakeRequest(model=other, to=f"oci:{tmp_path}/bases:v1"))
    bake(BakeRequest(model=model, to=f"oci:{tmp_path}/images:v1"))
    expected = bake(BakeRequest(model=model, to=f"oci:{tmp_path}/images:v2", base=f"oci:{tmp_path}/bases:v1"))
    new = rebase(RebaseRequest(f"oci:{tmp_path}/images:v1", f"oci:{tmp_path}/bases:v1", to=f"oci:{tmp_path}/far:v1"))
    assert new.digest == expected.digest
    assert new.weight_bytes == sum(layer.size for layer in expected.layers if layer.role != "base")


def test_what_cannot_be_rebased_is_one_line(tmp_path: Path) -> None:
    """An image of somebody else, one that is not there, a base that is not there; nothing is written."""
    model = str(write_model(tmp_path / "Tiny"))
    bake(BakeRequest(model=model, to=f"oci:{tmp_path}/images:v1"))
    layout = tmp_path / "images"
    with pytest.raises(BaseImageError, match=r"IMAGE oci:.*:v9 does not exist"):
        rebase(RebaseRequest(f"oci:{layout}:v9", f"oci:{layout}:v1"))
    with pytest.raises(BaseImageError, match=r"--base oci:.*:v9 does not exist"):
        rebase(RebaseRequest(f"oci:{layout}:v1", f"oci:{layout}:v9"))
    digest = json.loads((layout / "index.json").read_bytes())["manifests"][0]["digest"]
    with pytest.raises(BadRequest, match=r"names no tag; say with --to"):
        rebase(RebaseRequest(f"oci:{layout}@{digest}", f"oci:{layout}:v1"))
    before = (layout / "index.json").read_bytes()
    index = json.loads(before)
    manifest = strip(json.loads((layout / "blobs/sha256" / index["manifests"][0]["digest"][7:]).read_bytes()))
    foreign = write_manifest(layout, index, manifest)
    with pytest.raises(BadRequest, match=r"was not baked by vllm-runpod; name an image"):
        rebase(RebaseRequest(f"oci:{layout}:foreign", f"oci:{layout}:v1"))
    assert (layout / "index.json").read_bytes() == foreign


def strip(manifest: dict[str, Any]) -> dict[str, Any]:
    """The manifest as another tool would have written it."""
    for layer in manifest["layers"]:
        del layer["annotations"]
    return manifest


def write_manifest(layout: Path, index: dict[str, Any], manifest: dict[str, Any]) -> bytes:
    """Add a manifest under the tag `foreign`; returns the new index."""
    content = json.dumps(manifest).encode()
    digest = hashlib.sha256(content).hexdigest()
    (layout / "blobs/sha256" / digest).write_bytes(content)
    entry = {**index["manifests"][0], "digest": f"sha256:{digest}", "size": len(content)}
    entry["annotations"] = {"org.opencontainers.image.ref.name": "foreign"}
    index["manifests"].append(entry)
    text = json.dumps(index).encode()
    (layout / "index.json").write_bytes(text)
    return text
