"""Other people's programs read what was baked: every file byte for byte, with its mode, and the digest unchanged.

crane comes with the project's tools (test_real_registry.py reads registries with it). skopeo, umoci and buildah are
used where they are installed; `apt-get install skopeo umoci buildah` brings all three on Debian and Ubuntu.
"""

import hashlib
import io
import json
import os
import shutil
import stat
import subprocess
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.tools import Crane, RegistryProcess, built_tool, running_registry
from tests.weight_bakery.support import (
    Layout,
    image_root,
    model_files,
    payload,
    safetensors,
    write_deps,
    write_files,
    write_package,
)
from weight_bakery import BakeReceipt, BakeRequest, bake

pytestmark = pytest.mark.tools

MIB = 1 << 20
LONG = "/".join(["a-folder-with-a-long-name-" + "x" * 40] * 3) + "/ünïcode.json"
"""More than 100 bytes, so that its header has a prefix."""
BASE = {"etc/os-release": b"NAME=something\n"}


@dataclass(frozen=True)
class Baked:
    """One image, in a layout and in a registry."""

    layout: Path
    registry: str
    receipt: BakeReceipt
    files: Mapping[str, bytes]
    """Every file that the image must show, by path."""

    @property
    def digest(self) -> str:
        return self.receipt.digest


def program(name: str) -> str:
    """Path of a foreign reader; skips the test where it is not installed."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not on PATH (apt-get install {name})")
    return found


def run(*arguments: str | Path, cwd: Path | None = None) -> str:
    """Run a foreign reader; a failure fails the test with what it said."""
    done = subprocess.run(arguments, capture_output=True, timeout=120, check=False, cwd=cwd, text=True)
    assert done.returncode == 0, f"{' '.join(map(str, arguments))}: {done.stderr[-500:]}"
    return done.stdout


@pytest.fixture(scope="module")
def baked(tmp_path_factory: pytest.TempPathFactory, registry: RegistryProcess, crane: Crane) -> Baked:
    """A gzip base, a split weight file, a long path, an executable, worker packages and code."""
    folder = tmp_path_factory.mktemp("foreign")
    with tarfile.open(folder / "base.tar.gz", "w:gz") as archive:
        member = tarfile.TarInfo("etc/os-release")
        member.size = len(BASE["etc/os-release"])
        archive.addfile(member, io.BytesIO(BASE["etc/os-release"]))
    base = f"{registry.host}/foreign/base:1"
    crane("append", "--oci-empty-base", "-f", str(folder / "base.tar.gz"), "-t", base)
    crane("mutate", base, "--set-platform", "linux/amd64")
    model = {
        **{name: content for name, content in model_files(shards=1).items() if not name.endswith(".safetensors")},
        "model.safetensors": safetensors({f"layer.{number}": payload(400_000, number) for number in range(6)}),
        "extra.safetensors": safetensors({"other": payload(10_000, 9)}),
        LONG: b"{}",
    }
    request = BakeRequest(
        model=str(write_files(folder / "Tiny", model)),
        to=f"{registry.host}/foreign/tiny:v1",
        base=base,
        max_layer_size=MIB,
        include=("extra.safetensors", "model.safetensors"),
        worker_deps=write_deps(folder / "deps"),
        worker_code=(write_package(folder, "vllm_worker"),),
    )
    receipt = bake(request)
    local = bake(BakeRequest(**{**vars(request), "to": f"oci:{folder}/layout:v1"}))
    assert local.digest == receipt.digest
    files = Layout(folder / "layout").files("v1")
    # What our own reader finds is the source: all but the file that was split, whose tensors test_reshard.py compares.
    whole = {name: content for name, content in model.items() if name not in ("README.md", "model.safetensors")}
    for path, content in (image_root(whole, "models/tiny") | BASE).items():
        assert files[path] == content
    assert sum(name.startswith("models/tiny/model-0000") for name in files) == 3
    return Baked(folder / "layout", f"{registry.host}/foreign/tiny", receipt, files)


def assert_tree(root: Path, files: Mapping[str, bytes]) -> None:
    """An unpacked image has these files and no others, readable by all, in folders that all may enter."""
    found = {path.relative_to(root).as_posix(): path for path in root.rglob("*") if path.is_file()}
    assert {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in found.items()} == {
        name: hashlib.sha256(content).hexdigest() for name, content in files.items()
    }
    ours = {name: path for name, path in found.items() if name not in BASE}
    for name, path in ours.items():
        executable = name.endswith("native.so")
        assert stat.S_IMODE(path.stat().st_mode) == (0o755 if executable else 0o644), name
        assert path.stat().st_mtime == 0, name
        for folder in path.parents:
            if folder == root:
                break
            assert stat.S_IMODE(folder.stat().st_mode) == 0o755, folder


def test_skopeo_copies_without_a_change(baked: Baked, registry: RegistryProcess, tmp_path: Path) -> None:
    """From the registry and from the layout, to a layout and to another repository: the same digest and bytes."""
    skopeo = program("skopeo")
    plain = ["--src-tls-verify=false", "--dest-tls-verify=false", "--preserve-digests"]
    mirror = f"{registry.host}/foreign/mirror"
    copies = {
        f"docker://{baked.registry}@{baked.digest}": f"oci:{tmp_path}/one:v1",
        f"oci:{baked.layout}:v1": f"oci:{tmp_path}/two:v1",
        f"docker://{baked.registry}:v1": f"docker://{mirror}:v1",
    }
    for source, target in copies.items():
        run(skopeo, "copy", *plain, source, target)
    for name in ("one", "two"):
        copy = Layout(tmp_path / name)
        assert copy.tags() == {"v1": baked.digest}
        assert copy.files("v1") == baked.files
    found = json.loads(run(skopeo, "inspect", "--tls-verify=false", f"docker://{mirror}:v1"))
    assert found["Digest"] == baked.digest
    assert found["Layers"] == [layer.digest for layer in baked.receipt.layers]
    assert (found["Architecture"], found["Os"]) == ("amd64", "linux")


def test_skopeo_without_its_flag_changes_the_digest(baked: Baked, tmp_path: Path) -> None:
    """What docs/how-to/mirror-images.md warns of: layers that the other side lacks are compressed on their way."""
    skopeo = program("skopeo")
    with running_registry(built_tool("registry"), tmp_path) as other:
        target = f"docker://{other.host}/compressed:v1"
        run(skopeo, "copy", "--dest-tls-verify=false", f"oci:{baked.layout}:v1", target)
        found = json.loads(run(skopeo, "inspect", "--tls-verify=false", "--raw", target))
        assert json.loads(run(skopeo, "inspect", "--tls-verify=false", target))["Digest"] != baked.digest
    assert {layer["mediaType"].rpartition("+")[2] for layer in found["layers"]} == {"gzip"}


def test_umoci_unpacks_the_layout(baked: Baked, tmp_path: Path) -> None:
    """All layers over each other, base and split files included."""
    umoci = program("umoci")
    rootless = [] if os.geteuid() == 0 else ["--rootless"]
    run(umoci, "unpack", *rootless, "--image", f"{baked.layout}:v1", tmp_path / "bundle")
    assert_tree(tmp_path / "bundle/rootfs", baked.files)


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[list[str]]:
    """A store of buildah's own for one test, and nothing left mounted."""
    buildah = program("buildah")
    command = [buildah, "--storage-driver", "vfs", "--root", f"{tmp_path}/store", "--runroot", f"{tmp_path}/run"]
    yield command
    subprocess.run([*command, "rm", "--all"], capture_output=True, timeout=60, check=False)


