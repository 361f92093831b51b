"""Files that are too large become several valid ones: same tensors, same bytes, names and digests that never vary."""

import hashlib
import io
import json
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.tools import RegistryProcess
from tests.weight_bakery.proxy import fake_registry
from tests.weight_bakery.support import CONFIG, Layout, payload, safetensors, write_files
from weight_bakery import (
    BadRequest,
    BakeRequest,
    CorruptWeights,
    RegistryTooLarge,
    SourceChanged,
    bake,
    bake_async,
    plan_bake,
    read_lock,
)
from weight_bakery._errors import SourceDamaged
from weight_bakery._layer_rule import layer_size
from weight_bakery._limits import split_digests
from weight_bakery._registry_rules import RegistryRules
from weight_bakery._reshard import Split, file_room, read_split, reshard, split_file
from weight_bakery._safetensors import check_safetensors, read_header
from weight_bakery._selection import select
from weight_bakery._source_folder import FolderSource
from weight_bakery._sources import Inventory, SourceFile

MIB = 1024 * 1024
WEIGHTS = {f"layer.{number:02}.weight": payload(300_000 + number, number) for number in range(12)}


def tensors_of(content: bytes) -> dict[str, tuple[str, list[int], bytes]]:
    """Read a safetensors file with nothing but json and struct: name -> (dtype, shape, bytes)."""
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    header.pop("__metadata__", None)
    data = content[8 + length :]
    return {
        name: (entry["dtype"], entry["shape"], data[slice(*entry["data_offsets"])]) for name, entry in header.items()
    }


def metadata_of(content: bytes) -> Any:
    """The metadata of a safetensors file."""
    (length,) = struct.unpack("<Q", content[:8])
    return json.loads(content[8 : 8 + length]).get("__metadata__")


def loaded(files: dict[str, bytes], folder: str) -> dict[str, tuple[str, list[int], bytes]]:
    """Load a model as transformers does: by its index."""
    index = json.loads(files[f"{folder}/model.safetensors.index.json"])
    found = {}
    for tensor, name in index["weight_map"].items():
        found[tensor] = tensors_of(files[f"{folder}/{name}"])[tensor]
    return found


def write_single(folder: Path, tensors: dict[str, bytes] | None = None) -> Path:
    """A model in one file."""
    return write_files(
        folder,
        {"config.json": json.dumps(CONFIG).encode(), "model.safetensors": safetensors(tensors or WEIGHTS)},
    )


def test_a_large_file_becomes_several_with_the_same_tensors(tmp_path: Path) -> None:
    """Every tensor, dtype, shape and byte is there once; each shard is a valid file; no layer is over the limit."""
    model = write_single(tmp_path / "Tiny")
    lock = tmp_path / "weights.lock"
    receipt = bake(BakeRequest(model=str(model), to=f"oci:{tmp_path}/out:v1", max_layer_size=MIB, lock=lock))
    files = Layout(tmp_path / "out").files("v1")
    names = sorted(name for name in files if name.endswith(".safetensors"))
    assert names == [f"models/tiny/model-{number:05}-of-00004.safetensors" for number in range(1, 5)]
    for name in names:
        check_safetensors(name, len(files[name]), io.BytesIO(files[name]))
        assert metadata_of(files[name]) == {"format": "pt"}
    assert loaded(files, "models/tiny") == tensors_of((model / "model.safetensors").read_bytes())
    index = json.loads(files["models/tiny/model.safetensors.index.json"])
    assert index["metadata"]["total_size"] == sum(map(len, WEIGHTS.values()))
    assert all(layer.size <= MIB for layer in receipt.layers if layer.role == "weights")
    entry = next(iter(read_lock(lock).images.values()))
    assert [(item.path, item.limit, len(item.parts)) for item in entry.resharded] == [("model.safetensors", MIB, 4)]
    assert set(entry.resharded[0].parts) < {file.path for file in entry.files}


