"""How baked images stand: each part that may differ, and each that cannot be asked."""

import json
import shutil
import time
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import web

from tests.support.tools import Crane, RegistryProcess
from tests.weight_bakery.bucket import running_bucket
from tests.weight_bakery.hub import COMMIT, running_hub
from tests.weight_bakery.proxy import fake_registry
from tests.weight_bakery.support import Layout, model_files, payload, safetensors, write_files, write_model
from weight_bakery import (
    BadRequest,
    BakeRequest,
    Credentials,
    Deployed,
    LockError,
    Status,
    StatusRequest,
    bake,
    bake_async,
    bake_status,
    bake_status_async,
    read_lock,
)

NOBODY = "127.0.0.1:1"
"""A port on which nothing listens."""


def states(status: Status, part: str) -> list[tuple[str, str]]:
    """State and text of the findings about one part, of all targets."""
    return [(item.state, item.text) for target in status.targets for item in target.findings if item.part == part]


@pytest.fixture
def baked(tmp_path: Path) -> StatusRequest:
    """A folder baked into a layout; looks at its lock."""
    lock = tmp_path / "weights.lock"
    bake(BakeRequest(model=str(write_model(tmp_path / "Tiny")), to=f"oci:{tmp_path}/images:v1", lock=lock))
    return StatusRequest(lock=lock)


def test_right_after_a_bake_all_is_well(baked: StatusRequest) -> None:
    """Exit code 0; no finding asks for anything."""
    status = bake_status(baked)
    digest = read_lock(baked.lock).images["oci:images:v1"].image_digest
    assert states(status, "source") == [("same", "8 files of Tiny are what was baked")]
    assert [state for state, _ in states(status, "registry")] == ["same"] * 3
    assert states(status, "stack") == [("skipped", "no stack was named")]
    assert (status.exit_code, status.targets[0].digest) == (0, digest)
    assert all(not finding.remedy for finding in status.targets[0].findings)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda folder: (folder / "tokenizer.json").write_text("{}"), "Tiny: changed: tokenizer.json"),
        (lambda folder: (folder / "tokenizer.json").write_text('{"version":"2.0"}'), "Tiny: changed: tokenizer.json"),
        (lambda folder: (folder / "LICENSE").unlink(), "Tiny: gone: LICENSE"),
        (lambda folder: (folder / "vocab.json").write_text("{}"), "Tiny: new: vocab.json"),
    ],
)
def test_a_folder_that_changed(baked: StatusRequest, change: object, told: str) -> None:
    """By size, by content of equal size, by a file that is gone or new; the remedy is another bake."""
    assert callable(change)
    change(baked.lock.parent / "Tiny")
    status = bake_status(baked)
    assert states(status, "source") == [("differs", told)]
    assert status.targets[0].findings[0].remedy.startswith("bake again")
    assert status.exit_code == 1


LARGE = safetensors({f"layer.{number}": payload(400_000, number) for number in range(4)})
INDEX = json.dumps({"weight_map": {f"layer.{number}": "model.safetensors" for number in range(4)}}).encode()


def flipped(content: bytes, at: int) -> bytes:
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


