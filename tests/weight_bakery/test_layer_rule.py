"""Layer rule version 1 is frozen: these bytes never change."""

import hashlib
import io
import subprocess
import tarfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.weight_bakery.support import read_tar, write_deps, write_package
from weight_bakery import LayerRuleError, SourceFile
from weight_bakery._layer_rule import content_key, layer_entries, layer_size, tar_header
from weight_bakery._layers import Layer, LayerFile, LayerHashes, LayerStream
from weight_bakery._plan import code_layer, deps_layer


class MemorySource:
    """Files in memory."""

    cheap = True

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = files

    @contextmanager
    def open(self, path: str, offset: int = 0) -> Iterator[io.BytesIO]:
        """Open a file."""
        stream = io.BytesIO(self.files[path])
        stream.seek(offset)
        yield stream

    def key(self, path: str) -> str:
        """Name a file."""
        return path

    def close(self) -> None:
        """Nothing is open."""


def layer_of(files: dict[str, bytes], executable: frozenset[str] = frozenset()) -> Layer:
    """A layer with these files at these paths."""
    source = MemorySource(files)
    return Layer(
        "weights",
        tuple(
            LayerFile(path, len(content), path in executable, source, SourceFile(path, len(content)))
            for path, content in files.items()
        ),
    )


def stream(layer: Layer) -> tuple[bytes, str, dict[str, str]]:
    """The layer's bytes and digests."""
    with ThreadPoolExecutor(2) as pool:
        hashes = LayerHashes(pool)
        content = b"".join(LayerStream(layer, hashes))
        return content, hashes.result().digest, hashes.result().files


def test_the_header_of_a_file_has_exactly_these_bytes() -> None:
    """Vector 1: the header of models/m/config.json, 2 bytes long, field by field."""
    expected = (
        b"models/m/config.json".ljust(100, b"\0")
        + b"0000644\0"
        + b"0000000\0"
        + b"0000000\0"
        + b"00000000002\0"
        + b"00000000000\0"
        + b"013054\0 "
        + b"0"
        + bytes(100)
        + b"ustar\x0000"
        + bytes(32)
        + bytes(32)
        + b"0000000\0"
        + b"0000000\0"
        + bytes(155)
        + bytes(12)
    )
    assert len(expected) == 512
    assert tar_header("models/m/config.json", size=2, mode=0o644, kind=b"0") == expected


@pytest.mark.parametrize(
    ("files", "digest"),
    [
        (
            {"models/m/config.json": b"{}"},
            "sha256:b84def43c0985f39ea8606c36d1d8dfe1d6d7bfb8e2c1446e08a0f8e8ad61d0a",
        ),
        (
            {"models/m/model.safetensors": bytes(range(256)) * 4},
            "sha256:93dbeddc2bb2f11a5ed75f1283a37180ec0c67a42db35a9ebb167428b48ce747",
        ),
        (
            {"models/m/a": b"", "models/m/b/c.txt": b"x" * 512, "models/m/b.txt": b"y" * 513},
            "sha256:b4c33b73bef1a2261a71d2d9c8b585ea9a2145288eb4558d3f650809cf0fef7f",
        ),
        (
            {"models/m/ünïcode.json": b"1"},
            "sha256:91387691aa36063180f0be011b92f37fe2cdb675c15b7cce249030903d45bb2f",
        ),
        (
            {"models/" + "n" * 60 + "/" + "o" * 60 + "/" + "p" * 90: b"long"},
            "sha256:a62261f4956bf43309ebc52d4cb03e2eadb7a0277fe8fb7c52c9dc2f9e70b6f0",
        ),
    ],
    ids=["one small file", "one kibibyte", "several files and folders", "utf-8", "prefix"],
)
def test_layer_digests_are_pinned(files: dict[str, bytes], digest: str) -> None:
    """Vectors 2 to 6: whole layers, by digest."""
    content, found, sums = stream(layer_of(files))
    assert found == digest
    assert f"sha256:{hashlib.sha256(content).hexdigest()}" == digest
    assert sums == {path: hashlib.sha256(value).hexdigest() for path, value in files.items()}


def test_the_content_key_is_pinned() -> None:
    """Vector 7: the name under which a layer's digest is remembered."""
    layer = layer_of({"models/m/config.json": b"{}"})
    assert (
        content_key([(layer.files[0], hashlib.sha256(b"{}").hexdigest())])
        == "254ed53663b7bbf7cca5f2dbe1f16089bbc53bbfbe737d67f2e67e612be4a483"
    )


