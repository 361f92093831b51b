"""Documents beside an image: attached through the referrers API or its fallback tag, listed, printed back, mirrored."""

import asyncio
import json
import re
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import web
from click.testing import CliRunner

from tests.support.tools import Crane, RegistryProcess
from tests.weight_bakery.proxy import FakeRegistry, fake_registry
from tests.weight_bakery.support import write_model
from weight_bakery import (
    BakeRequest,
    Note,
    RebaseRequest,
    StatusRequest,
    bake,
    bake_async,
    bake_status,
    bake_status_async,
    read_lock,
    rebase_async,
)
from weight_bakery._attach import Attachment, attach, attached_to, read_attached
from weight_bakery._events import Event, silent
from weight_bakery._image import Document
from weight_bakery._references import RegistryReference
from weight_bakery._registry import RegistryStore
from weight_bakery._sbom import PROVENANCE_TYPE, SBOM_TYPE, provenance, sbom
from weight_bakery._stores import StoredManifest
from weight_bakery.cli import bake_command

MIRRORING = Path(__file__).resolve().parents[2] / "docs/how-to/mirror-images.md"
INDEX = "application/vnd.oci.image.index.v1+json"


@asynccontextmanager
async def registry_with_referrers() -> AsyncIterator[FakeRegistry]:
    """A registry that serves the referrers API, one entry per page, and says so with OCI-Subject."""

    async def hook(request: web.Request) -> web.StreamResponse | None:
        name = request.path.rpartition("/")[2]
        if request.method == "PUT" and "/manifests/" in request.path:
            registry.manifests[name] = await request.read()
            subject = json.loads(registry.manifests[name]).get("subject", {}).get("digest")
            return web.Response(status=201, headers={"OCI-Subject": subject} if subject else {})
        if "/referrers/" not in request.path:
            return None
        listed = []
        for digest, content in sorted(registry.manifests.items()):
            manifest = json.loads(content)
            if manifest.get("subject", {}).get("digest") == name:
                known = {key: manifest[key] for key in ("mediaType", "artifactType", "annotations")}
                listed.append({**known, "digest": digest, "size": len(content)})
        page = int(request.query.get("page", "0"))
        more = {"Link": f'<{request.path}?page={page + 1}>; rel="next"'} if page + 1 < len(listed) else {}
        index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": listed[page : page + 1]}
        return web.Response(body=json.dumps(index).encode(), content_type=INDEX, headers=more)

    async with fake_registry(hook) as registry:
        yield registry


def store_of(host: str, repository: str) -> RegistryStore:
    """A store of one repository."""
    return RegistryStore(RegistryReference(host, repository, None), credentials=None, write=True, progress=silent)


async def test_a_registry_with_the_referrers_api_lists_them_itself(tmp_path: Path) -> None:
    """No fallback tag is written; the list is read page by page; the documents come back as the lock gives them."""
    lock = tmp_path / "weights.lock"
    async with registry_with_referrers() as registry:
        request = BakeRequest(model=str(write_model(tmp_path / "Tiny")), to=f"{registry.host}/m:v1", lock=lock)
        receipt = await bake_async(request)
        assert [item.artifact_type for item in receipt.attached] == [SBOM_TYPE, PROVENANCE_TYPE]
        assert set(registry.manifests) == {"v1", *(item.digest for item in receipt.attached)}
        store = store_of(registry.host, "m")
        found = {
            item.artifact_type: await read_attached(store, item) for item in await attached_to(store, receipt.digest)
        }
        await store.close()
        puts = registry.seen["PUT manifest"]
        again = await bake_async(request)
        assert registry.seen["PUT manifest"] == puts + 1, "the image's own manifest alone"
    (entry,) = read_lock(lock).images.values()
    assert found == {SBOM_TYPE: sbom(entry).content, PROVENANCE_TYPE: provenance(entry).content}
    assert again.attached == receipt.attached


