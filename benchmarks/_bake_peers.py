"""The other packers: each turns the same model into something in the same kind of registry, as well as it can.

What a tool needs first (tar files, a layout) is made within its time, on tmpfs where there is room. A tool that is not
here is left out with the reason.
"""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks._bake_ground import (
    ROOT,
    Bakery,
    GroundError,
    Registry,
    Watched,
    built,
    end,
    place,
    running_registry,
    size_of,
    watched,
)
from benchmarks._bake_hub import REPOSITORY

ENVIRONMENT = ROOT / ".local" / "envs" / "bench-bake"
REQUIREMENTS = ROOT / "requirements" / "bench-bake.txt"
DEBIAN = "`apt-get install buildah skopeo runc` (Debian, Ubuntu) brings it"

_ORAS = """
import sys
from oras.client import OrasClient
target, *files = sys.argv[1:]
OrasClient(insecure=True).push(target, files=files, disable_path_validation=True)
"""


@dataclass(frozen=True)
class Work:
    """Where a peer works, and with what."""

    model: Path
    registry: Registry
    scratch: Path
    bakery: Bakery
    hub: str
    """Address of a Hub that has the model."""

    def run(self, *command: str | Path, env: Mapping[str, str] | None = None) -> float:
        """Run one command of a peer; its seconds."""
        environment = {**self.bakery.environment(), "TMPDIR": str(self.scratch), **(env or {})}
        return watched(command, cwd=self.scratch, env=environment).seconds

    def target(self, name: str) -> str:
        """The image that a peer makes."""
        return f"{self.registry.host}/{name}:v1"


def crane_append(work: Work) -> float:
    """A tar file per shard (by GNU tar), then `crane append`, which compresses every layer with gzip."""
    seconds, tars = 0.0, []
    shards = sorted(work.model.glob("*.safetensors"))
    others = [path for path in work.model.iterdir() if path not in shards]
    for number, files in enumerate([*([shard] for shard in shards), others]):
        tar = work.scratch / f"{number}.tar"
        names = [path.name for path in files]
        seconds += work.run("tar", "-cf", tar, "-C", work.model, "--transform", "s,^,models/model/,", *names)
        tars += ["-f", str(tar)]
    return seconds + work.run(built("crane"), "append", *tars, "-t", work.target("crane"))


def buildah(work: Work) -> float:
    """`FROM scratch`, `COPY` the model, `buildah bud`, `buildah push`: the Dockerfile way without a daemon."""
    program = _found("buildah")
    (work.scratch / "Dockerfile").write_text("FROM scratch\nCOPY model /models/model\n")
    stored = ["--storage-driver", _driver(work), "--root", f"{work.scratch}/root", "--runroot", f"{work.scratch}/run"]
    build = ["bud", "--isolation", "chroot", "-f", f"{work.scratch}/Dockerfile", "-t", "bench", f"{work.model.parent}"]
    seconds = work.run(program, *stored, *build)
    push = ["push", "--tls-verify=false", "--format", "oci", "bench", f"docker://{work.target('buildah')}"]
    return seconds + work.run(program, *stored, *push)


def layout_crane(work: Work) -> float:
    """A layout, made by this project (uncompressed, a layer per file), then `crane push`."""
    seconds = _layout(work)
    return seconds + work.run(built("crane"), "push", work.scratch / "layout", work.target("layout-crane"))


def layout_skopeo(work: Work) -> float:
    """A layout, made by this project, then `skopeo copy` as it is (--preserve-digests: no compression)."""
    program = _found("skopeo")
    seconds = _layout(work)
    source, target = f"oci:{work.scratch}/layout:v1", f"docker://{work.target('layout-skopeo')}"
    return seconds + work.run(program, "copy", "--preserve-digests", "--dest-tls-verify=false", source, target)


def oras(work: Work) -> float:
    """`oras` from PyPI: every file a raw blob of an artifact, which no engine runs."""
    files = [str(path) for path in sorted(work.model.iterdir())]
    return work.run(environment(), "-c", _ORAS, work.target("oras"), *files)


