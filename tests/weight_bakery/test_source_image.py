"""Baking from another image: its files are taken out of its layers, and the model's own source is not needed."""

import gzip
import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from tests.support.tools import Crane, RegistryProcess
from tests.weight_bakery.hub import Hub
from tests.weight_bakery.support import Layout, image_root, model_files, write_model
from weight_bakery import (
    BadRequest,
    BakeRequest,
    ModelNotFound,
    SourceDamaged,
    SourceError,
    bake,
    bake_async,
    plan_bake,
    read_lock,
)

FILES = {name: content for name, content in model_files().items() if name != "README.md"}


def write_image(folder: Path, layers: list[tuple[str, bytes]], tag: str = "v1") -> str:
    """A layout of foreign making: layers of a media type's ending and their bytes."""
    blobs = folder / "blobs/sha256"
    blobs.mkdir(parents=True)

    def put(content: bytes) -> dict[str, Any]:
        digest = hashlib.sha256(content).hexdigest()
        (blobs / digest).write_bytes(content)
        return {"digest": f"sha256:{digest}", "size": len(content)}

    base = "application/vnd.oci.image"
    config = {
        "architecture": "amd64",
        "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": ["sha256:" + "0" * 64] * len(layers)},
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": f"{base}.manifest.v1+json",
        "config": {"mediaType": f"{base}.config.v1+json", **put(json.dumps(config).encode())},
        "layers": [{"mediaType": f"{base}.layer.v1.{kind}", **put(content)} for kind, content in layers],
    }
    entry = {"mediaType": manifest["mediaType"], **put(json.dumps(manifest).encode())}
    entry["annotations"] = {"org.opencontainers.image.ref.name": tag}
    (folder / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
    return f"oci:{folder}:{tag}"


def tar_of(files: dict[str, bytes | str], *, format: int = tarfile.PAX_FORMAT) -> bytes:
    """A tar archive as a build tool writes it; a text is a symbolic link's target."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=format) as archive:
        for path, content in files.items():
            member = tarfile.TarInfo(path)
            if isinstance(content, str):
                member.type, member.linkname = tarfile.SYMTYPE, content
                archive.addfile(member)
            else:
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    return stream.getvalue()


async def test_an_image_is_baked_again_without_its_model(hub: Hub, tmp_path: Path) -> None:
    """The second image is the first one: same layers, same model, same commit, and the Hub is not asked."""
    hub.extra = {"cardData": {"license": "mit"}, "gated": False}
    first = await bake_async(BakeRequest(model="owner/Tiny", to=f"oci:{tmp_path}/a:v1", hub_endpoint=hub.origin))
    hub.seen.clear()
    again = await bake_async(BakeRequest(model=f"oci:{tmp_path}/a:v1", to=f"oci:{tmp_path}/b:v1"))
    assert hub.seen == {}
    assert (again.digest, again.kind, again.revision) == (first.digest, "image", first.revision)
    assert Layout(tmp_path / "b").files("v1") == Layout(tmp_path / "a").files("v1")


def test_into_its_own_layout_nothing_is_read(tmp_path: Path) -> None:
    """The image says its digests; the layers are there."""
    bake(BakeRequest(model=str(write_model(tmp_path / "Tiny")), to=f"oci:{tmp_path}/a:v1"))
    (tmp_path / "a/.bakery/digests.json").unlink()
    again = bake(BakeRequest(model=f"oci:{tmp_path}/a:v1", to=f"oci:{tmp_path}/a:v2"))
    assert (again.sent_bytes, again.hashed_bytes) == (0, 0)
    tags = Layout(tmp_path / "a").tags()
    assert tags["v1"] == tags["v2"]


def test_the_lock_names_a_layout_by_its_place_beside_it(tmp_path: Path) -> None:
    """No path of this machine gets into a file that is committed."""
    bake(BakeRequest(model=str(write_model(tmp_path / "Tiny")), to=f"oci:{tmp_path}/a:v1"))
    lock = tmp_path / "weights.lock"
    bake(BakeRequest(model=f"oci:{tmp_path}/a:v1", to=f"oci:{tmp_path}/b:v1", lock=lock))
    assert next(iter(read_lock(lock).images.values())).source == "oci:a:v1"
    assert str(tmp_path) not in lock.read_text()


def test_another_name_makes_other_layers_of_the_same_files(tmp_path: Path) -> None:
    """The path in the image is part of a layer; the files are streamed out of the old ones."""
    bake(BakeRequest(model=str(write_model(tmp_path / "Tiny")), to=f"oci:{tmp_path}/a:v1"))
    bake(BakeRequest(model=f"oci:{tmp_path}/a:v1", to=f"oci:{tmp_path}/b:v1", name="other"))
    assert Layout(tmp_path / "b").files("v1") == image_root(FILES, "models/other")


@pytest.mark.parametrize("form", ["tar", "tar+gzip"])
def test_any_image_with_a_model_in_it(tmp_path: Path, form: str) -> None:
    """As `RUN huggingface-cli download` makes it: a cache with links, pax headers, and a layer that deletes."""
    blobs = {f"root/.cache/blobs/{'n' * 120}{number}": content for number, content in enumerate(FILES.values())}
    links: dict[str, bytes | str] = {
        f"opt/model/{name}": f"../../{blob}" for name, blob in zip(FILES, blobs, strict=True)
    }
    lower = tar_of({**blobs, "opt/model/gone.json": b"{}", "etc/passwd": b"root"})
    upper = tar_of({**links, "opt/model/.wh.gone.json": b""})
    packed = [gzip.compress(content) if form == "tar+gzip" else content for content in (lower, upper)]
    image = write_image(tmp_path / "foreign", [(form, content) for content in packed])
    receipt = bake(BakeRequest(model=f"{image}#/opt/model", to=f"oci:{tmp_path}/b:v1"))
    assert Layout(tmp_path / "b").files("v1") == image_root(FILES, "models/model")
    assert (receipt.model, receipt.revision[:7]) == ("model", "sha256:")


def test_a_damaged_layer_is_noticed(tmp_path: Path) -> None:
    """The image's own digests are checked while its files are read."""
    bake(BakeRequest(model=str(write_model(tmp_path / "Tiny")), to=f"oci:{tmp_path}/a:v1"))
    layer = Layout(tmp_path / "a").manifest("v1")["layers"][0]["digest"]
    blob = tmp_path / "a/blobs/sha256" / layer.removeprefix("sha256:")
    content = bytearray(blob.read_bytes())
    content[-2000] ^= 1
    blob.write_bytes(content)
    with pytest.raises(SourceDamaged, match="has not the digest its source promised"):
        bake(BakeRequest(model=f"oci:{tmp_path}/a:v1", to=f"oci:{tmp_path}/b:v1", name="other"))


def test_what_is_no_model_in_an_image(tmp_path: Path) -> None:
    """A folder must be named, be there, and be readable."""
    image = write_image(tmp_path / "foreign", [("tar", tar_of({"opt/model/config.json": b"{}"}))])
    zstd = write_image(tmp_path / "zstd", [("tar+zstd", b"x")])
    broken = write_image(tmp_path / "broken", [("tar", b"x" * 3000)])
    to = f"oci:{tmp_path}/b:v1"
    for model, error, message in (
        (image, BadRequest, "does not say where its model is; name the folder inside the image"),
        (f"{image}#/opt/other", ModelNotFound, "no file under /opt/other"),
        (f"{image}#opt", BadRequest, "write it from its root"),
        (f"{zstd}#/opt", SourceError, "layer 1 is compressed with zstd"),
        (f"{broken}#/opt", SourceError, "layer 1 is not a tar archive"),
        (f"oci:{tmp_path}/foreign:v2", SourceError, "--model image .*:v2 does not exist"),
    ):
        with pytest.raises(error, match=message):
            plan_bake(BakeRequest(model=model, to=to))
    assert not (tmp_path / "b").exists()


@pytest.mark.tools
def test_inside_one_registry_weights_are_mounted(tmp_path: Path, registry: RegistryProcess, crane: Crane) -> None:
    """Onto another base in another repository: not one weight byte moves, and the plan says so beforehand."""
    first = bake(BakeRequest(model=str(write_model(tmp_path / "Tiny")), to=f"{registry.host}/image/first:v1"))
    request = BakeRequest(model=f"image:{registry.host}/image/first:v1", to=f"{registry.host}/image/second:v1")
    plan = plan_bake(request)
    assert (plan.to_mount, plan.to_send, plan.undecided) == (plan.size, 0, 0)
    again = bake(request)
    assert {layer.outcome for layer in again.layers} == {"mounted"}
    assert (again.sent_bytes, again.hashed_bytes, again.digest) == (0, 0, first.digest)
    crane("validate", "--remote", f"{registry.host}/image/second:v1", "--fast")
