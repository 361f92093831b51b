"""Caches come from a machine that served strangers: what is odd about them is refused, and nothing is written."""

import hashlib
import json
import os
import random
import tarfile
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.weight_bakery.caches import A100, H100, archive_for, key_for, write_tree
from vllm_worker._caches_archive import read_key_document
from vllm_worker._caches_key import canonical_flags, key_id
from weight_bakery import BakeryError, HarvestError
from weight_bakery._harvest_checks import check_contents
from weight_bakery._harvest_key import KeyFile, caches_id, read_key_file
from weight_bakery._harvest_tree import read_archive, read_folder

plain = st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=6)
trees = st.recursive(
    plain, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
)


def document(**changes: Any) -> dict[str, Any]:
    """A whole key file."""
    key = key_for()
    file = {"path": "triton/A/k.cubin", "size": 3, "sha256": "ab" * 32, "executable": False, "mtime": 1}
    return {"format": 1, "id": key_id(key), "key": key, "facts": {"driver": "570"}, "files": [file], **changes}


def read(value: Any) -> KeyFile:
    """Read a key file given as data."""
    return read_key_file(json.dumps(value).encode(), "here")


@settings(max_examples=50)
@given(st.dictionaries(st.text(max_size=5), trees, max_size=5), st.randoms(use_true_random=False))
def test_a_key_has_one_name_whatever_its_order_and_whoever_computes_it(
    key: dict[str, Any], chance: random.Random
) -> None:
    """The worker and the bakery share no code, and agree; so does a key whose parts were shuffled and written anew."""

    def shuffled(value: Any) -> Any:
        if isinstance(value, dict):
            items = list(value.items())
            chance.shuffle(items)
            return {name: shuffled(item) for name, item in items}
        return [shuffled(item) for item in value] if isinstance(value, list) else value

    again = json.loads(json.dumps(shuffled(key), indent=3, ensure_ascii=False))
    assert caches_id(key) == key_id(key) == caches_id(again) == key_id(again)


@given(
    st.permutations(["--max-model-len=4096", "--dtype=bfloat16", "--enforce-eager", '--hf-overrides={"a":1,"b":[2]}'])
)
def test_flags_have_one_form(words: list[str]) -> None:
    """Order, spelling, spaces in JSON and how a value is joined make no difference; neither do served names."""
    other = ["--hf_overrides", '{ "b": [2], "a": 1 }', "--served-model-name", "x", "y", "--dtype", "bfloat16",
             "--uds", "/tmp/s", "--enforce-eager", "--max-model-len", "4096"]  # fmt: skip
    assert canonical_flags(words) == canonical_flags(other)


@given(trees)
@settings(max_examples=60)
def test_no_key_file_makes_the_reader_fail_in_a_way_of_its_own(value: Any) -> None:
    """Whatever JSON stands there: one error of ours."""
    for content in (value, document(key=value), document(files=value), document(files=[value]), document(format=value)):
        with pytest.raises(HarvestError):
            read(content)
    facts = isinstance(value, dict) and all(isinstance(fact, str) for fact in value.values())
    with nullcontext() if facts else pytest.raises(HarvestError):
        read(document(facts=value))


@given(st.sampled_from(["gpu", "software", "model", "flags", "environment"]), trees)
def test_every_change_of_a_key_is_noticed(part: str, value: Any) -> None:
    """A key whose name does not fit it any more is refused."""
    changed = document()
    if changed["key"][part] == value:
        return
    changed["key"][part] = value
    with pytest.raises(HarvestError):
        read(changed)


def test_what_is_read_is_written_the_same() -> None:
    """A round trip through the bakery's form changes nothing, and the worker reads it."""
    found = read(document())
    assert read_key_file(found.dump(), "again") == found
    key, files = read_key_document(found.dump())
    assert (key_id(key), len(files)) == (found.id, 1)


@pytest.mark.parametrize(
    "path",
    ["/etc/passwd", "../x", "triton/../../x", "triton//x", "triton/./x", "x/y", "triton", "triton/a\nb", "triton\\x",
     "triton/" + "y" * 1020, "vllm/\udce9"],
)  # fmt: skip
def test_a_path_that_leads_elsewhere_is_refused(path: str) -> None:
    """By the bakery; and where it is dangerous, by the worker too."""
    listed = document()
    listed["files"][0]["path"] = path
    with pytest.raises(HarvestError, match=r"is damaged or made up"):
        read(listed)
    if path.startswith(("/", "..")) or "/../" in path:
        with pytest.raises(ValueError, match=r"no file of a cache"):
            read_key_document(json.dumps(listed).encode())


def test_a_path_twice_and_a_file_that_is_a_folder_are_refused() -> None:
    """Neither could be laid out."""
    for second in ("triton/A/k.cubin", "triton/A/k.cubin/x", "triton/A"):
        listed = document()
        listed["files"].append({**listed["files"][0], "path": second})
        with pytest.raises(HarvestError, match="damaged or made up"):
            read(listed)


