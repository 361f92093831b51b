"""Stack `local` through engine, provider plugin and emulator: the whole program over real HTTP, with either engine.

The workers are small tasks instead of images (tests/pulumi_runpod/cloud.py); everything before them is real.
"""

import asyncio
import json
import shutil
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.infra.clone import PLUGIN_ENVIRONMENT, Project
from tests.pulumi_runpod.cloud import KEY, Cloud, live_cloud
from tests.weight_bakery.support import Layout, write_deps, write_model

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(400),
    pytest.mark.skipif(not PLUGIN_ENVIRONMENT.is_dir(), reason="the plugin's environment is not set up"),
]
needs_cli = [
    pytest.mark.pulumi_cli,
    pytest.mark.skipif(shutil.which("pulumi") is None, reason="the pulumi CLI is not on PATH"),
]
ENGINES = ["embedded", pytest.param("pulumi", marks=needs_cli)]
ENDPOINT = "runpod:index:Endpoint"


@pytest.fixture
async def cloud(tmp_path: Path) -> AsyncIterator[Cloud]:
    """The emulator behind a proxy that counts calls."""
    async with live_cloud(tmp_path / "cloud") as cloud:
        yield cloud


@pytest.fixture(params=ENGINES)
def project(request: pytest.FixtureRequest, tmp_path: Path, cloud: Cloud) -> Project:
    """Stack `local` of a clean clone, with either engine."""
    return baked(Project(tmp_path / "clone", request.param), cloud)


def baked(project: Project, cloud: Cloud) -> Project:
    """As `make up` leaves it before it deploys: a model and the worker's packages, the emulator's address and key."""
    write_model(project.root / ".local/models/smollm2-135m-instruct", shards=1)
    write_deps(project.root / ".local/worker-deps")
    time.sleep(0.15)  # a file that changed just now is read again by the next run
    edit(project, "http://127.0.0.1:8900", cloud.url)
    key = project.root / ".local/emulator/api-key"
    key.parent.mkdir(parents=True)
    key.write_text(KEY + "\n")
    return project


def edit(project: Project, old: str, new: str) -> None:
    """Change the stack file of `local`."""
    path = project.root / "Pulumi.local.yaml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


async def run(project: Project, *arguments: str) -> str:
    """Run a command that has to succeed; the emulator goes on meanwhile."""
    code, printed = await asyncio.to_thread(project.pulumi, *arguments, "--stack", "local")
    assert code == 0, printed
    assert KEY not in printed
    return printed


async def steps(project: Project) -> dict[str, Any]:
    """What a preview would do, by type of resource; what stays as it is is left out."""
    plan = json.loads(await run(project, "preview", "--json"))
    return {
        step["newState"]["type"]: sorted(step.get("detailedDiff") or {})
        for step in plan["steps"]
        if step["op"] != "same"
    }


