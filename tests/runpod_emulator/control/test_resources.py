"""Templates, network volumes and registry credentials over real HTTP."""

from pathlib import Path
from typing import Any

import pytest

from tests.runpod_emulator.control import support
from tests.runpod_emulator.control.support import IMAGE, KEY, Cloud, endpoint_body


async def test_a_template_lives_and_dies(cloud: Cloud) -> None:
    """Defaults, partial change, deletion; `mounts` is left out where there is none."""
    made = await cloud.template()
    assert made == {
        "id": made["id"],
        "name": "t",
        "image": IMAGE,
        "args": "",
        "entrypoint": [],
        "cmd": [],
        "disk": 20,
        "ports": [],
        "env": {},
        "registry": None,
        "serverless": False,
        "public": False,
        "category": "NVIDIA",
        "startSsh": True,
        "startJupyter": True,
        "allowedCudaVersions": [],
    }
    path = f"/v2/templates/{made['id']}"
    mounts = {"persistent": {"size": 20, "path": "/workspace"}}
    changed = (await cloud.patch(path, {"mounts": mounts, "startSsh": False, "category": "AMD"})).json
    assert (changed["mounts"], changed["startSsh"], changed["category"]) == (mounts, False, "AMD")
    assert (await cloud.patch(path, {"mounts": {}})).json["mounts"] == mounts
    cuda = await cloud.patch(path, {"allowedCudaVersions": ["12.8"]})
    assert cuda.json["allowedCudaVersions"] == ["12.8"]
    assert (await cloud.patch(path, {"allowedCudaVersions": []})).json["allowedCudaVersions"] == []
    assert (await cloud.get(path)).json["mounts"] == mounts
    assert (await cloud.delete(path)).status == 204
    assert (await cloud.get(path)).status == 404


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"mounts": {"network": []}}, 422),
        ({"mounts": {"persistent": {"size": 9, "path": "/w"}}}, 422),
        ({"readme": "x"}, 422),
        ({"category": "INTEL"}, 422),
        ({"allowedCudaVersions": ["12"]}, 422),
        ({"image": None}, 422),
        ({"image": ""}, 400),
        ({"registry": "nosuch"}, 400),
        ({"serverless": True, "mounts": {"persistent": {"size": 10, "path": "/w"}}}, 400),
    ],
)
async def test_a_wrong_template_is_refused(cloud: Cloud, change: dict[str, Any], status: int) -> None:
    """Schema: 422. Rules: 400."""
    body = {key: value for key, value in {"name": "t", "image": IMAGE, **change}.items() if value is not None}
    assert (await cloud.post("/v2/templates", body)).status == status


async def test_a_template_in_use_stays(cloud: Cloud) -> None:
    """400 while an endpoint that was made from it exists."""
    template = await cloud.template(serverless=True)
    endpoint = await cloud.endpoint(templateId=template["id"], image=None)
    refused = await cloud.delete(f"/v2/templates/{template['id']}")
    assert refused.status == 400
    assert endpoint["id"] in refused.json["detail"]
    await cloud.delete(f"/v2/serverless/{endpoint['id']}")
    assert (await cloud.delete(f"/v2/templates/{template['id']}")).status == 204


async def test_public_templates_are_read_only(cloud: Cloud) -> None:
    """Readable by id like one's own; 404 to whoever would change them; not in one's own list."""
    shown = (await cloud.get("/v2/catalog/templates?source=official")).json
    assert shown["pagination"] == {"nextCursor": None, "hasNextPage": False}
    template = shown["templates"][0]
    path = f"/v2/templates/{template['id']}"
    assert (await cloud.get(path)).json == template
    assert (await cloud.patch(path, {"name": "mine"})).status == 404
    assert (await cloud.delete(path)).status == 404
    assert (await cloud.get("/v2/templates")).json["templates"] == []
    assert (await cloud.get("/v2/catalog/templates?source=community")).json["templates"] == []


async def test_a_volume_lives_grows_and_dies(cloud: Cloud) -> None:
    """Its directory comes and goes with it; it never shrinks."""
    made = await cloud.volume()
    assert made == {"id": made["id"], "name": "v", "size": 50, "dataCenter": "US-KS-2", "type": "STANDARD"}
    path, folder = f"/v2/network-volumes/{made['id']}", cloud.ctx.config.volume_dir(made["id"])
    (folder / "weights").write_text("kept")
    assert (await cloud.patch(path, {"size": 80, "name": "w"})).json == {**made, "size": 80, "name": "w"}
    shrink = await cloud.patch(path, {"size": 79})
    assert (shrink.status, (await cloud.get(path)).json["size"]) == (400, 80)
    assert (await cloud.patch(path, {"size": 80})).status == 200
    assert (folder / "weights").read_text() == "kept"
    endpoint = await cloud.endpoint(networkVolumes=[made["id"]])
    assert (await cloud.delete(path)).status == 400, "an endpoint uses it"
    await cloud.patch(f"/v2/serverless/{endpoint['id']}", {"networkVolumes": []})
    assert (await cloud.delete(path)).status == 204
    assert not folder.exists()
    assert (await cloud.delete(path)).status == 404