@pytest.mark.parametrize("remembered", [True, False])
@pytest.mark.parametrize(
    ("path", "content", "told"),
    [
        ("model.safetensors", LARGE, None),
        ("model.safetensors", LARGE + b"x", "Tiny: changed: model.safetensors"),
        ("model.safetensors", flipped(LARGE, len(LARGE) - 1), "Tiny: changed: model.safetensors"),
        ("model.safetensors", flipped(LARGE, LARGE.index(b"layer.2") + 6), "Tiny: changed: model.safetensors"),
        ("model.safetensors", flipped(LARGE, 8), "Tiny: changed: model.safetensors"),
        ("model.safetensors.index.json", INDEX.replace(b"{", b'{"metadata": {"x": 1}, ', 1),
         "Tiny: changed: model.safetensors.index.json"),
        ("config.json", b'{"model_type": "lamma"}', "Tiny: changed: config.json"),
    ],
)  # fmt: skip
def test_a_folder_whose_large_files_were_split(
    tmp_path: Path, path: str, content: bytes, told: str | None, remembered: bool
) -> None:
    """By content, split as the bake split it, whether digests are remembered or have to be made; in its own words."""
    lock, model = tmp_path / "weights.lock", tmp_path / "Tiny"
    write_files(
        model,
        {
            "config.json": b'{"model_type": "llama"}',
            "model.safetensors": LARGE,
            "model.safetensors.index.json": INDEX,
        },
    )
    time.sleep(0.15 if remembered else 0)
    bake(BakeRequest(model=str(model), to=f"oci:{tmp_path}/images:v1", lock=lock, max_layer_size=1 << 20))
    assert len(read_lock(lock).images["oci:images:v1"].resharded) == 1
    if not remembered:
        (tmp_path / "images/.bakery/digests.json").unlink()
    if told is not None:
        (model / path).write_bytes(content)
    expected = ("same", "2 files of Tiny are what was baked") if told is None else ("differs", told)
    assert states(bake_status(StatusRequest(lock=lock)), "source") == [expected]