def test_splitting_twice_gives_the_same_image_and_reads_nothing(tmp_path: Path) -> None:
    """The digests are a pure function of file and limit, and they are remembered."""
    model = write_single(tmp_path / "a" / "Tiny")
    other = write_single(tmp_path / "b" / "Tiny")
    one = bake(BakeRequest(model=str(model), to=f"oci:{tmp_path}/one:v1", max_layer_size=MIB))
    two = bake(BakeRequest(model=str(other), to=f"oci:{tmp_path}/two:v1", max_layer_size=MIB))
    assert one.digest == two.digest
    again = bake(BakeRequest(model=str(model), to=f"oci:{tmp_path}/one:v1", max_layer_size=MIB))
    assert {layer.outcome for layer in again.layers} == {"present"}
    wider = bake(BakeRequest(model=str(model), to=f"oci:{tmp_path}/one:v2", max_layer_size=2 * MIB))
    assert wider.digest != one.digest


def test_the_rule_is_pinned() -> None:
    """One shard byte for byte, as docs/layer-rule.md says it."""
    content = safetensors({"b": b"12345" * 10, "a": b"67", "empty": b""})
    header = read_header("x/model.safetensors", len(content), io.BytesIO(content))
    shards = split_file("x/model.safetensors", header, 160)
    assert [shard.path for shard in shards] == [f"x/model-{n:05}-of-00002.safetensors" for n in (1, 2)]
    text = b'{"__metadata__":{"format":"pt"},"b":{"dtype":"U8","shape":[50],"data_offsets":[0,50]}}'
    assert shards[0].header == struct.pack("<Q", 88) + text.ljust(88)
    assert content[shards[0].begin : shards[0].end] == b"12345" * 10
    second = b'{"__metadata__":{"format":"pt"},"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},'
    second += b'"empty":{"dtype":"U8","shape":[0],"data_offsets":[2,2]}}'
    assert shards[1].header[8:].rstrip() == second
    digests = [hashlib.sha256(shard.header + content[shard.begin : shard.end]).hexdigest() for shard in shards]
    document = (Path(__file__).resolve().parents[2] / "docs/layer-rule.md").read_text()
    for shard, digest in zip(shards, digests, strict=True):
        assert f"| `{Path(shard.path).name}` | {shard.size} | `{digest}` |" in document


@given(
    sizes=st.lists(st.integers(0, 4000), min_size=1, max_size=30),
    room=st.integers(600, 9000),
    metadata=st.booleans(),
)
def test_any_file_at_any_limit(sizes: list[int], room: int, metadata: bool) -> None:
    """Shards hold all tensors once and in order, are valid, and are over the limit only for a single tensor."""
    tensors = {f"t{number}": payload(size, number) for number, size in enumerate(sizes)}
    content = safetensors(tensors, metadata=metadata)
    header = read_header("m.safetensors", len(content), io.BytesIO(content))
    found: dict[str, tuple[str, list[int], bytes]] = {}
    for shard in split_file("m.safetensors", header, room):
        file = shard.header + content[shard.begin : shard.end]
        assert len(file) == shard.size
        assert len(shard.header) % 8 == 0
        check_safetensors(shard.path, len(file), io.BytesIO(file))
        assert shard.size <= room or len([tensor for tensor in shard.tensors if tensor.end > tensor.begin]) <= 1
        found |= tensors_of(file)
    assert found == tensors_of(content)


@given(limit=st.integers(4096, 10**7), path=st.sampled_from(["models/m/a", "models/m/b/c", "models/m/" + "d" * 90]))
def test_the_room_is_the_largest_that_fits(limit: int, path: str) -> None:
    """A file of exactly that size makes a layer within the limit; 512 bytes more would not."""
    room = file_room(path, limit)

    def layer(size: int) -> int:
        return layer_size([SourceFileInLayer(path, size)])

    assert layer(room) <= limit < layer(room + 1)


class SourceFileInLayer:
    """What the layer rule needs of a file."""

    def __init__(self, path: str, size: int) -> None:
        self.path, self.size, self.executable = path, size, False