async def test_a_whole_life(project: Project, cloud: Cloud) -> None:
    """Up, no change, one change that is one update, drift found and put right, down; the key never in the state."""
    _, printed = await asyncio.to_thread(project.pulumi, "stack", "init", "local")
    assert "error" not in printed
    before = await steps(project)
    assert set(before) == {
        "pulumi:pulumi:Stack",
        "vllm-runpod:index:VllmEndpoint",
        "runpod:index:BakedImage",
        "runpod:index:Template",
        ENDPOINT,
    }
    await run(project, "up", "--yes", "--skip-preview")
    outputs = json.loads(await run(project, "stack", "output", "--json"))
    endpoint = await cloud.call("GET", f"/v2/serverless/{outputs['endpointId']}")
    digest = outputs["imageDigest"]
    assert Layout(project.root / ".local/images/smollm2-135m-instruct").tags() == {"latest": digest}
    locked = json.loads((project.root / ".local/weights.lock").read_text())["images"]
    assert [entry["image_digest"] for entry in locked.values()] == [digest]
    assert endpoint["image"] == f"oci:.local/images/smollm2-135m-instruct:latest@{digest}"
    assert endpoint["env"] == {"MAX_MODEL_LEN": "2048", "MAX_NUM_SEQS": "4"}
    assert outputs["openaiBaseUrl"] == f"{cloud.url}/v2/{outputs['endpointId']}/openai/v1"
    assert (outputs["hourlyFloorUsd"], outputs["hourlyCeilingUsd"]) == ("0.00", "0.00")
    assert await steps(project) == {}

    edit(project, 'maxModelLen: "2048"', 'maxModelLen: "1024"')
    assert await steps(project) == {ENDPOINT: ["env.MAX_MODEL_LEN"]}
    await run(project, "up", "--yes", "--skip-preview")
    endpoint = await cloud.call("GET", f"/v2/serverless/{outputs['endpointId']}")
    assert endpoint["env"]["MAX_MODEL_LEN"] == "1024"
    assert await steps(project) == {}

    # Other weights: a new image, and the endpoint takes it in the same run.
    write_model(project.root / ".local/models/smollm2-135m-instruct", shards=1, shard_bytes=7000)
    time.sleep(0.15)
    changed = await steps(project)
    assert set(changed) == {"runpod:index:BakedImage", "runpod:index:Template", ENDPOINT}
    await run(project, "up", "--yes", "--skip-preview")
    endpoint = await cloud.call("GET", f"/v2/serverless/{outputs['endpointId']}")
    assert endpoint["image"] != f"oci:.local/images/smollm2-135m-instruct:latest@{digest}"
    assert await steps(project) == {}

    await cloud.call("PATCH", f"/v2/serverless/{outputs['endpointId']}", {"timeout": 1000})
    await run(project, "refresh", "--yes", "--skip-preview")
    assert await steps(project) == {ENDPOINT: ["timeout"]}
    await run(project, "up", "--yes", "--skip-preview")
    endpoint = await cloud.call("GET", f"/v2/serverless/{outputs['endpointId']}")
    assert endpoint["timeout"] == 600_000

    await run(project, "destroy", "--yes", "--skip-preview")
    assert (await cloud.call("GET", "/v2/serverless"))["endpoints"] == []
    assert (await cloud.call("GET", "/v2/templates"))["templates"] == []
    for path in (project.root / ".local/pulumi").rglob("*"):
        assert not path.is_file() or KEY.encode() not in path.read_bytes(), path


@pytest.mark.pulumi_cli
@pytest.mark.skipif(shutil.which("pulumi") is None, reason="the pulumi CLI is not on PATH")
async def test_the_stack_goes_to_the_other_engine_and_back(
    tmp_path: Path, cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Made by the CLI in an unactivated shell of a fresh clone; each engine finds nothing to do after the other."""
    # Only what a login shell has, and the CLI.
    cli = Path(str(shutil.which("pulumi"))).parent
    monkeypatch.setenv("PATH", f"{cli}:/usr/local/bin:/usr/bin:/bin")
    project = baked(Project(tmp_path / "clone"), cloud)
    code, printed = await asyncio.to_thread(project.pulumi, "stack", "init", "local")
    assert code == 0, printed
    await run(project, "preview")
    await run(project, "up", "--yes", "--skip-preview")
    made = await cloud.call("GET", "/v2/serverless")

    project.use("embedded")
    await run(project, "preview", "--expect-no-changes")
    await run(project, "refresh", "--yes", "--skip-preview")
    await run(project, "up", "--yes", "--skip-preview", "--expect-no-changes")
    project.use("pulumi")
    await run(project, "preview", "--refresh", "--expect-no-changes")
    assert await cloud.call("GET", "/v2/serverless") == made

    edit(project, 'maxModelLen: "2048"', 'maxModelLen: "1024"')
    project.use("embedded")
    assert await steps(project) == {ENDPOINT: ["env.MAX_MODEL_LEN"]}
    await run(project, "up", "--yes", "--skip-preview")
    project.use("pulumi")
    assert await steps(project) == {}
    await run(project, "up", "--yes", "--expect-no-changes")
    await run(project, "destroy", "--yes", "--skip-preview")
    assert (await cloud.call("GET", "/v2/serverless"))["endpoints"] == []
    project.use("embedded")
    assert json.loads(await run(project, "stack", "export"))["deployment"].get("resources", []) == []
    assert list((project.root / "home").rglob("*.json")) == [], "a stack's state belongs into the clone"
