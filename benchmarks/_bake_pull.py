"""The other end: how long a host pulls and unpacks, from layers of ours and from one gzip layer.

The image to compare with is what RunPod documents: the weights downloaded in a `RUN` of the Dockerfile, which makes
one layer, compressed with gzip by the push. The puller does what engines do by default: up to three layers at a time
go to files and their digests are checked; layers are unpacked one after the other, in order, each as soon as it is
there, and the digest of the tar stream is checked against the config.

`python -m benchmarks._bake_pull <host> <repository:tag> <folder>` pulls one image; everything in it runs in threads
whose work (sockets, sha256, zlib, files) leaves the interpreter lock alone.
"""

import hashlib
import http.client
import json
import subprocess
import sys
import tarfile
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO, cast

from benchmarks._bake_ground import MIB, ROOT, Bakery, Registry, watched

_DOWNLOADS = 3
_PIECE = MIB
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_CONFIG = "application/vnd.oci.image.config.v1+json"
_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"


def time_pull(registry: Registry, image: str, model: Path, scratch: Path, bakery: Bakery) -> float:
    """Seconds to pull and unpack an image in a process of its own; what came is compared with the model."""
    environment = {**bakery.environment(), "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"}
    command = [sys.executable, "-m", "benchmarks._bake_pull", registry.host, image, str(scratch)]
    seconds = watched(command, cwd=bakery.home, env=environment).seconds
    unpacked = {path.name: path for path in (scratch / "root").rglob("*") if path.is_file()}
    for path in model.iterdir():
        if path.name not in unpacked or unpacked[path.name].stat().st_size != path.stat().st_size:
            raise ValueError(f"{path.name} did not come with {image}")
    return seconds


def push_single_gzip(host: str, image: str, model: Path, scratch: Path) -> int:
    """Push the model as an image of one gzip layer; returns the layer's size. Its making is not timed."""
    repository, _, tag = image.partition(":")
    packed = scratch / "single.tar.gz"
    with tarfile.open(packed, "w:gz", compresslevel=1) as archive:
        archive.add(model, "models/model")
    diff_id = hashlib.sha256()
    with packed.open("rb") as stream:
        digest = f"sha256:{hashlib.file_digest(stream, 'sha256').hexdigest()}"
        stream.seek(0)
        for piece in _inflated(_pieces(stream)):
            diff_id.update(piece)
    config = json.dumps(
        {"architecture": "amd64", "os": "linux", "config": {},
         "rootfs": {"type": "layers", "diff_ids": [f"sha256:{diff_id.hexdigest()}"]}}
    ).encode()  # fmt: skip
    config_digest = f"sha256:{hashlib.sha256(config).hexdigest()}"
    size = packed.stat().st_size
    with packed.open("rb") as stream:
        _upload(host, repository, digest, stream, size)
    _upload(host, repository, config_digest, config, len(config))
    manifest = {
        "schemaVersion": 2,
        "mediaType": _MANIFEST,
        "config": {"mediaType": _CONFIG, "digest": config_digest, "size": len(config)},
        "layers": [{"mediaType": _LAYER, "digest": digest, "size": size}],
    }
    where = f"/v2/{repository}/manifests/{tag}"
    _asked(host, "PUT", where, 201, json.dumps(manifest).encode(), {"Content-Type": _MANIFEST})
    packed.unlink()
    return size


def _upload(host: str, repository: str, digest: str, content: "bytes | BinaryIO", size: int) -> None:
    headers = _asked(host, "POST", f"/v2/{repository}/blobs/uploads/", 202)
    where = headers["Location"].partition(host)[2]
    mark = "&" if "?" in where else "?"
    length = {"Content-Length": str(size), "Content-Type": "application/octet-stream"}
    _asked(host, "PUT", f"{where}{mark}digest={digest}", 201, content, length)


def _asked(
    host: str,
    method: str,
    path: str,
    status: int,
    body: "bytes | BinaryIO | None" = None,
    headers: dict[str, str] | None = None,
) -> http.client.HTTPMessage:
    connection = http.client.HTTPConnection(host, blocksize=_PIECE)
    try:
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        said = answer.read()
        if answer.status != status:
            raise ValueError(f"the registry answered {answer.status} to {method} {path}: {said[:200]!r}")
        return answer.headers
    finally:
        connection.close()


def pull(host: str, image: str, folder: Path) -> None:
    """Pull and unpack one image into `folder`/root."""
    repository, _, tag = image.partition(":")
    manifest = _document(host, f"/v2/{repository}/manifests/{tag}")
    config = _document(host, f"/v2/{repository}/blobs/{manifest['config']['digest']}")
    root = folder / "root"
    root.mkdir(parents=True)
    with ThreadPoolExecutor(_DOWNLOADS) as downloads:
        coming = [
            downloads.submit(_download, host, repository, layer["digest"], folder / f"{number}.layer")
            for number, layer in enumerate(manifest["layers"])
        ]
        for layer, diff_id, download in zip(manifest["layers"], config["rootfs"]["diff_ids"], coming, strict=True):
            _unpack(download.result(), root, diff_id, gzipped=layer["mediaType"].endswith("gzip"))


def _document(host: str, path: str) -> dict[str, Any]:
    connection = http.client.HTTPConnection(host)
    connection.request("GET", path, headers={"Accept": f"{_MANIFEST}, {_CONFIG}"})
    answer = connection.getresponse()
    if answer.status != 200:
        raise ValueError(f"the registry answered {answer.status} to {path}")
    return cast(dict[str, Any], json.loads(answer.read()))


def _download(host: str, repository: str, digest: str, target: Path) -> Path:
    connection = http.client.HTTPConnection(host)
    connection.request("GET", f"/v2/{repository}/blobs/{digest}")
    answer = connection.getresponse()
    state, buffer = hashlib.sha256(), memoryview(bytearray(_PIECE))
    with target.open("wb", buffering=0) as stream:
        while got := answer.readinto(buffer):
            stream.write(buffer[:got])
            state.update(buffer[:got])
    if f"sha256:{state.hexdigest()}" != digest:
        raise ValueError(f"{digest} came damaged")
    return target


def _unpack(layer: Path, root: Path, diff_id: str, *, gzipped: bool) -> None:
    """Feed a layer to tar, hashing what it gets."""
    state = hashlib.sha256()
    command = ["tar", "-xf", "-", "-C", str(root), "--no-same-owner"]
    with layer.open("rb", buffering=0) as stream, subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        with process.stdin as pipe:
            for piece in _inflated(_pieces(stream)) if gzipped else _pieces(stream):
                state.update(piece)
                pipe.write(piece)
    if process.returncode or f"sha256:{state.hexdigest()}" != diff_id:
        raise ValueError(f"{layer.name} does not unpack to what the config says")
    layer.unlink()


def _pieces(stream: Any) -> Iterator[bytes]:
    while piece := stream.read(_PIECE):
        yield piece


def _inflated(pieces: Iterator[bytes]) -> Iterator[bytes]:
    state = zlib.decompressobj(zlib.MAX_WBITS | 16)
    for piece in pieces:
        yield state.decompress(piece)
    yield state.flush()


if __name__ == "__main__":
    pull(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
