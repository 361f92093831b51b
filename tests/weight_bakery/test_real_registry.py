"""Pushing to the distribution registry, read back by crane."""

import asyncio
import hashlib
import io
import json
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.tools import Crane, RegistryProcess, built_tool, running_registry
from tests.weight_bakery.proxy import CountingProxy
from tests.weight_bakery.support import image_root, model_files, read_tar, write_deps, write_model, write_package
from weight_bakery import BakeReceipt, BakeRequest, Credentials, RegistryDenied, RegistryError, bake, bake_async

pytestmark = pytest.mark.tools


def outcomes(receipt: BakeReceipt) -> dict[str, str]:
    """What became of each layer."""
    return {layer.label: layer.outcome for layer in receipt.layers}


def expected_files() -> dict[str, bytes]:
    """What the image of the test model holds under /models."""
    return image_root({name: content for name, content in model_files().items() if name != "README.md"}, "models/tiny")


def test_the_pushed_image_is_the_source_byte_for_byte(tmp_path: Path, registry: RegistryProcess, crane: Crane) -> None:
    """crane finds the image sound, and every file in it equals the file it came from."""
    request = BakeRequest(
        model=str(write_model(tmp_path / "Tiny")),
        to=f"{registry.host}/push/tiny:v1",
        worker_deps=write_deps(tmp_path / "deps"),
        worker_code=(write_package(tmp_path, "vllm_worker"),),
    )
    receipt = bake(request)
    reference = f"{registry.host}/push/tiny:v1"
    # crane's full check runs gunzip over every layer, so uncompressed ones only pass the fast one; bytes are below.
    crane("validate", "--remote", reference, "--fast")
    assert crane("digest", reference).decode().strip() == receipt.digest
    exported = read_tar(crane("export", reference, "-"))
    assert exported == expected_files() | {
        "opt/vllm-worker/deps/pack/__init__.py": b"x = 1\n",
        "opt/vllm-worker/deps/pack/native.so": b"\x7fELF",
        "opt/vllm-worker/deps/pack-1.0.dist-info/METADATA": b"Name: pack\n",
        "opt/vllm-worker/deps/six.py": b"y = 2\n",
        "opt/vllm-worker/code/vllm_worker/__init__.py": b"'''A package.'''\n",
        "opt/vllm-worker/code/vllm_worker/data/table.json": b"{}",
    }
    manifest = json.loads(crane("manifest", reference))
    config = json.loads(crane("config", reference))
    assert config["rootfs"]["diff_ids"] == [layer["digest"] for layer in manifest["layers"]]
    for layer in manifest["layers"]:
        content = crane("blob", f"{registry.host}/push/tiny@{layer['digest']}")
        assert f"sha256:{hashlib.sha256(content).hexdigest()}" == layer["digest"]
        assert len(content) == layer["size"]


def test_crane_pulls_it_as_a_tarball(tmp_path: Path, registry: RegistryProcess, crane: Crane) -> None:
    """The stock client writes the image to a tarball whose layers are ours."""
    receipt = bake(BakeRequest(model=str(write_model(tmp_path / "Tiny")), to=f"{registry.host}/pull/tiny:v1"))
    crane("pull", f"{registry.host}/pull/tiny:v1", str(tmp_path / "image.tar"))
    with tarfile.open(tmp_path / "image.tar") as archive:
        names = archive.getnames()
    assert receipt.config_digest in names


async def test_a_second_push_sends_no_layer(tmp_path: Path, registry: RegistryProcess) -> None:
    """With nothing remembered, the layers are hashed here and asked for by digest; not one layer byte goes out."""
    model = write_model(tmp_path / "Tiny", shard_bytes=400_000)
    async with CountingProxy(registry.host) as proxy:
        request = BakeRequest(model=str(model), to=f"{proxy.host}/again/tiny:v1")
        first = await bake_async(request)
        first_bytes, proxy.sent = proxy.sent, 0
        second = await bake_async(request)
        second_bytes = proxy.sent
    assert first.sent_bytes == first.size < first_bytes
    assert set(outcomes(second).values()) == {"present"}
    assert (second.sent_bytes, second.digest) == (0, first.digest)
    assert second_bytes < 20_000, "only questions and the manifest"


async def test_a_changed_config_sends_only_the_small_files(tmp_path: Path, registry: RegistryProcess) -> None:
    """A re-bake after a change moves what changed."""
    model = write_model(tmp_path / "Tiny", shard_bytes=100_000)
    request = BakeRequest(model=str(model), to=f"{registry.host}/change/tiny:v1")
    first = await bake_async(request)
    (model / "chat_template.jinja").write_text("{{ other }}")
    second = await bake_async(request)
    assert [layer.outcome for layer in second.layers] == ["present", "present", "sent"]
    assert second.digest != first.digest