def test_a_whole_layer_is_what_the_document_says() -> None:
    """A layer with one file is two directories, the file, padding and two zero blocks, nothing else."""
    content, _, _ = stream(layer_of({"models/m/config.json": b"{}"}))
    assert content == (
        tar_header("models/", size=0, mode=0o755, kind=b"5")
        + tar_header("models/m/", size=0, mode=0o755, kind=b"5")
        + tar_header("models/m/config.json", size=2, mode=0o644, kind=b"0")
        + b"{}"
        + bytes(510)
        + bytes(1024)
    )


def test_sizes_from_eight_gibibytes_up_are_base_256() -> None:
    """8 GiB - 1 is the last octal size; the field has the same length above it, and tarfile reads both."""
    small = tar_header("models/m/x", size=8 * 2**30 - 1, mode=0o644, kind=b"0")
    large = tar_header("models/m/x", size=8 * 2**30, mode=0o644, kind=b"0")
    assert small[124:136] == b"77777777777\0"
    assert large[124:136] == b"\x80\0\0\0\0\0\0\x02\0\0\0\0"
    for block, size in ((small, 8 * 2**30 - 1), (large, 8 * 2**30)):
        assert tarfile.TarInfo.frombuf(block, "utf-8", "strict").size == size


@pytest.mark.parametrize("size", [0, 1, 511, 512, 8**11 - 1, 8**11, 10**13])
def test_the_header_is_the_one_that_pythons_ustar_writer_makes(size: int) -> None:
    """Up to the device numbers, which are zeros here, an independent writer gives the same 512 bytes."""
    info = tarfile.TarInfo("models/name/model-00001-of-00002.safetensors")
    info.size, info.mode = size, 0o644
    ours = tar_header(info.name, size=size, mode=0o644, kind=b"0")
    parsed = tarfile.TarInfo.frombuf(ours, "utf-8", "strict")
    assert (parsed.name, parsed.size, parsed.mode, parsed.uid, parsed.gid, parsed.mtime, parsed.uname) == (
        info.name, size, 0o644, 0, 0, 0, "",
    )  # fmt: skip
    if size < 8**11:
        theirs = bytearray(info.tobuf(tarfile.USTAR_FORMAT))
        theirs[329:345] = b"0000000\x000000000\0"
        theirs[148:156] = ours[148:156]
        assert bytes(theirs) == ours


def test_entries_stand_in_the_order_of_their_bytes() -> None:
    """A directory comes before what is in it, and capital letters before small ones."""
    layer = layer_of({"b/z": b"", "b.txt": b"", "B": b"", "b/a/q": b""})
    assert [entry.name for entry in layer_entries(layer.files)] == ["B", "b.txt", "b/", "b/a/", "b/a/q", "b/z"]


def test_a_long_name_is_split_at_the_leftmost_slash_that_fits() -> None:
    """As much as possible stands in the name field."""
    name = "/".join(["a" * 40] * 4)
    header = tar_header(name, size=0, mode=0o644, kind=b"0")
    assert header[:100].rstrip(b"\0") == b"/".join([b"a" * 40] * 2)
    assert header[345:500].rstrip(b"\0") == b"/".join([b"a" * 40] * 2)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("models/" + "x" * 101, "too long"),
        ("a" * 200 + "/b", "too long"),
        ("/models/x", "not a plain relative path"),
        ("models/../x", "not a plain relative path"),
        ("models//x", "not a plain relative path"),
        ("", "not a plain relative path"),
        ("models/a\nb", "control character"),
        ("models/a\\b", "backslash"),
        ("models/.wh.config.json", "starts with '.wh.'"),
        ("models/\udcff", "not valid UTF-8"),
    ],
)
def test_paths_that_an_image_cannot_hold_are_refused(path: str, message: str) -> None:
    """The refusal is one line that names the path."""
    with pytest.raises(LayerRuleError, match=message) as caught:
        layer_entries(layer_of({path: b""}).files)
    assert "\n" not in str(caught.value)


def test_one_path_cannot_be_two_things() -> None:
    """A file cannot be a folder too, and no path comes twice."""
    with pytest.raises(LayerRuleError, match="both a file and a directory"):
        layer_entries(layer_of({"a": b"", "a/b": b""}).files)
    twice = layer_of({"a": b""}).files * 2
    with pytest.raises(LayerRuleError, match="twice"):
        layer_entries(twice)