def test_a_long_look_says_so(baked: StatusRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """What has to be read because nobody remembers it is told before, and how long it took after."""
    monkeypatch.setattr("weight_bakery._status_source._WORTH_A_WORD", 6000)
    (baked.lock.parent / "images/.bakery/digests.json").unlink()
    notes: list[str] = []
    text = states(bake_status(replace(baked, notice=notes.append)), "source")[0][1]
    assert text == "8 files of Tiny are what was baked (0.0 GiB read in 0 s, since no digest was remembered)"
    assert [note.partition(":")[0] for note in notes] == [
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
    ]
    assert "reading 0.0 GiB, of which no digest is remembered" in notes[0]


def test_a_file_that_is_not_baked_may_change(baked: StatusRequest) -> None:
    """What the selection leaves out is no difference."""
    (baked.lock.parent / "Tiny" / "README.md").write_text("new")
    assert bake_status(baked).exit_code == 0


def test_a_folder_that_is_gone_cannot_be_asked(baked: StatusRequest) -> None:
    """Exit code 2: nothing is known to differ."""
    shutil.rmtree(baked.lock.parent / "Tiny")
    status = bake_status(baked)
    assert states(status, "source")[0][0] == "unknown"
    assert status.exit_code == 2
    assert bake_status(replace(baked, parts=("registry",))).exit_code == 0


async def test_a_branch_that_moved_on(tmp_path: Path) -> None:
    """The recorded branch shows another commit; how much of the weights changed is told without a download."""
    lock = tmp_path / "weights.lock"
    files = model_files()
    async with running_hub(files) as hub:
        request = BakeRequest(
            model="owner/Tiny@main", to=f"oci:{tmp_path}/images:v1", lock=lock, hub_endpoint=hub.origin
        )
        await bake_async(request)
        look = StatusRequest(lock=lock, hub_endpoint=hub.origin)
        assert states(await bake_status_async(look), "source") == [
            ("same", f"owner/Tiny main is still at {COMMIT[:12]}")
        ]
        content = lock.read_text().replace(COMMIT, "f" * 40)
        shard = next(file for file in json.loads(content)["images"]["oci:images:v1"]["files"] if file["size"] > 6000)
        lock.write_text(content.replace(shard["sha256"], "0" * 64))
        seen = hub.seen["storage"]
        status = await bake_status_async(look)
        assert hub.seen["storage"] == seen
    assert states(status, "source") == [
        ("differs", f"owner/Tiny main is at {COMMIT[:12]}, baked from ffffffffffff; 1 of 2 large files changed")
    ]
    assert status.exit_code == 1


async def test_a_bucket_is_compared_without_a_download(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By remembered ETag or by the bucket's checksums; where neither tells, that is what is said."""
    lock, look = tmp_path / "weights.lock", StatusRequest(lock=tmp_path / "weights.lock", parts=("source",))
    names = ("CONFIG_FILE", "SHARED_CREDENTIALS_FILE")
    login = {"ACCESS_KEY_ID": "a", "SECRET_ACCESS_KEY": "b", "REGION": "us-east-1", **dict.fromkeys(names, "/none")}
    async with running_bucket(model_files()) as bucket:
        for name, value in {**login, "ENDPOINT_URL_S3": bucket.origin}.items():
            monkeypatch.setenv(f"AWS_{name}", value)
        await bake_async(BakeRequest(model="s3://models/org/Tiny", to=f"oci:{tmp_path}/images:v1", lock=lock))
        reads = bucket.seen["GET"]
        assert states(await bake_status_async(look), "source") == [("same", "8 files of Tiny are what was baked")]
        (tmp_path / "images" / ".bakery" / "digests.json").unlink()
        ((state, text),) = states(await bake_status_async(look), "source")
        assert (state, text.partition(":")[2].partition(":")[0]) == ("unknown", " same size, content not known")
        bucket.checksums = True
        assert states(await bake_status_async(look), "source")[0][0] == "same"
        bucket.files["tokenizer.json"] = b'{"version":"2.0"}'
        assert states(await bake_status_async(look), "source") == [("differs", "Tiny: changed: tokenizer.json")]
        assert bucket.seen["GET"] == reads + 4, "the model card, for the licence"


def test_an_image_as_source_is_found_from_the_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A layout stands in the lock relative to it; the model in the image says from which content it is."""
    lock = tmp_path / "weights.lock"
    bake(BakeRequest(model=str(write_model(tmp_path / "Tiny")), to=f"oci:{tmp_path}/first:v1"))
    bake(BakeRequest(model=f"oci:{tmp_path}/first:v1", to=f"oci:{tmp_path}/second:v1", lock=lock))
    assert read_lock(lock).images["oci:second:v1"].source == "oci:first:v1"
    look = StatusRequest(lock=lock, parts=("source",))
    monkeypatch.chdir(tmp_path / "first")
    assert states(bake_status(look), "source")[0][0] == "same"
    (tmp_path / "Tiny" / "tokenizer.json").write_text("{}")
    bake(BakeRequest(model=str(tmp_path / "Tiny"), to=f"oci:{tmp_path}/first:v1"))
    assert states(bake_status(look), "source")[0][0] == "differs"


async def test_a_hub_model_stays_one_beside_a_folder_of_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lock knows the kind; what lies in the working folder does not matter."""
    lock = tmp_path / "weights.lock"
    monkeypatch.chdir(tmp_path)
    async with running_hub(model_files()) as hub:
        request = BakeRequest(model="owner/Tiny", to="oci:images:v1", lock=lock, hub_endpoint=hub.origin)
        await bake_async(request)
        write_model(tmp_path / "owner" / "Tiny")
        await bake_async(replace(request, source="hub"))
        assert read_lock(lock).images["oci:images:v1"].source == "owner/Tiny"
        status = await bake_status_async(StatusRequest(lock=lock, parts=("source",), hub_endpoint=hub.origin))
    assert states(status, "source") == [("same", f"owner/Tiny main is still at {COMMIT[:12]}")]


async def test_no_network_is_a_finding(tmp_path: Path) -> None:
    """Neither Hub nor registry answers: each says so in one line with a remedy, and the exit code is 2."""
    lock = tmp_path / "weights.lock"
    async with running_hub(model_files()) as hub, fake_registry() as registry:
        to = f"{registry.host}/m:v1"
        await bake_async(BakeRequest(model="owner/Tiny@main", to=to, lock=lock, hub_endpoint=hub.origin))
    lock.write_text(lock.read_text().replace(to, f"{NOBODY}/m:v1"))
    status = await bake_status_async(StatusRequest(lock=lock, hub_endpoint=f"http://{NOBODY}"))
    assert [state for part in ("source", "registry") for state, _ in states(status, part)] == ["unknown"] * 2
    assert "cannot be reached" in states(status, "registry")[0][1]
    assert all(finding.remedy for finding in status.targets[0].findings if finding.state == "unknown")
    assert status.exit_code == 2


async def test_a_branch_is_not_asked_for_when_a_commit_was_named(tmp_path: Path) -> None:
    """A pinned commit cannot get newer."""
    lock = tmp_path / "weights.lock"
    async with running_hub(model_files()) as hub:
        request = BakeRequest(
            model=f"owner/Tiny@{COMMIT}", to=f"oci:{tmp_path}/images:v1", lock=lock, hub_endpoint=hub.origin
        )
        await bake_async(request)
    status = await bake_status_async(StatusRequest(lock=lock, hub_endpoint=f"http://{NOBODY}"))
    assert states(status, "source") == [("same", f"pinned to commit {COMMIT[:12]}")]


def test_a_blob_that_is_gone_or_damaged(baked: StatusRequest) -> None:
    """The layout is asked for every blob of the manifest, by content."""
    layout = Layout(baked.lock.parent / "images")
    digest = layout.manifest("v1")["layers"][0]["digest"]
    blob = layout.folder / "blobs" / "sha256" / digest.removeprefix("sha256:")
    content = blob.read_bytes()
    blob.write_bytes(b"x" * len(content))
    told = f"1 of 4 blobs are not there: {digest[:19]}"
    assert states(bake_status(baked), "registry")[-1] == ("differs", told)
    blob.unlink()
    assert states(bake_status(baked), "registry")[-1] == ("differs", told)


def test_a_layout_that_is_gone(baked: StatusRequest) -> None:
    """One finding that says what is missing."""
    shutil.rmtree(baked.lock.parent / "images")
    status = bake_status(baked)
    ((state, text),) = states(status, "registry")
    assert state == "differs"
    assert "is not an OCI image layout" in text


@pytest.mark.tools
async def test_a_tag_that_was_moved_and_an_image_that_was_deleted(
    tmp_path: Path, registry: RegistryProcess, crane: Crane
) -> None:
    """In a real registry: another image under the tag, then the manifest gone while its layers are still there."""
    lock, to = tmp_path / "weights.lock", f"{registry.host}/status/tiny:v1"
    request = BakeRequest(model=str(write_model(tmp_path / "Tiny")), to=to, lock=lock)
    receipt = await bake_async(request)
    look = StatusRequest(lock=lock, parts=("registry",))
    assert [state for state, _ in states(await bake_status_async(look), "registry")][:3] == ["same"] * 3
    other = await bake_async(replace(request, name="two", lock=None))
    status = await bake_status_async(look)
    assert states(status, "registry")[1] == ("differs", f"tag v1 shows {other.digest[:19]}")
    assert status.exit_code == 1
    manifests = registry.storage / "docker/registry/v2/repositories/status/tiny/_manifests/revisions/sha256"
    shutil.rmtree(manifests / receipt.digest.removeprefix("sha256:"))
    found = states(await bake_status_async(look), "registry")
    assert found[0] == ("differs", f"manifest {receipt.digest[:19]} is not there")
    assert found[2] == ("same", "3 blobs are there")


async def test_a_password_goes_to_no_second_registry(tmp_path: Path) -> None:
    """With entries on two hosts the one login that was given is used for neither."""
    seen: list[str | None] = []

    async def hook(request: web.Request) -> web.StreamResponse | None:
        seen.append(request.headers.get("Authorization"))
        return web.Response(status=401, headers={"WWW-Authenticate": 'Basic realm="x"'})

    lock = tmp_path / "weights.lock"
    async with fake_registry(hook) as one, fake_registry(hook) as two:
        bake_to = f"oci:{tmp_path}/images:v1"
        await bake_async(BakeRequest(model=str(write_model(tmp_path / "Tiny")), to=bake_to, lock=lock))
        content = json.loads(lock.read_bytes())
        entry = content["images"].pop("oci:images:v1")
        for host in (one.host, two.host):
            content["images"][f"{host}/m:v1"] = entry
        lock.write_text(json.dumps(content))
        look = StatusRequest(lock=lock, parts=("registry",), credentials=Credentials("me", "secret"))
        status = await bake_status_async(look)
        assert set(seen) == {None}
        await bake_status_async(replace(look, targets=(f"{one.host}/m:v1",)))
        assert any(seen)
    assert [state for state, _ in states(status, "registry")] == ["unknown"] * 2


def deployed(images: tuple[str, ...], **more: object) -> Deployed:
    """What stack `prod` runs."""
    return Deployed("prod", images, **more)  # type: ignore[arg-type]


def test_what_a_stack_runs(baked: StatusRequest) -> None:
    """The same digest wherever it was mirrored to; another digest of the same place; a tag alone; nothing of ours."""
    digest = read_lock(baked.lock).images["oci:images:v1"].image_digest
    other = f"sha256:{'0' * 64}"
    root = baked.lock.parent

    def look(*images: str, **more: object) -> tuple[str, str, int]:
        status = bake_status(replace(baked, deployed=deployed(images, root=root, **more)))
        ((state, text),) = states(status, "stack")
        return state, text, status.exit_code

    same = f"stack prod runs {digest[:19]}"
    assert look(f"oci:images:v1@{digest}") == ("same", same, 0)
    assert look(f"mirror.example/m:v7@{digest}") == ("same", same, 0)
    assert look(f"oci:images:v1@{other}", f"mirror.example/m@{digest}") == ("same", same, 0)
    assert look(f"oci:images:v1@{other}") == ("differs", f"stack prod runs {other[:19]}", 1)
    assert look("oci:images:v1") == ("unknown", "stack prod runs oci:images:v1 unpinned", 2)
    assert look("vllm/vllm-openai:v1") == ("differs", "stack prod runs vllm/vllm-openai:v1", 1)
    assert look() == ("differs", "stack prod runs no image", 1)
    assert look(problem="there is no stack prod", remedy="deploy it") == ("unknown", "there is no stack prod", 2)


def test_a_stack_need_not_run_everything_that_was_baked(tmp_path: Path, baked: StatusRequest) -> None:
    """The second image is said not to run, which is no difference; asked for alone it is one."""
    bake(BakeRequest(model=str(tmp_path / "Tiny"), to=f"oci:{tmp_path}/images:v2", name="two", lock=baked.lock))
    digest = read_lock(baked.lock).images["oci:images:v1"].image_digest
    look = replace(baked, deployed=deployed((f"oci:images:v1@{digest}",), root=tmp_path))
    status = bake_status(look)
    assert states(status, "stack")[1] == ("skipped", "stack prod does not run this image")
    assert status.exit_code == 0
    assert bake_status(replace(look, targets=("oci:images:v2",))).exit_code == 1


def test_there_must_be_something_to_look_at(tmp_path: Path, baked: StatusRequest) -> None:
    """No lock file, an empty one, a target it does not know."""
    with pytest.raises(LockError, match=r"there is no .*nothing.lock; bake something"):
        bake_status(StatusRequest(lock=tmp_path / "nothing.lock"))
    (tmp_path / "empty.lock").write_text('{"version": 2, "images": {}}')
    with pytest.raises(LockError, match="has no entries"):
        bake_status(StatusRequest(lock=tmp_path / "empty.lock"))
    with pytest.raises(BadRequest, match=r"has no entry for 'nope'; it has oci:images:v1"):
        bake_status(replace(baked, targets=("nope",)))


def test_a_target_may_be_written_as_the_bake_was_given_it(baked: StatusRequest) -> None:
    """A layout's folder as it is from here, or as the lock says it from there."""
    for text in ("oci:images:v1", f"oci:{baked.lock.parent}/images:v1"):
        assert [target.target for target in bake_status(replace(baked, targets=(text,))).targets] == ["oci:images:v1"]
