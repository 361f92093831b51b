"""weights.lock: what it says, and that it says the same thing every time."""

import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.weight_bakery.proxy import fake_registry
from tests.weight_bakery.support import write_model
from weight_bakery import (
    BakeRequest,
    LockedFile,
    LockedLayer,
    LockEntry,
    LockError,
    WeightsLock,
    bake,
    bake_async,
    read_lock,
)
from weight_bakery._lock import content_revision, update_lock

texts = st.text(min_size=1, max_size=10)
sha256s = st.binary(min_size=32, max_size=32).map(bytes.hex)
digests = sha256s.map("sha256:{}".format)
paths = st.from_regex(r"[a-zß0-9 _-][a-zß0-9 _./-]{0,9}[a-z]", fullmatch=True).filter(
    lambda path: not {"", ".", ".."} & set(path.split("/")) and "/.wh." not in path
)
files = st.builds(LockedFile, paths, st.integers(0, 2**60), sha256s)
layers = st.builds(LockedLayer, texts, digests, st.integers(0, 2**60), texts)
entries = st.builds(
    LockEntry, texts, texts, texts, texts, texts, st.just(1),
    st.lists(files, max_size=3).map(tuple), st.lists(layers, max_size=3).map(tuple), digests, st.none() | digests,
    st.none() | texts, st.none() | texts, st.lists(texts, max_size=2).map(tuple),
    st.lists(texts, max_size=2).map(tuple), st.none() | texts,
)  # fmt: skip


@settings(deadline=None)  # it writes and reads a file, on a machine that may be busy
@given(st.dictionaries(texts, entries, max_size=4))
def test_a_lock_reads_back_as_it_was_written(images: dict[str, LockEntry]) -> None:
    """In any order of entries, the same bytes; from the bytes, the same lock."""
    lock = WeightsLock(images)
    backwards = WeightsLock(dict(reversed(images.items())))
    assert lock.dump() == backwards.dump()
    assert _parse(lock.dump()) == lock


def test_a_lock_of_version_1_is_read_and_becomes_version_2_with_the_next_bake(tmp_path: Path) -> None:
    """What the older file did not say is unknown, what it said stays, and its layers are still recognised."""
    model, lock = str(write_model(tmp_path / "Tiny")), tmp_path / "weights.lock"
    bake(BakeRequest(model=model, to=f"oci:{tmp_path}/images:v1", lock=lock))
    old = json.loads(lock.read_bytes())
    for field in ("source", "base", "include", "exclude", "licence"):
        del old["images"]["oci:images:v1"][field]
    lock.write_text(json.dumps(old | {"version": 1}))
    entry = read_lock(lock).images["oci:images:v1"]
    assert (entry.source, entry.base, entry.include, entry.exclude, entry.licence) == (None, None, (), (), None)
    bake(BakeRequest(model=model, to=f"oci:{tmp_path}/images:v2", name="two", lock=lock))
    assert json.loads(lock.read_bytes())["version"] == 2
    assert read_lock(lock).images["oci:images:v1"] == entry
    assert read_lock(lock).images["oci:images:v2"].source == "./Tiny"


def test_a_folder_outside_the_lock_files_own_is_not_recorded(tmp_path: Path) -> None:
    """Its path would say something about this machine only."""
    lock = tmp_path / "project" / "weights.lock"
    bake(BakeRequest(model=str(write_model(tmp_path / "Tiny")), to=f"oci:{tmp_path}/images:v1", lock=lock))
    (entry,) = read_lock(lock).images.values()
    assert entry.source is None


def _parse(content: bytes) -> WeightsLock:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "weights.lock"
        path.write_bytes(content)
        return read_lock(path)


def test_a_bake_writes_its_entry(tmp_path: Path) -> None:
    """Source, files, layers, digests; no path of this machine and no time."""
    lock = tmp_path / "weights.lock"
    request = BakeRequest(model=str(write_model(tmp_path / "Tiny")), to=f"oci:{tmp_path}/images:v1", lock=lock)
    receipt = bake(request)
    first = lock.read_bytes()
    assert str(tmp_path).encode() not in first
    entry = read_lock(lock).images["oci:images:v1"]
    assert (entry.kind, entry.model, entry.revision) == ("folder", "Tiny", receipt.revision)
    assert entry.revision == content_revision(entry.files)
    assert entry.image_digest == receipt.digest
    assert [layer.digest for layer in entry.layers] == [layer.digest for layer in receipt.layers]
    assert (entry.layer_rule, entry.base_digest) == (1, None)
    status = lock.stat()
    bake(request)
    assert lock.read_bytes() == first
    assert lock.stat().st_ino == status.st_ino, "the same content is not written again"


