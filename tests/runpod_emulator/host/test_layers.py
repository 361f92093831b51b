"""Layers to a root: the image specification's rules, and nothing outside the root, ever."""

import contextlib
import gzip
import tarfile
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runpod_emulator.host import BadImage, DigestMismatch, HostError, UnsafeLayer
from runpod_emulator.host._documents import Layer
from runpod_emulator.host._tree import Loop, Tree, inside, remove_tree, settled
from runpod_emulator.host._unpack import unpack
from tests.runpod_emulator.host.support import File, digest, folder, hardlink, symlink, tar


def build(place: Path, *layers: Sequence[File]) -> Path:
    """A root from layers, made as the host makes it."""
    root = place / "root"
    root.mkdir()
    stop = threading.Event()
    tree = Tree(root, "test", stop)
    for number, files in enumerate(layers, 1):
        data = tar(files)
        layer = Layer(number, len(layers), digest(data), len(data), "none", digest(data))
        blob, target = place / f"blob{number}", place / f"layer{number}"
        blob.write_bytes(data)
        target.mkdir()
        with blob.open("rb") as source:
            unpack(source, layer, "test", target, stop)
        tree.apply(target, layer.full_name)
    tree.finish()
    return root


def shown(root: Path) -> dict[str, str]:
    """Every path with what it is: content of files, -> of symlinks, / for folders."""
    found = {}
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        if path.is_symlink():
            found[name] = f"-> {path.readlink()}"
        else:
            found[name] = "/" if path.is_dir() else path.read_text()
    return found


def test_upper_layers_replace_and_add(tmp_path: Path) -> None:
    """A file is replaced, a folder merged, a file takes a folder's place and the other way round."""
    root = build(
        tmp_path,
        [folder("a"), File("a/1", b"one"), File("a/2", b"two"), folder("b"), File("b/x", b"x"), File("c", b"c")],
        [folder("a"), File("a/2", b"TWO"), File("b", b"now a file"), folder("c"), File("c/y", b"y")],
    )
    assert shown(root) == {"a": "/", "a/1": "one", "a/2": "TWO", "b": "now a file", "c": "/", "c/y": "y"}


def test_whiteouts_hide_what_lower_layers_brought(tmp_path: Path) -> None:
    """A whiteout removes a file or a whole folder, and leaves no trace of itself."""
    root = build(
        tmp_path,
        [folder("a"), File("a/1", b"one"), File("a/2", b"two"), folder("d"), File("d/x", b"x")],
        [File("a/.wh.1"), File(".wh.d"), File("nowhere/.wh.x")],
    )
    assert shown(root) == {"a": "/", "a/2": "two"}


def test_an_opaque_folder_keeps_only_its_own_layer(tmp_path: Path) -> None:
    """Whatever stands first in the archive, the layer's own files stay."""
    root = build(
        tmp_path,
        [folder("a"), File("a/old", b"old"), folder("a/sub"), File("a/sub/x", b"x")],
        [folder("a"), File("a/new", b"new"), File("a/.wh..wh..opq")],
    )
    assert shown(root) == {"a": "/", "a/new": "new"}


def test_a_whiteout_does_not_hide_its_own_layers_file(tmp_path: Path) -> None:
    """It speaks of lower layers only."""
    assert shown(build(tmp_path, [File("f", b"low")], [File("f", b"high"), File(".wh.f")])) == {"f": "high"}


def test_modes_and_times_are_kept_and_setuid_is_not(tmp_path: Path) -> None:
    """Also those of a folder that must be written to after its entry."""
    files = [folder("ro", 0o555), File("ro/x", b"x", mode=0o4711, mtime=1234), folder("t", 0o1777)]
    root = build(tmp_path, files)
    assert (root / "ro").stat().st_mode & 0o7777 == 0o555
    assert (root / "ro/x").stat().st_mode & 0o7777 == 0o711
    assert (root / "ro/x").stat().st_mtime == 1234
    assert (root / "t").stat().st_mode & 0o7777 == 0o1777
    remove_tree(root)
    assert not root.exists()