def oci_modelcar(work: Work) -> float:
    """`oci-modelcar` from PyPI, four workers: Hub to registry through its spool; no base, no config to run."""
    repository, _, tag = work.target("modelcar").removeprefix(f"{work.registry.host}/").partition(":")
    program = environment().with_name("oci-modelcar")
    return work.run(
        program, "push", "--hf-repo", REPOSITORY, "--hf-endpoint", work.hub, "--hf-revision", "main",
        "--registry", work.registry.host, "--target-repo", repository, "--target-tag", tag,
        "--spool-dir", work.scratch / "spool", "--workers", "4", "--clean-hf-after-push", "--quiet",
    )  # fmt: skip


@dataclass(frozen=True)
class Peer:
    """One of the others."""

    name: str
    run: Callable[[Work], float]
    room: float
    """Scratch space that it needs, in sizes of the model."""
    from_hub: bool = False


PEERS = (
    Peer("crane append", crane_append, 1.1),
    Peer("buildah bud + push", buildah, 3.2),
    Peer("layout + crane push", layout_crane, 1.1),
    Peer("layout + skopeo copy", layout_skopeo, 1.1),
    Peer("oras", oras, 0.0),
    Peer("oci-modelcar", oci_modelcar, 2.2, from_hub=True),
)


def environment() -> Path:
    """The Python of the peers from PyPI, in an environment of its own, with locked versions."""
    python, lock = ENVIRONMENT / "bin" / "python", ENVIRONMENT / "lock.txt"
    if lock.is_file() and lock.read_text() == REQUIREMENTS.read_text():
        return python
    sys.path.append(str(ROOT / "tools"))
    from setup import SetupError, uv

    try:
        tool = uv()
        for step in (
            ("venv", "--quiet", "--allow-existing", "--python", sys.executable, "--no-project", ENVIRONMENT),
            ("pip", "sync", "--quiet", "--python", python, "--require-hashes", REQUIREMENTS),
        ):
            done = subprocess.run([str(tool), *map(str, step)], capture_output=True, text=True, check=False)
            if done.returncode:
                raise GroundError(f"cannot be installed: {(done.stderr.strip().splitlines() or ['no reason'])[-1]}")
    except SetupError as error:
        raise GroundError(f"cannot be installed: {str(error).splitlines()[0]}") from error
    lock.write_text(REQUIREMENTS.read_text())
    return python


@contextmanager
def running_hub(model: Path) -> Iterator[str]:
    """A Hub that serves the model, in a process of its own; yields its address."""
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks._bake_hub", model],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield process.stdout.readline().decode().strip()
    finally:
        process.stdin.close()
        process.stdout.close()
        end(process)


def time_peer(peer: Peer, model: Path, memory: Path, disk: Path, bakery: Bakery, hub: str) -> float:
    """Seconds of one run of a peer, into a new registry on tmpfs."""
    size = size_of(model)
    # The registry takes the model once too.
    scratch = Path(tempfile.mkdtemp(prefix="peer-", dir=place(memory, disk, int((peer.room + 1.2) * size))))
    try:
        with running_registry(memory) as registry:
            return peer.run(Work(model, registry, scratch, bakery, hub))
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _layout(work: Work) -> float:
    made: Watched = work.bakery.bake(work.model, f"oci:{work.scratch}/layout:v1")
    return made.seconds


def _found(name: str) -> str:
    program = shutil.which(name)
    if program is None:
        raise GroundError(f"{name} is not on PATH; {DEBIAN}")
    return program


def _driver(work: Work) -> str:
    """The fastest of buildah's storage drivers that works here: overlay, or plain copies."""
    for driver in ("overlay", "vfs"):
        where = ["--root", f"{work.scratch}/try", "--runroot", f"{work.scratch}/try-run"]
        command = [_found("buildah"), "--storage-driver", driver, *where, "from", "--name", "bench-try", "scratch"]
        done = subprocess.run(command, env=work.bakery.environment(), capture_output=True, check=False)
        if done.returncode == 0:
            return driver
    raise GroundError(f"buildah has no storage here: {done.stderr.decode(errors='replace').strip()[-200:]}")