def member(name: str, kind: bytes = tarfile.REGTYPE, content: bytes = b"", link: str = "") -> bytes:
    """An archive with one member."""
    info = tarfile.TarInfo(name)
    info.type, info.size, info.linkname = kind, len(content), link
    padded = content + bytes(-len(content) % 512)
    return info.tobuf(tarfile.GNU_FORMAT) + padded + bytes(1024)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (member("key.json", tarfile.SYMTYPE, link="/etc/passwd"), "is not a regular file but a link"),
        (member("key.json", tarfile.LNKTYPE, link="files/x"), "is not a regular file but a link"),
        (member("files/x", tarfile.CHRTYPE), "is not a regular file but a device"),
        (member("files/x", tarfile.FIFOTYPE), "is not a regular file but a device"),
        (member("files", tarfile.DIRTYPE), "is not a regular file but a folder"),
        (member("x", tarfile.GNUTYPE_SPARSE), "is not a regular file but of type"),
        (member("x", tarfile.XHDTYPE, b"17 path=/etc/x\n\n"), "is not a regular file but of type"),
        (member("/key.json"), "does not belong to start-up caches"),
        (member("../key.json"), "does not belong to start-up caches"),
        (member("files/../../x"), "does not belong to start-up caches"),
        (member("files/x")[:512] + member("files/x"), "does not belong to start-up caches"),
        (member("files/x"), "has no key.json"),
        (member("files/x", content=b"y" * 600)[:1000], "is cut off"),
        (member("key.json", content=b"{"), "is not a key file"),
        (b"\x1f\x8b" + bytes(600), "is compressed"),
        (b"PK" * 400, "is not a tar archive"),
        (b"", "is not a tar archive"),
    ],
)  # fmt: skip
def test_a_hostile_archive_is_refused_by_its_first_odd_member(tmp_path: Path, content: bytes, words: str) -> None:
    """Links, devices, absolute names, header tricks, cuts."""
    path = tmp_path / "x.tar"
    path.write_bytes(content)
    with pytest.raises(HarvestError, match=words):
        read_archive(path)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(st.data())
def test_a_changed_archive_is_refused_or_holds_the_same(whole: Path, data: st.DataObject) -> None:
    """Flip, cut, add: what is read without complaint has the digests that its key names."""
    content = bytearray(whole.read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    if data.draw(st.booleans()):
        content[place] ^= 1 << data.draw(st.integers(0, 7))
    else:
        del content[place : place + data.draw(st.sampled_from([1, 512, 10**9]))]
    path = whole.with_name("changed.tar")
    path.write_bytes(content)
    try:
        caches = read_archive(path)
        check_contents(caches)
    except BakeryError:
        return
    for file in caches.key_file.files:
        with caches.open(f"files/{file.sha256}") as reader:
            read_back = hashlib.sha256(reader.read(1 << 20)).hexdigest()
        if read_back != file.sha256:
            # The layer's own pass compares it (test_a_damaged_content_never_gets_into_an_image).
            assert place >= 512


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole archive."""
    return archive_for(tmp_path_factory.mktemp("whole"), key_for())


def unpacked(archive: Path, folder: Path) -> Path:
    """An archive, unpacked by hand."""
    with tarfile.open(archive) as stream:
        stream.extractall(folder, filter="data")
    return folder


def test_an_unpacked_archive_is_as_good_as_a_packed_one(whole: Path, tmp_path: Path) -> None:
    """A folder with key.json and files/."""
    assert read_folder(unpacked(whole, tmp_path / "f")).key_file == read_archive(whole).key_file


def _link(folder: Path) -> None:
    content = next((folder / "files").iterdir())
    content.rename(folder.parent / "elsewhere")
    content.symlink_to(folder.parent / "elsewhere")


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (_link, "is a link"),
        (lambda f: os.mkfifo(f / "files" / "pipe"), "is no regular file"),
        (lambda f: (f / "files" / "more").write_text("x"), "'files/more' is not listed"),
        (lambda f: (f / "key2.json").write_text("{}"), "does not belong to start-up caches"),
        (lambda f: next((f / "files").iterdir()).unlink(), "contents are missing"),
        (lambda f: next((f / "files").iterdir()).write_bytes(b"another length"), "bytes instead of"),
        (lambda f: write_tree(f, {"files/sub/x": b""}), "is no regular file"),
    ],
    ids=["link", "pipe", "more", "second-key", "missing", "size", "folder"],
)  # fmt: skip
def test_a_hostile_folder_is_refused(whole: Path, tmp_path: Path, spoil: Callable[[Path], object], words: str) -> None:
    """Links, pipes, additions, losses."""
    folder = unpacked(whole, tmp_path / "f")
    spoil(folder)
    with pytest.raises(HarvestError, match=words):
        read_folder(folder)


@pytest.mark.parametrize(
    "secret",
    ["hf_" + "aB3" * 11, "rpa_" + "A1B2" * 10, "AKIA" + "ABCD2345EFGH6789", "-----BEGIN OPENSSH PRIVATE KEY-----"],
)
def test_a_secret_in_any_file_is_found(tmp_path: Path, secret: str) -> None:
    """Also across the border of two reads; the message does not repeat it."""
    content = b"\0" * ((1 << 20) - 9) + secret.encode() + b"\0"
    caches = read_archive(archive_for(tmp_path, key_for(), extra={"vllm/x/log.bin": content}))
    with pytest.raises(HarvestError, match=r"stands in vllm/x/log\.bin") as caught:
        check_contents(caches)
    assert secret not in str(caught.value)


def test_a_secret_in_the_flags_is_found(tmp_path: Path) -> None:
    """The key would stand in the image in clear."""
    caches = read_archive(archive_for(tmp_path, key_for(speculative_config="hf_" + "x" * 34)))
    with pytest.raises(HarvestError, match="stands in its key"):
        check_contents(caches)


def test_a_kernel_of_another_gpu_is_found(tmp_path: Path) -> None:
    """Triton's notes say for which architecture a kernel is: a folder that two GPUs shared is refused."""
    note = json.dumps({"target": {"backend": "cuda", "arch": 90}}).encode()
    caches = read_archive(archive_for(tmp_path, key_for(A100), extra={"triton/ZZ/other.json": note}))
    with pytest.raises(HarvestError, match="compute capability 90, the key says 80"):
        check_contents(caches)
    check_contents(read_archive(archive_for(tmp_path, key_for(H100))))
