"""Small OCI images made by hand, hosts that run them, and a look at what is left of them."""

import asyncio
import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runpod_emulator.config import Config
from runpod_emulator.host import Isolation, LocalContainer, LocalHost
from runpod_emulator.host import _processes as processes
from runpod_emulator.model import ContainerSpec

MODES: tuple[Isolation, ...] = ("overlay", "binds", "none")


def digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


@dataclass(frozen=True)
class File:
    path: str
    content: bytes = b""
    kind: bytes = tarfile.REGTYPE
    link: str = ""
    mode: int = 0o644
    mtime: float = 0


def folder(path: str, mode: int = 0o755) -> File:
    return File(path, kind=tarfile.DIRTYPE, mode=mode)


def symlink(path: str, target: str) -> File:
    return File(path, kind=tarfile.SYMTYPE, link=target, mode=0o777)


def hardlink(path: str, target: str) -> File:
    return File(path, kind=tarfile.LNKTYPE, link=target)


def tar(files: Sequence[File], form: int = tarfile.PAX_FORMAT) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as archive:
        for file in files:
            info = tarfile.TarInfo(file.path)
            info.type, info.linkname, info.mode, info.mtime = file.kind, file.link, file.mode, file.mtime
            info.size = len(file.content) if file.kind == tarfile.REGTYPE else 0
            archive.addfile(info, io.BytesIO(file.content) if info.size else None)
    return out.getvalue()


@dataclass
class Image:
    """An image as documents and blobs. `blobs` is digest -> bytes and holds everything."""

    layers: Sequence[bytes]
    config: Mapping[str, Any] = field(default_factory=dict)
    gzipped: bool = False
    index: bool = False
    docker: bool = False
    blobs: dict[str, bytes] = field(default_factory=dict)
    layer_digests: list[str] = field(default_factory=list)
    manifest: bytes = b""
    media_type: str = "application/vnd.oci.image.manifest.v1+json"
    layer_type: str | None = None

    def __post_init__(self) -> None:
        config = {
            "architecture": "amd64",
            "os": "linux",
            "config": dict(self.config),
            "rootfs": {"type": "layers", "diff_ids": [digest(layer) for layer in self.layers]},
        }
        stored = [gzip.compress(layer, mtime=0) if self.gzipped else layer for layer in self.layers]
        kind = (
            "application/vnd.docker.image.rootfs.diff.tar" if self.docker else "application/vnd.oci.image.layer.v1.tar"
        )
        suffix = (".gzip" if self.docker else "+gzip") if self.gzipped else ""
        prefix = "application/vnd.docker.distribution.manifest" if self.docker else "application/vnd.oci.image"
        if self.docker:
            self.media_type = f"{prefix}.v2+json"
        manifest = {
            "schemaVersion": 2,
            "mediaType": self.media_type,
            "config": self._blob(json.dumps(config).encode(), "application/vnd.oci.image.config.v1+json"),
            "layers": [self._blob(layer, self.layer_type or kind + suffix) for layer in stored],
        }
        self.layer_digests = [digest(layer) for layer in stored]
        self.manifest = json.dumps(manifest).encode()
        self.digest = digest(self.manifest)
        top = self._blob(self.manifest, self.media_type)
        if self.index:
            self.media_type = f"{prefix}.list.v2+json" if self.docker else "application/vnd.oci.image.index.v1+json"
            other = {**top, "digest": f"sha256:{'0' * 64}", "platform": {"os": "linux", "architecture": "arm64"}}
            mine = {**top, "platform": {"os": "linux", "architecture": "amd64"}}
            self.manifest = json.dumps({"schemaVersion": 2, "manifests": [other, mine]}).encode()
            self._blob(self.manifest, self.media_type)

    def _blob(self, content: bytes, media_type: str) -> dict[str, Any]:
        self.blobs[digest(content)] = content
        return {"mediaType": media_type, "digest": digest(content), "size": len(content)}

    def write(self, layout: Path, tag: str = "1") -> str:
        """Put the image into an OCI layout beside what is there; returns the digest of what the tag names."""
        blobs = layout / "blobs" / "sha256"
        blobs.mkdir(parents=True, exist_ok=True)
        for name, content in self.blobs.items():
            (blobs / name.removeprefix("sha256:")).write_bytes(content)
        (layout / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
        index = layout / "index.json"
        listed = json.loads(index.read_text())["manifests"] if index.exists() else []
        entry = {"mediaType": self.media_type, "digest": digest(self.manifest), "size": len(self.manifest)}
        entry["annotations"] = {"org.opencontainers.image.ref.name": tag}
        kept = [other for other in listed if other["annotations"] != entry["annotations"]]
        index.write_text(json.dumps({"schemaVersion": 2, "manifests": [*kept, entry]}))
        return digest(self.manifest)


def shell_image(script: str, *files: File, **config: Any) -> Image:
    """An image whose program is a shell script; the shell is the host's, since the image has no /usr."""
    return Image([tar([folder("models"), *files])], {"Entrypoint": ["/bin/sh", "-c", script], **config})


def below(pids: list[int]) -> set[processes.Process]:
    """These processes with everything they started."""
    states = processes.all_states()
    return {state.process for state in states if state.process.pid in pids} | processes.descendants(states, pids)


@dataclass
class Bench:
    """A host on a state directory of its own, and a folder for layouts."""

    host: LocalHost
    config: Config
    number: int = 0
    containers: list[LocalContainer] = field(default_factory=list)

    def spec(self, image: str, **fields: Any) -> ContainerSpec:
        self.number += 1
        return ContainerSpec(
            **{"worker_id": f"w{self.number}", "endpoint_id": "e1", "image": image, "env": {}, **fields}
        )

    async def start(self, image: Image | str, **fields: Any) -> LocalContainer:
        if isinstance(image, Image):
            assert self.config.image_root is not None
            image.write(self.config.image_root / "images", f"t{self.number + 1}")
            image = f"oci:images:t{self.number + 1}"
        container = await self.host.start(self.spec(image, **fields))
        self.containers.append(container)
        return container

    async def run(self, image: Image | str, **fields: Any) -> tuple[int, list[str]]:
        """Exit code and container output."""
        container = await self.start(image, **fields)
        async with asyncio.timeout(20):
            code = await container.wait()
        return code, self.said(container.worker_id)

    def said(self, worker_id: str, source: str = "container") -> list[str]:
        return [line.line for line in self.host.logs(worker_id).read(source=source)]

    async def until(self, worker_id: str, word: str) -> None:
        """Wait until the worker's program says so."""
        async with asyncio.timeout(20):
            async for line in self.host.logs(worker_id).follow(source="container"):
                if word in line.line:
                    return


@asynccontextmanager
async def bench(folder: Path, isolation: Isolation | None = None, **config: Any) -> AsyncIterator[Bench]:
    settings = Config(state_dir=folder / "state", image_root=folder / "root", **config)
    assert settings.image_root is not None
    settings.image_root.mkdir(parents=True, exist_ok=True)
    made = Bench(LocalHost(settings, isolation=isolation), settings)
    try:
        yield made
    finally:
        for container in made.containers:
            await container.stop(0)