def test_only_the_shard_that_is_too_large_is_split(tmp_path: Path) -> None:
    """In a model of several files the others stay, and their own index is rewritten, other keys kept."""
    small, large = {"a": payload(1000, 1)}, {"b": payload(800_000, 2), "c": payload(800_000, 3)}
    index = {
        "metadata": {"total_size": 7, "note": "kept"},
        "weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors",
                       "c": "model-00002-of-00002.safetensors"},
    }  # fmt: skip
    model = write_files(
        tmp_path / "Tiny",
        {
            "config.json": json.dumps(CONFIG).encode(),
            "model-00001-of-00002.safetensors": safetensors(small),
            "model-00002-of-00002.safetensors": safetensors(large),
            "model.safetensors.index.json": json.dumps(index).encode(),
        },
    )
    bake(BakeRequest(model=str(model), to=f"oci:{tmp_path}/out:v1", max_layer_size=MIB))
    files = Layout(tmp_path / "out").files("v1")
    written = json.loads(files["models/tiny/model.safetensors.index.json"])
    assert written["metadata"] == {"total_size": 7, "note": "kept"}
    assert written["weight_map"] == {
        "a": "model-00001-of-00002.safetensors",
        "b": "model-00002-of-00002-00001-of-00002.safetensors",
        "c": "model-00002-of-00002-00002-of-00002.safetensors",
    }
    assert {name: content for name, (_, _, content) in loaded(files, "models/tiny").items()} == small | large


def test_a_new_index_names_the_neighbours_too(tmp_path: Path) -> None:
    """Files that no index named before are loaded beside the split one; a tensor in both is refused."""
    model = write_single(tmp_path / "Tiny")
    (model / "extra.safetensors").write_bytes(safetensors({"extra": b"123"}))
    bake(BakeRequest(model=str(model), to=f"oci:{tmp_path}/out:v1", max_layer_size=MIB))
    files = Layout(tmp_path / "out").files("v1")
    assert loaded(files, "models/tiny")["extra"][2] == b"123"
    (model / "extra.safetensors").write_bytes(safetensors({"layer.00.weight": b"123"}))
    with pytest.raises(CorruptWeights, match=r"both hold tensor 'layer.00.weight'.*--exclude"):
        bake(BakeRequest(model=str(model), to=f"oci:{tmp_path}/out:v1", max_layer_size=MIB))


def test_a_tensor_over_the_limit_gets_a_layer_of_its_own_and_a_word(tmp_path: Path) -> None:
    """It cannot be split; the note names it."""
    model = write_single(tmp_path / "Tiny", {"small": b"1" * 1000, "huge": payload(1_500_000), "last": b"2" * 1000})
    notes: list[str] = []
    receipt = bake(
        BakeRequest(model=str(model), to=f"oci:{tmp_path}/out:v1", max_layer_size=MIB),
        progress=lambda event: notes.append(getattr(event, "text", "")),
    )
    assert len([layer for layer in receipt.layers if layer.role == "weights"]) == 3
    assert any("tensor huge has 1,500,000 bytes, more than a layer of 1,048,576 holds" in note for note in notes)


def test_a_plan_says_what_would_be_split(tmp_path: Path) -> None:
    """--dry-run lists the parts and why the original is not among them; nothing is written."""
    model = write_single(tmp_path / "Tiny")
    plan = plan_bake(BakeRequest(model=str(model), to=f"oci:{tmp_path}/out:v1", max_layer_size=MIB))
    said = {file.path: file.left_out for file in plan.files}
    assert said["model.safetensors"] == "split into 4 files"
    assert said["model-00001-of-00004.safetensors"] is None
    assert not (tmp_path / "out").exists()


def test_what_the_registry_cannot_hold_is_refused_before_a_byte_moves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, registry: RegistryProcess
) -> None:
    """A tensor, or a file that is not safetensors, over the limit in the table: one line with the way out."""
    monkeypatch.setattr("weight_bakery._limits.rules_for", lambda host: RegistryRules(max_layer=MIB))
    model = write_single(tmp_path / "Tiny", {"huge": payload(1_500_000)})
    to = f"{registry.host}/limits/tiny:v1"
    with pytest.raises(RegistryTooLarge, match=rf"model.safetensors makes a layer of 1,50.* {registry.host} takes at"):
        bake(BakeRequest(model=str(model), to=to))
    (model / "model.safetensors").unlink()
    (model / "weights.gguf").write_bytes(b"GGUF" + payload(1_500_000))
    with pytest.raises(RegistryTooLarge, match=r"weights.gguf makes a layer .*take the model as safetensors"):
        bake(BakeRequest(model=str(model), to=to, include=("*.gguf",)))
    assert not any("limits/tiny" in address for address in registry.requests("POST"))
    write_single(model)
    (model / "weights.gguf").unlink()
    receipt = bake(BakeRequest(model=str(model), to=to))
    assert max(layer.size for layer in receipt.layers) <= MIB


