"""Baking from the Hugging Face cache of this machine: the commit is known, and no network is asked."""

import asyncio
import hashlib
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import snapshot_download

from tests.weight_bakery.hub import COMMIT, Hub
from tests.weight_bakery.support import Layout, model_files, write_files
from weight_bakery import BakeRequest, ModelNotFound, SourceDamaged, bake, bake_async, plan_bake, read_lock


def write_cache(cache: Path, files: dict[str, bytes], *, commit: str = COMMIT) -> Path:
    """A repository as huggingface_hub keeps it; returns the snapshot."""
    repository = cache / "models--owner--Tiny"
    snapshot = repository / "snapshots" / commit
    for path, content in files.items():
        name = (
            hashlib.sha256(content).hexdigest()
            if len(content) >= 1000
            else hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
        )
        write_files(repository, {f"blobs/{name}": content})
        link = snapshot / path
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(Path(*[".."] * (len(Path(path).parts) + 1)) / "blobs" / name)
    write_files(repository, {"refs/main": commit.encode()})
    return snapshot


def request_for(tmp_path: Path, model: str, **more: Any) -> BakeRequest:
    """A bake from the cache below the test's folder; a Hub that is asked would be an error."""
    return BakeRequest(
        model=model,
        to=f"oci:{tmp_path}/layout:v1",
        hf_cache=tmp_path / "hub",
        hub_endpoint="http://127.0.0.1:9",
        **more,
    )


async def test_the_cache_and_the_hub_make_the_same_image(hub: Hub, tmp_path: Path) -> None:
    """What huggingface_hub downloaded is baked to the image that the Hub itself would have given, lock and all."""
    await asyncio.to_thread(snapshot_download, "owner/Tiny", endpoint=hub.origin, cache_dir=tmp_path / "hub")
    hub.seen.clear()
    lock = tmp_path / "weights.lock"
    cached = await bake_async(request_for(tmp_path, "owner/Tiny", source="hf-cache", lock=lock))
    from_cache = read_lock(lock).images
    assert hub.seen == {}
    lock.unlink()
    direct = await bake_async(
        BakeRequest(model="owner/Tiny", to=f"oci:{tmp_path}/layout:v1", hub_endpoint=hub.origin, lock=lock)
    )
    assert cached.digest == direct.digest
    assert (cached.kind, cached.model, cached.revision) == ("hub", "owner/Tiny", COMMIT)
    assert [entry.files for entry in from_cache.values()] == [entry.files for entry in read_lock(lock).images.values()]


@pytest.mark.parametrize("part", ["", f"snapshots/{COMMIT}"])
def test_a_path_into_the_cache_is_recognised(tmp_path: Path, part: str) -> None:
    """The repository's folder and a snapshot's both give the model's own name and commit."""
    write_cache(tmp_path / "hub", model_files())
    plan = plan_bake(request_for(tmp_path, str(tmp_path / "hub/models--owner--Tiny" / part)))
    assert (plan.kind, plan.model, plan.revision, plan.name) == ("hub", "owner/Tiny", COMMIT, "tiny")


def test_nothing_is_read_twice_even_by_a_machine_that_forgot(tmp_path: Path) -> None:
    """The blobs' names are digests: with the lock, only the small files are read, whose names are git's."""
    write_cache(tmp_path / "hub", model_files())
    request = request_for(tmp_path, "owner/Tiny", source="hf-cache", lock=tmp_path / "weights.lock")
    first = bake(request)
    (tmp_path / "layout/.bakery/digests.json").unlink()
    again = bake(request)
    assert (again.digest, again.sent_bytes, again.hashed_bytes) == (first.digest, 0, first.layers[-1].size)


def test_a_damaged_blob_is_noticed(tmp_path: Path) -> None:
    """A blob that is not what its name says is not baked."""
    snapshot = write_cache(tmp_path / "hub", model_files())
    blob = (snapshot / "model-00001-of-00002.safetensors").resolve()
    content = blob.read_bytes()
    blob.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(SourceDamaged, match=r"model-00001-of-00002\.safetensors has not the digest"):
        bake(request_for(tmp_path, "owner/Tiny", source="hf-cache"))
    assert Layout(tmp_path / "layout").tags() == {}


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("owner/Other", "owner/Other is not in the Hugging Face cache .*hf download owner/Other"),
        ("owner/Tiny@nope", f"no snapshot of owner/Tiny@nope; .*{COMMIT}"),
        ("owner/Tiny@" + "f" * 40, "no snapshot of owner/Tiny@ffff"),
        ("owner/Tiny@../../../secret", "no snapshot of owner/Tiny@../../../secret"),
    ],
)
def test_what_is_not_in_the_cache(tmp_path: Path, model: str, message: str) -> None:
    """One line that says what is there instead, and no look outside of the cache."""
    write_cache(tmp_path / "hub", model_files())
    (tmp_path / "secret").write_text(COMMIT)
    with pytest.raises(ModelNotFound, match=message):
        plan_bake(request_for(tmp_path, model, source="hf-cache"))