@pytest.mark.tools
async def test_the_real_registry_gets_a_fallback_tag(tmp_path: Path, registry: RegistryProcess, crane: Crane) -> None:
    """Foreign tools find an index under sha256-<hex>, in it both manifests, and in them subject and document."""
    lock, repository = tmp_path / "weights.lock", f"{registry.host}/attach/tiny"
    request = BakeRequest(model=str(write_model(tmp_path / "Tiny")), to=f"{repository}:v1", lock=lock)
    receipt = await bake_async(request)
    (entry,) = read_lock(lock).images.values()
    index = json.loads(crane("manifest", f"{repository}:{receipt.digest.replace(':', '-')}"))
    assert index["mediaType"] == INDEX
    assert [item["artifactType"] for item in index["manifests"]] == [SBOM_TYPE, PROVENANCE_TYPE]
    for item, document in zip(index["manifests"], (sbom(entry), provenance(entry)), strict=True):
        manifest = json.loads(crane("manifest", f"{repository}@{item['digest']}"))
        assert (manifest["artifactType"], manifest["subject"]["digest"]) == (item["artifactType"], receipt.digest)
        assert manifest["config"]["mediaType"] == "application/vnd.oci.empty.v1+json"
        (layer,) = manifest["layers"]
        assert crane("blob", f"{repository}@{layer['digest']}") == document.content
    before = len(registry.requests("PUT"))
    assert (await bake_async(request)).attached == receipt.attached
    assert registry.requests("PUT")[before:] == ["/v2/attach/tiny/manifests/v1"]
    status = await bake_status_async(StatusRequest(lock=lock, parts=("registry",)))
    assert status.targets[0].findings[-1].text == "bill of materials and provenance are attached"


@pytest.mark.tools
async def test_what_others_attached_stays_listed(tmp_path: Path, registry: RegistryProcess) -> None:
    """The index under the fallback tag only grows."""
    store = store_of(registry.host, "attach/others")
    subject = StoredManifest("application/vnd.oci.image.manifest.v1+json", b"{}", f"sha256:{'1' * 64}")
    theirs = Attachment(Document("application/vnd.example", b"theirs"), "theirs", {"who": "they"})
    ours = Attachment(Document("application/vnd.example", b"ours"), "ours")
    first = await attach(store, subject, [theirs])
    second = await attach(store, subject, [ours])
    listed = await attached_to(store, subject.digest)
    await store.close()
    assert listed == (*first, *second)
    assert listed[0].annotations == {"who": "they"}


async def test_a_registry_that_takes_no_documents_gets_the_image_alone(tmp_path: Path) -> None:
    """A refusal is told in one line; the image is there, and the status does not call it a difference."""
    notes: list[str] = []

    def progress(event: Event) -> None:
        if isinstance(event, Note):
            notes.append(event.text)

    async def hook(request: web.Request) -> web.StreamResponse | None:
        if request.method == "PUT" and "/manifests/sha256:" in request.path:
            return web.json_response({"errors": [{"code": "MANIFEST_INVALID", "message": "no artifacts"}]}, status=400)
        return None

    lock = tmp_path / "weights.lock"
    async with fake_registry(hook) as registry:
        request = BakeRequest(model=str(write_model(tmp_path / "Tiny")), to=f"{registry.host}/m:v1", lock=lock)
        receipt = await bake_async(request, progress=progress)
        assert set(registry.manifests) == {"v1"}
    (note,) = notes
    assert note.startswith("bill of materials and provenance are not attached: ")
    assert "MANIFEST_INVALID no artifacts" in note
    assert receipt.attached == ()


@pytest.mark.tools
async def test_nothing_is_attached_where_nothing_is_wanted(tmp_path: Path, registry: RegistryProcess) -> None:
    """With attest=False only the image is there, which the status says without calling it a difference."""
    lock = tmp_path / "weights.lock"
    model, to = str(write_model(tmp_path / "Tiny")), f"{registry.host}/attach/nothing:v1"
    assert (await bake_async(BakeRequest(model=model, to=to, lock=lock, attest=False))).attached == ()
    status = await bake_status_async(StatusRequest(lock=lock, parts=("registry",)))
    last = status.targets[0].findings[-1]
    assert (last.state, last.text) == ("skipped", "bill of materials or provenance is not attached (nothing is)")
    assert status.exit_code == 0