@pytest.mark.parametrize("where", ["layout", "registry"])
def test_buildah_takes_it_as_a_base(baked: Baked, storage: list[str], tmp_path: Path, where: str) -> None:
    """As `FROM` does: pulled, unpacked into its store, and mounted; the config is the one that was baked."""
    if os.geteuid() != 0:
        pytest.skip("buildah mounts its containers for root only, or inside `buildah unshare`")
    # It names images after the layout's path, which therefore must be lower case: a relative one is.
    source = "oci:layout:v1" if where == "layout" else f"docker://{baked.registry}:v1"
    name = run(*storage, "from", "--tls-verify=false", source, cwd=baked.layout.parent).strip()
    assert_tree(Path(run(*storage, "mount", name).strip()), baked.files)
    config = json.loads(run(*storage, "inspect", "--type", "image", only_image(storage)))
    ours = Layout(baked.layout).config("v1")
    assert config["OCIv1"]["rootfs"]["diff_ids"] == ours["rootfs"]["diff_ids"]
    assert config["OCIv1"]["config"]["Labels"] == ours["config"]["Labels"]
    assert config["FromImageDigest"] == baked.digest


def only_image(storage: list[str]) -> str:
    """Id of the only image in the store."""
    (image,) = json.loads(run(*storage, "images", "--json"))
    return str(image["id"])