@pytest.mark.parametrize(
    ("change", "status", "words"),
    [
        ({"size": 9}, 422, "$.size: minimum: got 9, want 10"),
        ({"size": 4097}, 422, "$.size: maximum: got 4097, want 4096"),
        ({"size": 10.5}, 422, "$.size: got number, want integer"),
        ({"type": "FAST"}, 422, "$.type: value must be one of 'STANDARD', 'HIGH_PERFORMANCE'"),
        ({"dataCenterId": "US-KS-2"}, 422, "$: additional properties 'dataCenterId' not allowed"),
        ({"dataCenter": None}, 422, "$: missing property 'dataCenter'"),
        ({"dataCenter": "AP-JP-1"}, 400, "US-KS-2"),
        ({"dataCenter": "MOON-1"}, 400, "US-KS-2"),
        ({"dataCenter": "US-GA-2", "type": "HIGH_PERFORMANCE"}, 400, "HIGH_PERFORMANCE"),
    ],
)
async def test_a_wrong_volume_is_refused(cloud: Cloud, change: dict[str, Any], status: int, words: str) -> None:
    """A data centre without volumes is answered with those that have them."""
    body = {"name": "v", "size": 50, "dataCenter": "US-KS-2", **change}
    answer = await cloud.post("/v2/network-volumes", {key: value for key, value in body.items() if value is not None})
    assert answer.status == status
    assert words in answer.text


async def test_a_volume_patch_needs_a_field(cloud: Cloud) -> None:
    """An empty body, and the immutable fields, are 422."""
    made = await cloud.volume()
    for body in ({}, {"dataCenter": "EU-RO-1"}, {"type": "STANDARD"}):
        assert (await cloud.patch(f"/v2/network-volumes/{made['id']}", body)).status == 422


async def test_a_credential_shows_only_its_name(cloud: Cloud) -> None:
    """Username and password go in and never come out; there is no PATCH."""
    made = await cloud.registry()
    assert set(made) == {"id", "name"}
    path = f"/v2/registries/{made['id']}"
    assert (await cloud.get(path)).json == made
    assert (await cloud.get("/v2/registries")).json == {"registries": [made]}
    assert (await cloud.patch(path, {"name": "n"})).status == 405
    assert cloud.ctx.endpoints.registry_auth(made["id"]) == ("user", "very-secret-password")
    assert (await cloud.post("/v2/registries", {"name": "r", "username": "u"})).status == 422
    assert (await cloud.delete(path)).status == 204
    assert cloud.ctx.endpoints.registry_auth(made["id"]) is None


async def test_deleting_a_credential_empties_the_references(cloud: Cloud) -> None:
    """Templates and endpoints lose it silently, without a release."""
    registry = await cloud.registry()
    template = await cloud.template(registry=registry["id"])
    endpoint = await cloud.endpoint(registry=registry["id"])
    assert (await cloud.delete(f"/v2/registries/{registry['id']}")).status == 204
    assert (await cloud.get(f"/v2/templates/{template['id']}")).json["registry"] is None
    assert (await cloud.get(f"/v2/serverless/{endpoint['id']}")).json["registry"] is None
    assert (await cloud.get(f"/v2/serverless/{endpoint['id']}/releases")).json["endpointVersion"] == 1


async def test_everything_is_there_after_a_restart(tmp_path: Path) -> None:
    """A new emulator on the same directory answers the same."""
    async with support.cloud(tmp_path, page_size=1) as cloud:
        registry = await cloud.registry()
        volume = await cloud.volume()
        await cloud.endpoint(networkVolumes=[volume["id"]], registry=registry["id"], env={"Ä": "ß\n✓"})
        await cloud.endpoint(gpu=None, cpu=[{"id": "cpu3g", "vcpuCount": 4}], workers={"max": 1})
        await cloud.template(mounts={"persistent": {"size": 10, "path": "/w"}})
        paths = ["/v2/serverless", "/v2/templates", "/v2/network-volumes", "/v2/registries"]
        before = [(await cloud.get(path)).text for path in paths]
        cursor = (await cloud.get("/v2/serverless")).json["pagination"]["nextCursor"]
        url = cloud.ctx.base_url
    async with support.cloud(tmp_path, page_size=1) as cloud:
        after = [(await cloud.get(path)).text.replace(cloud.ctx.base_url, url) for path in paths]
        assert after == before
        assert (await cloud.get(f"/v2/serverless?cursor={cursor}")).status == 200, "a cursor outlives a restart"
        assert cloud.host.reaped == 1


async def test_a_deletion_that_was_interrupted_is_finished_or_undone(tmp_path: Path) -> None:
    """Killed between renaming and forgetting, a volume comes back; killed after, its remains go."""
    async with support.cloud(tmp_path) as cloud:
        kept = await cloud.volume()
        folder = cloud.ctx.config.volume_dir(kept["id"])
        (folder / "weights").write_text("kept")
        folder.rename(folder.with_name(".deleted-" + kept["id"]))
        folder.with_name(".deleted-forgotten1").mkdir()
    async with support.cloud(tmp_path) as cloud:
        assert (folder / "weights").read_text() == "kept"
        assert [entry.name for entry in folder.parent.iterdir()] == [kept["id"]]


async def test_state_is_for_its_owner_only(cloud: Cloud) -> None:
    """Directory 0700, database 0600: passwords stand in it."""
    await cloud.registry()
    config = cloud.ctx.config
    assert config.state_dir.stat().st_mode & 0o777 == 0o700
    for path in config.state_dir.glob("emulator.sqlite3*"):
        assert path.stat().st_mode & 0o077 == 0, path
    assert config.lock_file.stat().st_mode & 0o777 == 0o600
    assert KEY not in repr(config)


async def test_two_creates_at_once_respect_the_quota(cloud: Cloud) -> None:
    """The rules hold when the row is written, not only when the request came."""
    import asyncio

    answers = await asyncio.gather(*(cloud.post("/v2/serverless", endpoint_body(workers={"max": 4})) for _ in range(6)))
    assert sorted(answer.status for answer in answers) == [201, 201, 400, 400, 400, 400]