def test_hard_links_share_their_file_also_over_layers(tmp_path: Path) -> None:
    """A later layer may link to what an earlier one brought."""
    root = build(tmp_path, [File("a", b"x"), hardlink("b", "a")], [hardlink("d/c", "b")])
    assert (root / "a").stat().st_ino == (root / "b").stat().st_ino == (root / "d/c").stat().st_ino


@pytest.mark.parametrize("target", ["missing", "folder"])
def test_a_hard_link_to_nothing_or_to_a_folder_is_an_error(tmp_path: Path, target: str) -> None:
    """It names the entry and the target."""
    with pytest.raises(BadImage, match=f"l is a hard link to .*{target}"):
        build(tmp_path, [folder("folder"), hardlink("l", target)])


def test_a_symlinked_parent_is_followed_inside_the_root(tmp_path: Path) -> None:
    """Absolute or with too many .., it means the worker's /."""
    root = build(
        tmp_path,
        [folder("usr/lib"), symlink("lib", "usr/lib"), symlink("up", "../../../../usr"), symlink("abs", "/usr")],
        [File("lib/a", b"a"), File("up/b", b"b"), File("abs/c", b"c")],
    )
    assert {path.name for path in (root / "usr").rglob("*")} == {"lib", "a", "b", "c"}


@pytest.mark.parametrize(
    "files",
    [
        [File("/etc/passwd", b"x")],
        [File("../x", b"x")],
        [File("a/../../x", b"x")],
        [hardlink("a", "../../etc/passwd")],
        [hardlink("a", "/etc/passwd")],
        [File("dev/null", kind=tarfile.CHRTYPE)],
        [File("dev/sda", kind=tarfile.BLKTYPE)],
        [File(".wh...")],
        [File("a/.wh.")],
        [File(".", b"x")],
        [File("x" * 300, b"x")],
    ],
    ids=lambda files: files[0].path[:20],
)
def test_an_entry_that_could_do_harm_is_refused(tmp_path: Path, files: list[File]) -> None:
    """The whole layer is; the message names image, layer and entry."""
    with pytest.raises(UnsafeLayer, match=r"image test: layer 1 of 1 \(sha256:[0-9a-f]{64}\) is refused, its entry"):
        build(tmp_path, [File("good", b""), *files])


def test_a_file_named_as_a_folder_is_not_guessed_at(tmp_path: Path) -> None:
    """Readers disagree about it, so its archive is refused."""
    with pytest.raises(BadImage, match="named as a folder and has content"):
        build(tmp_path, [File("a/", b"x")])


def test_what_a_symlink_replaced_is_not_touched_behind_it(tmp_path: Path) -> None:
    """A folder noted for its mode, then replaced by a link to the outside: the outside keeps its mode."""
    outside = tmp_path / "outside"
    (outside / "b").mkdir(parents=True, mode=0o755)
    build(tmp_path, [folder("a"), folder("a/b", 0o700)], [symlink("a", str(outside))])
    assert (outside / "b").stat().st_mode & 0o777 == 0o755


part = st.sampled_from(["..", ".", "a", "b", "l", "", "etc", ".wh.a", ".wh..wh..opq", "é"])
path = st.lists(part, min_size=1, max_size=5).map("/".join)
entry = st.builds(
    lambda kind, name, link: File(
        name or "a", b"evil" if kind == tarfile.REGTYPE else b"", kind=kind, link=link or "a", mode=0o755
    ),
    st.sampled_from([tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE]),
    st.one_of(path, path.map(lambda name: "/" + name)),
    st.one_of(path, path.map(lambda name: "/" + name), st.just("../../outside"), st.just("../outside/secret")),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=150)