def test_base_layers_on_the_same_registry_are_mounted(tmp_path: Path, registry: RegistryProcess, crane: Crane) -> None:
    """The base's gzip layer reaches the new repository without a byte of it moving."""
    base = tmp_path / "base.tar.gz"
    with tarfile.open(base, "w:gz") as archive:
        member = tarfile.TarInfo("etc/os-release")
        member.size = 15
        archive.addfile(member, io.BytesIO(b"NAME=something\n"))
    reference = f"{registry.host}/base/os:1"
    crane("append", "--oci-empty-base", "-f", str(base), "-t", reference)
    crane("mutate", reference, "--set-platform", "linux/amd64", "--env", "PATH=/base/bin", "--env", "KEEP=1")
    request = BakeRequest(model=str(write_model(tmp_path / "Tiny")), to=f"{registry.host}/on/base:v1", base=reference)
    receipt = bake(request)
    assert receipt.layers[0].outcome == "mounted"
    assert sum(layer.size for layer in receipt.layers[1:]) == receipt.sent_bytes
    assert receipt.base_digest == crane("digest", reference).decode().strip()
    exported = read_tar(crane("export", f"{registry.host}/on/base:v1", "-"))
    assert exported == expected_files() | {"etc/os-release": b"NAME=something\n"}
    config = json.loads(crane("config", f"{registry.host}/on/base:v1"))["config"]
    assert "PATH=/base/bin" in config["Env"]
    assert "KEEP=1" in config["Env"]
    again = bake(request)
    assert (again.sent_bytes, again.layers[0].outcome) == (0, "present")


def test_a_base_from_another_registry_is_streamed_once(tmp_path: Path, registry: RegistryProcess, crane: Crane) -> None:
    """A base in a layout (or another registry) is copied whole, and byte for byte."""
    layout = tmp_path / "layout"
    model = str(write_model(tmp_path / "Tiny"))
    from_layout = bake(BakeRequest(model=model, to=f"oci:{layout}:base"))
    receipt = bake(BakeRequest(model=model, to=f"{registry.host}/other/tiny:v1", base=f"oci:{layout}:base", name="two"))
    base_layers = [layer for layer in receipt.layers if layer.role == "base"]
    assert [layer.digest for layer in base_layers] == [layer.digest for layer in from_layout.layers]
    assert {layer.outcome for layer in base_layers} == {"sent"}
    exported = read_tar(crane("export", f"{registry.host}/other/tiny:v1", "-"))
    assert {name.split("/")[1] for name in exported} == {"tiny", "two"}


def test_layout_and_registry_hold_the_same_image(tmp_path: Path, registry: RegistryProcess) -> None:
    """Where an image goes does not change what it is."""
    model = str(write_model(tmp_path / "Tiny"))
    here = bake(BakeRequest(model=model, to=f"oci:{tmp_path}/layout:v1"))
    there = bake(BakeRequest(model=model, to=f"{registry.host}/same/tiny:v2"))
    assert here.digest == there.digest


def test_a_real_registry_that_wants_a_login(tmp_path: Path, registry: RegistryProcess) -> None:
    """Without a login one clear line and nothing stored; with it the image is there."""
    (tmp_path / "htpasswd").write_text("me:$2b$05$r4ydimfK1S/wWOReCre96e37B2uW9oJzCWe.2XmayDzLMecIdrEym\n")
    extra = f"auth: {{htpasswd: {{realm: test, path: {tmp_path}/htpasswd}}}}\n"
    model = str(write_model(tmp_path / "Tiny"))
    with running_registry(built_tool("registry"), tmp_path, extra=extra) as closed:
        request = BakeRequest(model=model, to=f"{closed.host}/closed/tiny:v1")
        with pytest.raises(RegistryDenied, match=rf"{closed.host} refused .*HTTP 401.*docker login") as caught:
            bake(request)
        assert "\n" not in str(caught.value)
        with pytest.raises(RegistryDenied) as wrong:
            bake(replace(request, credentials=Credentials("me", "not-the-password")))
        assert "not-the-password" not in str(wrong.value)
        receipt = bake(replace(request, credentials=Credentials("me", "the-password")))
        assert receipt.sent_bytes == receipt.size


def test_a_read_only_registry_refuses_in_one_line(tmp_path: Path, registry: RegistryProcess) -> None:
    """405 with the registry's own words, at once."""
    read_only = ", maintenance: {readonly: {enabled: true}}"
    with running_registry(built_tool("registry"), tmp_path, storage=read_only) as closed:
        request = BakeRequest(model=str(write_model(tmp_path / "Tiny")), to=f"{closed.host}/closed/tiny:v1")
        with pytest.raises(RegistryError, match=r"refused to start an upload \(HTTP 405: Method not allowed\)"):
            bake(request)


async def test_two_bakes_at_once_into_one_repository(tmp_path: Path, registry: RegistryProcess) -> None:
    """Neither disturbs the other, and each tag shows its own image."""
    first = BakeRequest(model=str(write_model(tmp_path / "a" / "Tiny")), to=f"{registry.host}/both/tiny:a")
    second = BakeRequest(model=str(write_model(tmp_path / "b" / "Tiny", shards=3)), to=f"{registry.host}/both/tiny:b")
    one, two = await asyncio.gather(bake_async(first), bake_async(second))
    assert (await bake_async(first)).digest == one.digest != two.digest
