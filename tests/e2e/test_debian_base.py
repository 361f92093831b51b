"""A model baked onto a root made from Debian's packages, and run."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.runpod_emulator.host.support import File, Image, bench, folder, symlink, tar
from tests.weight_bakery.support import write_model
from weight_bakery import BakeRequest, bake_async

PACKAGES = (
    "base-files",
    "dash",
    "coreutils",
    "libc6",
    "libselinux1",
    "libpcre2-8-0",
    "libacl1",
    "libattr1",
    "libgmp10",
)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not shutil.which("apt-get") or not shutil.which("dpkg-deb"), reason="no apt-get and dpkg-deb here"
    ),
]


@pytest.fixture(scope="module")
def debian(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the packages unpacked; skips where apt cannot fetch them."""
    root = tmp_path_factory.mktemp("debian")
    packages = tmp_path_factory.mktemp("packages")
    packages.chmod(0o755)
    done = subprocess.run(["apt-get", "download", *PACKAGES], cwd=packages, capture_output=True, text=True, timeout=100)
    if done.returncode:
        pytest.skip(f"apt-get cannot download Debian's packages here: {done.stderr.strip().splitlines()[-1]}")
    for package in sorted(packages.glob("*.deb")):
        subprocess.run(["dpkg-deb", "-x", package, root], check=True, timeout=60)
    return root


def layer(root: Path) -> bytes:
    """The folder as one layer."""
    files = []
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        if path.is_symlink():
            files.append(symlink(name, str(path.readlink())))
        elif path.is_dir():
            files.append(folder(name))
        elif path.is_file():
            files.append(File(name, path.read_bytes(), mode=path.stat().st_mode & 0o755))
    return tar(files)


async def test_a_model_on_a_debian_root_runs_with_debians_own_programs(debian: Path, tmp_path: Path) -> None:
    """The base's layers and settings stay as they are; the weights stand beside them."""
    script = "cat /etc/debian_version; ls /models/tiny; sha256sum /models/tiny/config.json; readlink -f /proc/$$/exe"
    base = Image(
        [layer(debian)], {"Entrypoint": ["/bin/sh", "-c", script], "Env": ["PATH=/usr/bin:/bin"]}, gzipped=True
    )
    async with bench(tmp_path) as host:
        assert host.config.image_root is not None
        base.write(host.config.image_root / "base")
        model = write_model(tmp_path / "Tiny")
        images = host.config.image_root / "images"
        receipt = await bake_async(
            BakeRequest(model=str(model), to=f"oci:{images}:v1", base=f"oci:{host.config.image_root / 'base'}:1")
        )
        code, said = await host.run(f"oci:images:v1@{receipt.digest}")
    assert code == 0, said
    assert said[0] == (debian / "etc/debian_version").read_text().strip()
    assert "model.safetensors" in " ".join(said)
    assert said[-1] == "/bin/dash"
    manifest = json.loads((images / "blobs/sha256" / receipt.digest.removeprefix("sha256:")).read_bytes())
    assert manifest["layers"][0]["digest"] == base.layer_digests[0]
