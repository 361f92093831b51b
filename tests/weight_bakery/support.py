"""Small real models, and reading an image back with Python's own tarfile."""

import hashlib
import io
import json
import struct
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

CONFIG = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 8}


def safetensors(tensors: Mapping[str, bytes], *, metadata: bool = True) -> bytes:
    """A whole safetensors file with U8 tensors."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}} if metadata else {}
    position = 0
    for name, content in tensors.items():
        header[name] = {"dtype": "U8", "shape": [len(content)], "data_offsets": [position, position + len(content)]}
        position += len(content)
    raw = json.dumps(header).encode()
    return struct.pack("<Q", len(raw)) + raw + b"".join(tensors.values())


def payload(size: int, seed: int = 0) -> bytes:
    """Bytes that do not compress and are the same in every run."""
    return hashlib.shake_128(str(seed).encode()).digest(size)


def model_files(*, shards: int = 2, shard_bytes: int = 5000) -> dict[str, bytes]:
    """A model in the Hugging Face layout."""
    files = {
        "config.json": json.dumps(CONFIG).encode(),
        "tokenizer.json": b'{"version":"1.0"}',
        "tokenizer_config.json": b"{}",
        "chat_template.jinja": b"{{ messages }}",
        "README.md": b"# a model\n",
        "LICENSE": b"Apache-2.0\n",
    }
    weight_map = {}
    for number in range(1, shards + 1):
        name = f"model-{number:05}-of-{shards:05}.safetensors" if shards > 1 else "model.safetensors"
        # Shards differ in size, so that "biggest first" is seen.
        files[name] = safetensors({f"layer.{number}": payload(shard_bytes + 1000 * number, number)})
        weight_map[f"layer.{number}"] = name
    if shards > 1:
        files["model.safetensors.index.json"] = json.dumps({"metadata": {}, "weight_map": weight_map}).encode()
    return files


def write_files(folder: Path, files: Mapping[str, bytes]) -> Path:
    """Put files into a folder."""
    for path, content in files.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    return folder


def write_model(folder: Path, *, shards: int = 2, shard_bytes: int = 5000) -> Path:
    """Put a model into a folder."""
    return write_files(folder, model_files(shards=shards, shard_bytes=shard_bytes))


def write_package(folder: Path, name: str) -> Path:
    """A Python package with a data file and what must stay behind."""
    return write_files(
        folder / name,
        {
            "__init__.py": b"'''A package.'''\n",
            "data/table.json": b"{}",
            "__pycache__/__init__.cpython-311.pyc": b"bytecode",
            ".hidden": b"x",
        },
    )


def write_deps(folder: Path) -> Path:
    """A `pip install --target` folder with what an installer leaves behind."""
    write_files(
        folder,
        {
            "pack/__init__.py": b"x = 1\n",
            "pack/native.so": b"\x7fELF",
            "pack/__pycache__/__init__.cpython-311.pyc": b"bytecode",
            "pack-1.0.dist-info/METADATA": b"Name: pack\n",
            "pack-1.0.dist-info/RECORD": b"pack/__init__.py,,\n",
            "pack-1.0.dist-info/INSTALLER": b"pip\n",
            "pack-1.0.dist-info/REQUESTED": b"",
            "pack-1.0.dist-info/direct_url.json": b"{}",
            "pack-1.0.dist-info/uv_cache.json": b"{}",
            "bin/pack": b"#!/usr/bin/python3\n",
            ".lock": b"",
            "six.py": b"y = 2\n",
        },
    )
    (folder / "pack/native.so").chmod(0o755)
    return folder


class Layout:
    """An OCI layout as a foreign reader sees it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def blob(self, digest: str) -> bytes:
        """A blob, verified."""
        content = (self.folder / "blobs" / "sha256" / digest.removeprefix("sha256:")).read_bytes()
        assert f"sha256:{hashlib.sha256(content).hexdigest()}" == digest
        return content

    def tags(self) -> dict[str, str]:
        """Digest of every tag."""
        index = json.loads((self.folder / "index.json").read_bytes())
        return {
            entry["annotations"]["org.opencontainers.image.ref.name"]: entry["digest"] for entry in index["manifests"]
        }

    def manifest(self, tag: str) -> dict[str, Any]:
        """The manifest under a tag."""
        value: dict[str, Any] = json.loads(self.blob(self.tags()[tag]))
        return value

    def config(self, tag: str) -> dict[str, Any]:
        """The config of the image under a tag."""
        value: dict[str, Any] = json.loads(self.blob(self.manifest(tag)["config"]["digest"]))
        return value

    def files(self, tag: str) -> dict[str, bytes]:
        """Every file of the image, by path."""
        found: dict[str, bytes] = {}
        for layer in self.manifest(tag)["layers"]:
            found |= read_tar(self.blob(layer["digest"]))
        return found


def read_tar(content: bytes) -> dict[str, bytes]:
    """The files of a tar archive (compressed or not)."""
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        return {
            member.name: stream.read()
            for member in archive
            if member.isfile() and (stream := archive.extractfile(member)) is not None
        }


def image_root(files: Mapping[str, bytes], root: str) -> dict[str, bytes]:
    """What a source's files are called inside the image."""
    return {f"{root}/{path}": content for path, content in files.items()}