@given(layers=st.lists(st.lists(entry, max_size=6), min_size=1, max_size=3))
def test_no_archive_writes_outside_its_root(tmp_path_factory: pytest.TempPathFactory, layers: list[list[File]]) -> None:
    """Whatever names and links it has: it is applied inside, or refused as a HostError."""
    place = tmp_path_factory.mktemp("t")
    outside = place / "outside"
    outside.mkdir()
    (outside / "secret").write_text("safe")
    before = (outside / "secret").stat()
    with contextlib.suppress(HostError):
        build(place, *layers)
    after = (outside / "secret").stat()
    assert (after.st_nlink, after.st_mode, after.st_mtime_ns) == (1, before.st_mode, before.st_mtime_ns)
    assert [child.name for child in outside.iterdir()] == ["secret"]
    made = {child.name for child in place.iterdir()}
    assert made <= {"outside", "root", *(f"{kind}{n}" for kind in ("blob", "layer") for n in (1, 2, 3))}
    remove_tree(place)


def test_paths_are_settled_as_seen_from_inside(tmp_path: Path) -> None:
    """`settled` resolves what exists and keeps what does not; a loop of links is an error."""
    (tmp_path / "var/opt").mkdir(parents=True)
    (tmp_path / "opt").symlink_to("/var/opt")
    (tmp_path / "x").symlink_to("y")
    (tmp_path / "y").symlink_to("x")
    (tmp_path / "f").write_text("")
    assert settled(tmp_path, "/opt/vllm/bin") == "/var/opt/vllm/bin"
    assert inside(tmp_path, "/opt/vllm") is None
    assert inside(tmp_path, "/opt") == tmp_path / "var/opt"
    for bad in ("x", "f/below"):
        with pytest.raises(Loop):
            settled(tmp_path, bad)


@settings(deadline=None)
@given(st.lists(st.binary(max_size=3000), min_size=1, max_size=3), st.binary(max_size=3).map(lambda b: b"\0" * len(b)))
def test_gzip_in_several_members_is_one_stream(
    tmp_path_factory: pytest.TempPathFactory, pieces: list[bytes], padding: bytes
) -> None:
    """As `cat a.gz b.gz` makes it, with zero bytes behind."""
    place = tmp_path_factory.mktemp("t")
    data = tar([File("f", b"".join(pieces))])
    cut = len(data) // 2
    stored = gzip.compress(data[:cut]) + gzip.compress(b"") + gzip.compress(data[cut:]) + padding
    layer = Layer(1, 1, digest(stored), len(stored), "gzip", digest(data))
    (place / "blob").write_bytes(stored)
    (place / "layer").mkdir()
    with (place / "blob").open("rb") as source:
        unpack(source, layer, "test", place / "layer", threading.Event())
    assert (place / "layer/files/1").read_bytes() == b"".join(pieces)


def test_a_truncated_gzip_stream_is_reported_as_such(tmp_path: Path) -> None:
    """When the blob is what its digest says, the author cut it."""
    data = tar([File("f", b"x" * 5000)])
    stored = gzip.compress(data)[:-20]
    layer = Layer(1, 1, digest(stored), len(stored), "gzip", digest(data))
    (tmp_path / "blob").write_bytes(stored)
    (tmp_path / "layer").mkdir()
    with (tmp_path / "blob").open("rb") as source, pytest.raises(BadImage, match="gzip stream ends too soon"):
        unpack(source, layer, "test", tmp_path / "layer", threading.Event())


def test_a_wrong_diff_id_is_a_mismatch_of_the_content(tmp_path: Path) -> None:
    """The blob may be right and the config wrong; the message says which."""
    data = tar([File("f", b"x")])
    layer = Layer(1, 1, digest(data), len(data), "none", digest(b"other"))
    (tmp_path / "blob").write_bytes(data)
    (tmp_path / "layer").mkdir()
    with (tmp_path / "blob").open("rb") as source, pytest.raises(DigestMismatch, match="the content of layer 1"):
        unpack(source, layer, "test", tmp_path / "layer", threading.Event())