def test_a_limit_that_is_a_slip_is_refused(tmp_path: Path) -> None:
    """Below 1 MiB."""
    with pytest.raises(BadRequest, match=r"--max-layer-size 5 is below 1 MiB; give a size such as 5GB"):
        bake(BakeRequest(model=str(write_single(tmp_path / "Tiny")), to=f"oci:{tmp_path}/out:v1", max_layer_size=5))


class PromisingSource(FolderSource):
    """A folder whose files have promised digests, as the Hub's have."""

    def inventory(self) -> Inventory:
        """Promise what is on the disk."""
        plain = super().inventory()
        files = tuple(
            SourceFile(file.path, file.size, hashlib.sha256((self._folder / file.path).read_bytes()).hexdigest())
            for file in plain.files
        )
        return Inventory("folder", plain.model, "0" * 40, files)


async def test_shards_are_compared_with_the_promise_for_the_whole(tmp_path: Path) -> None:
    """One pass over the original finds the digest of every shard; a wrong byte anywhere is noticed."""
    model = write_single(tmp_path / "Tiny")
    source = PromisingSource(model)
    fitting = reshard(select(source.inventory()), source, "models/tiny", MIB, lambda _: None)
    (split,) = fitting.splits
    found = await split_digests(source, fitting.splits, None)
    for shard in split.shards:
        with fitting.source.open(shard.path) as reader:
            content = b"".join(iter(lambda: reader.read(100_000), b""))
        assert hashlib.sha256(content).hexdigest() == found[shard.path]
        with fitting.source.open(shard.path, 777) as reader:
            assert b"".join(iter(lambda: reader.read(100_000), b"")) == content[777:]
        with fitting.source.open(shard.path, len(shard.header) + 5) as reader:
            assert reader.read(10) == content[len(shard.header) + 5 :][:10]
    lying = SourceFile(split.original.path, split.original.size, "f" * 64)
    with pytest.raises(SourceDamaged, match="has not the digest its source promised"):
        read_split(source, Split(lying, MIB, split.shards))
    assert issubclass(SourceDamaged, SourceChanged)
    with source.open(split.original.path) as reader:
        header = read_header(split.original.path, split.original.size, reader)
    first, *others = header.tensors
    for damaged in (
        replace(header, tensors=(replace(first, name="layer.9"), *others)),
        replace(header, metadata={"format": "tf"}),
    ):
        shards = split_file(split.original.path, damaged, MIB)
        with pytest.raises(SourceDamaged, match=r"the header of model.safetensors arrived damaged; run the bake again"):
            read_split(source, replace(split, shards=shards))


async def test_a_lock_saves_the_second_look(tmp_path: Path) -> None:
    """Where an entry for the same file and shards is there, the original is not read again."""
    model = write_single(tmp_path / "Tiny")
    source = PromisingSource(model)
    fitting = reshard(select(source.inventory()), source, "models/tiny", MIB, lambda _: None)
    (split,) = fitting.splits
    expected = await split_digests(source, fitting.splits, None)
    lock = tmp_path / "weights.lock"
    await bake_async(BakeRequest(model=str(model), to=f"oci:{tmp_path}/out:v1", max_layer_size=MIB, lock=lock))
    text = lock.read_text().replace('"sha256": null', f'"sha256": "{split.original.sha256}"')
    lock.write_text(text)
    (model / "model.safetensors").unlink()
    assert await split_digests(source, fitting.splits, read_lock(lock)) == expected


async def test_a_registry_gets_the_shards(tmp_path: Path) -> None:
    """Over HTTP too, and each shard once."""
    model = write_single(tmp_path / "Tiny")
    async with fake_registry() as fake:
        receipt = await bake_async(
            BakeRequest(model=str(model), to=f"{fake.host}/m:v1", max_layer_size=MIB, attest=False)
        )
        assert all(layer.digest in fake.blobs for layer in receipt.layers)
    assert receipt.sent_bytes == receipt.size