@pytest.mark.tools
async def test_a_rebased_image_gets_documents_of_its_own(tmp_path: Path, registry: RegistryProcess) -> None:
    """They name the new image and the new base."""
    lock, model, to = (
        tmp_path / "weights.lock",
        str(write_model(tmp_path / "Tiny")),
        f"{registry.host}/attach/rebase:v1",
    )
    base = await bake_async(BakeRequest(model=model, to=f"oci:{tmp_path}/base:v1", name="base"))
    await bake_async(BakeRequest(model=model, to=to, lock=lock))
    await rebase_async(RebaseRequest(to, f"oci:{tmp_path}/base:v1", lock=lock))
    status = await bake_status_async(StatusRequest(lock=lock, parts=("registry",)))
    assert status.targets[0].findings[-1].text == "bill of materials and provenance are attached"
    (entry,) = read_lock(lock).images.values()
    assert base.digest.encode() in sbom(entry).content


@pytest.mark.tools
def test_a_mirror_keeps_digests_and_documents(tmp_path: Path, registry: RegistryProcess, crane: Crane) -> None:
    """The commands of docs/how-to/mirror-images.md: crane copies the image, then the list of what is attached to it."""
    lock = tmp_path / "weights.lock"
    source, mirror = f"{registry.host}/mirror/source", f"{registry.host}/mirror/copy"
    receipt = bake(BakeRequest(model=str(write_model(tmp_path / "Tiny")), to=f"{source}:v1", lock=lock))
    commands = "".join(re.findall(r"```sh\n(.*?)```", MIRRORING.read_text(), re.DOTALL))
    assert commands.count("crane copy") == 2
    environment = {"PATH": f"{crane.program.parent}:/usr/bin:/bin", "HOME": str(tmp_path),
                   "SOURCE": source, "MIRROR": mirror, "DIGEST": receipt.digest}  # fmt: skip
    done = subprocess.run(["sh", "-euc", commands], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert crane("digest", f"{mirror}:v1").decode().strip() == receipt.digest
    (entry,) = read_lock(lock).images.values()
    lock.write_bytes(replace(read_lock(lock), images={f"{mirror}:v1": entry}).dump())
    status = bake_status(StatusRequest(lock=lock, parts=("registry",)))
    assert [finding.state for finding in status.targets[0].findings] == ["same"] * 4
    printed = CliRunner().invoke(bake_command, ["sbom", f"{mirror}:v1"])
    assert printed.stdout_bytes == sbom(entry).content + b"\n"
    printed = CliRunner().invoke(bake_command, ["sbom", f"{mirror}@{receipt.digest}", "--provenance"])
    assert json.loads(printed.stdout)["subject"] == [{"name": "tiny", "digest": {"sha256": receipt.digest[7:]}}]


def test_a_layouts_document_is_made_from_the_lock(tmp_path: Path) -> None:
    """By tag or by digest; what the lock does not have is refused in one line."""
    lock = tmp_path / "weights.lock"
    receipt = bake(BakeRequest(model=str(write_model(tmp_path / "Tiny")), to=f"oci:{tmp_path}/images:v1", lock=lock))
    (entry,) = read_lock(lock).images.values()

    def run(image: str) -> tuple[int, str, str]:
        done = CliRunner().invoke(bake_command, ["sbom", image, "--lock", str(lock)])
        return done.exit_code, done.stdout, done.stderr

    for image in (f"oci:{tmp_path}/images:v1", f"oci:{tmp_path}/images:v1@{receipt.digest}"):
        assert run(image) == (0, sbom(entry).content.decode() + "\n", "")
    code, printed, said = run(f"oci:{tmp_path}/images:v1@sha256:{'0' * 64}")
    assert (code, printed) == (1, "")
    assert "has no entry for" in said


async def test_an_image_without_documents_is_told_in_one_line() -> None:
    """Nothing attached, and no such image."""
    async with fake_registry() as registry:
        registry.manifests["v1"] = b"{}"
        for tag, message in (("v1", "no application/vnd.cyclonedx+json is attached to"), ("v2", "does not exist")):
            process = await _bake("sbom", f"{registry.host}/m:{tag}")
            assert message in process[1]
            assert (process[0], process[1].count("\n")) == (1, 1)


async def _bake(*arguments: str) -> tuple[int | None, str]:
    """Run the command beside this event loop; returns exit code and stderr."""
    done = await asyncio.to_thread(CliRunner().invoke, bake_command, list(arguments))
    return done.exit_code, done.stderr