names = st.text(alphabet="abcXYZ019._-é ", min_size=1, max_size=12).filter(
    lambda name: name not in (".", "..") and not name.startswith(".wh.")
)
paths = st.lists(names, min_size=1, max_size=4).map("/".join)
trees = st.dictionaries(paths, st.binary(max_size=1500), min_size=1, max_size=12).filter(
    lambda tree: not any(other.startswith(path + "/") for path in tree for other in tree)
)


@given(tree=trees, order=st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_a_layer_read_back_is_its_source(tree: dict[str, bytes], order: object) -> None:
    """tarfile reads every file back; the order in which files were found does not matter; the size was known."""
    shuffled = list(tree.items())
    order.shuffle(shuffled)  # type: ignore[attr-defined]
    layer = layer_of(dict(shuffled))
    content, digest, _ = stream(layer)
    assert read_tar(content) == tree
    assert len(content) == layer_size(layer.files) == layer.size
    assert digest == stream(layer_of(tree))[1]
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        for member in archive:
            assert (member.uid, member.gid, member.uname, member.gname, member.mtime) == (0, 0, "", "", 0)
            assert member.mode == (0o755 if member.isdir() else 0o644)


@given(sizes=st.lists(st.integers(0, 9 * 2**20), min_size=1, max_size=3))
@settings(max_examples=8, deadline=None)
def test_streaming_in_chunks_is_the_same_as_writing_at_once(sizes: list[int]) -> None:
    """Files around and above the chunk size come out whole, with the right digests."""
    tree = {f"models/m/{number}": bytes([number + 1]) * size for number, size in enumerate(sizes)}
    content, digest, sums = stream(layer_of(tree))
    assert read_tar(content) == tree
    assert digest == f"sha256:{hashlib.sha256(content).hexdigest()}"
    assert sums == {path: hashlib.sha256(value).hexdigest() for path, value in tree.items()}


def test_a_stranger_reads_the_layer(tmp_path: Path) -> None:
    """GNU tar (or whatever tar is here) unpacks a layer with a prefix-split name to the source's bytes."""
    long = "models/" + "n" * 60 + "/" + "o" * 60 + "/model.safetensors"
    tree = {long: b"weights" * 1000, "models/m/config.json": b"{}"}
    (tmp_path / "layer.tar").write_bytes(stream(layer_of(tree))[0])
    (tmp_path / "out").mkdir()
    subprocess.run(["tar", "-xf", tmp_path / "layer.tar", "-C", tmp_path / "out"], check=True)
    assert {path: (tmp_path / "out" / path).read_bytes() for path in tree} == tree


def test_installer_traces_stay_behind(tmp_path: Path) -> None:
    """The dependency layer holds packages and their metadata, not what differs between two installations."""
    layer = deps_layer(write_deps(tmp_path / "deps"))
    root = "opt/vllm-worker/deps"
    assert {(file.path.removeprefix(f"{root}/"), file.executable) for file in layer.files} == {
        ("pack/__init__.py", False),
        ("pack/native.so", True),
        ("pack-1.0.dist-info/METADATA", False),
        ("six.py", False),
    }


def test_two_installations_give_one_layer(tmp_path: Path) -> None:
    """Times, umask and leftovers of an installer do not reach the digest."""
    first, second = write_deps(tmp_path / "a"), write_deps(tmp_path / "b")
    (second / "pack-1.0.dist-info" / "INSTALLER").write_text("uv\n")
    (second / "pack-1.0.dist-info" / "RECORD").write_text("other\n")
    (second / "six.py").chmod(0o600)
    assert stream(deps_layer(first))[1] == stream(deps_layer(second))[1]


def test_code_goes_below_its_package_name(tmp_path: Path) -> None:
    """Each package folder keeps its name; bytecode and hidden files stay behind."""
    packages = [write_package(tmp_path, "vllm_worker"), write_package(tmp_path, "redaction")]
    root = "opt/vllm-worker/code"
    assert [file.path for file in code_layer(packages).files] == [
        f"{root}/redaction/__init__.py",
        f"{root}/redaction/data/table.json",
        f"{root}/vllm_worker/__init__.py",
        f"{root}/vllm_worker/data/table.json",
    ]