def test_entries_of_other_targets_stay(tmp_path: Path) -> None:
    """One file keeps all baked images."""
    model, lock = str(write_model(tmp_path / "Tiny")), tmp_path / "weights.lock"
    bake(BakeRequest(model=model, to=f"oci:{tmp_path}/images:v1", lock=lock))
    before = read_lock(lock).images["oci:images:v1"]
    bake(BakeRequest(model=model, to=f"oci:{tmp_path}/images:v2", name="two", lock=lock))
    assert read_lock(lock).images["oci:images:v1"] == before
    assert sorted(read_lock(lock).images) == ["oci:images:v1", "oci:images:v2"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "is not valid JSON; restore it from version control"),
        (b"[]", "is not a weights.lock, or it is damaged"),
        (b'{"version": 3, "images": {}}', r"written by a newer version \(lock version 3\); update vllm-runpod"),
        (b'{"version": "poetry"}', "is not a weights.lock"),
        (b'{"version": 1}', "is not a weights.lock, or it is damaged"),
        (b'{"version": 1, "images": []}', r"damaged \(it has no map of images\)"),
        (b'{"version": 1, "images": {"a": {"kind": "hub"}}}', r"damaged \('a' has no model\)"),
        (b'{"version": 1, "images": {"a": 3}}', r"damaged \('a' is not a map\)"),
    ],
)
def test_locks_that_are_not_ours_are_refused_before_anything_moves(
    tmp_path: Path, content: bytes, message: str
) -> None:
    """The file stays as it is."""
    lock = tmp_path / "weights.lock"
    lock.write_bytes(content)
    request = BakeRequest(model=str(write_model(tmp_path / "Tiny")), to=f"oci:{tmp_path}/images:v1", lock=lock)
    with pytest.raises(LockError, match=message):
        bake(request)
    assert lock.read_bytes() == content
    assert not (tmp_path / "images").exists()


@pytest.mark.parametrize(
    ("keys", "value", "message"),
    [
        (("files",), {}, "files is not a list"),
        (("files", 0, "sha256"), "zz", "files: sha256 of LICENSE is not a sha256"),
        (("files", 0, "size"), -1, "a size is -1"),
        (("files", 0, "path"), "../../etc/passwd", "'../../etc/passwd' is not the path of a model's file"),
        (("files", 0, "path"), 7, "7 is not the path of a model's file"),
        (("layers", 1, "digest"), "sha256:0", "layers: digest is not a sha256"),
        (("layers", 1), 3, r"layers\[1\] is not a map"),
        (("layers", 1, "colour"), "red", r"layers\[1\] has 'colour', which a bake does not write"),
        (("image_digest",), None, "image_digest is not a sha256"),
        (("base_digest",), "latest", "base_digest is not a sha256"),
        (("served_name",), 5, "served_name is not a text"),
        (("layer_rule",), "one", "layer_rule is not a number"),
    ],
)
def test_a_damaged_entry_is_told_by_its_place(
    tmp_path: Path, keys: tuple[str | int, ...], value: object, message: str
) -> None:
    """Whatever reads the lock may rely on what it holds: digests, sizes and paths are what they should be."""
    lock = tmp_path / "weights.lock"
    bake(BakeRequest(model=str(write_model(tmp_path / "Tiny")), to=f"oci:{tmp_path}/images:v1", lock=lock))
    content = json.loads(lock.read_bytes())
    place = content["images"]["oci:images:v1"]
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = value
    lock.write_text(json.dumps(content))
    with pytest.raises(LockError, match=rf"'oci:images:v1'.*{message}"):
        read_lock(lock)


def test_a_lock_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    """A file where a folder should be."""
    (tmp_path / "file").touch()
    entry = LockEntry("folder", "a", "b", "c", "d", 1, (), (), "e", None)
    with pytest.raises(LockError, match=r"cannot be (read|written)"):
        update_lock(tmp_path / "file" / "weights.lock", "x", entry)


def test_the_content_revision_is_pinned() -> None:
    """sha256 over lines of digest, size and path, sorted by path."""
    listed = [LockedFile("b", 2, "2" * 64), LockedFile("a", 1, "1" * 64)]
    assert (
        content_revision(listed)
        == content_revision(listed[::-1])
        == "sha256:afb8895743ce98524f1e9c19021bead597a156910167f0c3f26249fa2d3f0f31"
    )
    assert json.loads(WeightsLock({}).dump())["version"] == 2


async def test_a_lock_that_cannot_be_written_is_told_before_a_byte_moves(tmp_path: Path) -> None:
    """It is written last; hours of pushing must not end in an image that nothing names."""
    (tmp_path / "file").write_text("")
    model = str(write_model(tmp_path / "Tiny"))
    async with fake_registry() as registry:
        for lock in (tmp_path / "file/weights.lock", Path("/proc/weights.lock")):
            with pytest.raises(LockError, match=r"weights.lock cannot be (read|written): .*; check the path given to"):
                await bake_async(BakeRequest(model=model, to=f"{registry.host}/m:v1", lock=lock))
        assert (registry.blobs, registry.manifests) == ({}, {})


def test_a_lock_that_fails_after_the_push_says_that_the_image_is_there(tmp_path: Path) -> None:
    """A disk that fills up meanwhile, say: nothing but the entry is missing."""
    (tmp_path / "file").write_text("")
    entry = LockEntry("hub", "m", "r", "n", "s", 1, (), (), "sha256:0", None)
    with pytest.raises(LockError, match=r"the image is whole, but .*weights.lock cannot be written: .*run the same"):
        update_lock(tmp_path / "file/weights.lock", "oci:images:v1", entry)
