"""The plugin under both engines: a process and environment of its own, a real program, the emulator behind."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

import pulumi_runpod as runpod
from tests.pulumi_runpod.cloud import KEY, Cloud
from tests.pulumi_runpod.project import CLI, PLUGIN_ENVIRONMENT, Project

NO_CLI = pytest.mark.skipif(CLI is None, reason="needs the `pulumi` command on PATH")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not PLUGIN_ENVIRONMENT.exists(), reason="needs the plugin's environment (.local/envs/plugin)"),
]


@pytest.fixture(params=["embedded", pytest.param("cli", marks=[pytest.mark.pulumi_cli, NO_CLI])])
async def project(request: pytest.FixtureRequest, cloud: Cloud, tmp_path: Path) -> AsyncIterator[Project]:
    folder = tmp_path / "project"
    folder.mkdir()
    project = Project(folder, cloud.url, KEY, embedded=request.param == "embedded")
    await project.init()
    yield project
    if "resources" in project.state_text():
        await project.run("destroy", "--yes", "--skip-preview", "--stack", "dev")


async def test_a_whole_life(project: Project, cloud: Cloud) -> None:
    """Preview, up, no change, one change, drift, refresh, destroy; no secret in clear anywhere."""
    assert set((await project.preview()).values()) == {"create"}
    created = await project.up()
    assert created.code == 0, created.text
    assert await project.preview("--expect-no-changes") == {}

    changes = await project.preview(max_model_len="4096")
    assert changes == {"worker": "update", "llm": "update"}
    assert set(project.steps["llm"]["detailedDiff"]) == {"env.MAX_MODEL_LEN"}
    updated = await project.up()
    assert updated.code == 0, updated.text
    outputs = (await project.run("stack", "output", "--json", "--stack", "dev")).json
    remote = await cloud.call("GET", f"/v2/serverless/{outputs['id']}")
    assert remote["env"] == {"MAX_MODEL_LEN": "4096", "HF_TOKEN": project.wish["token"], "OWN": "1"}
    assert outputs == {
        "id": outputs["id"],
        "url": f"{cloud.url}/v2/{outputs['id']}/openai/v1",
        "pools": ["ADA_24", "AMPERE_24"],
        "idle": 5,
    }

    await cloud.call("PATCH", f"/v2/serverless/{outputs['id']}", {"timeout": 1000})
    assert await project.preview() == {}
    refreshed = await project.run("refresh", "--yes", "--skip-preview", "--stack", "dev")
    assert refreshed.code == 0, refreshed.text
    assert await project.preview() == {"llm": "update"}
    assert (await project.up()).code == 0

    destroyed = await project.run("destroy", "--yes", "--skip-preview", "--stack", "dev")
    assert destroyed.code == 0, destroyed.text
    assert (await cloud.call("GET", "/v2/serverless"))["endpoints"] == []
    for secret in (project.wish["token"], project.wish["password"], KEY):
        assert secret not in project.state_text()
        assert not any(secret in output for output in project.outputs)


async def test_a_template_id_of_this_program_shows_the_change_too(project: Project) -> None:
    """`template_id=template.id` and `template=template` are the same."""
    created = await project.up(by="id")
    assert created.code == 0, created.text
    assert await project.preview(image="good:2") == {"worker": "update", "llm": "update"}
    assert await project.preview("--expect-no-changes", image="good:1", by="template") == {}


async def test_an_endpoint_that_never_serves_stays_in_the_state(project: Project, cloud: Cloud) -> None:
    """A crashing image fails `up` with the log's last lines; the next `up` repairs the same endpoint."""
    failed = await project.up(image="crash:1", workers=3)  # three crashes at once: no wait for the pauses between them
    assert failed.code != 0
    assert "workers crash again and again" in failed.text
    assert "no kernel image for this GPU" in failed.text
    assert len((await cloud.call("GET", "/v2/serverless"))["endpoints"]) == 1
    repaired = await project.up(image="good:1", workers=0)
    assert repaired.code == 0, repaired.text
    assert len((await cloud.call("GET", "/v2/serverless"))["endpoints"]) == 1
    assert await project.preview("--expect-no-changes") == {}


async def test_preview_needs_no_key(project: Project) -> None:
    """The whole plan without a key; a real run says what is missing. A key in the stack is never in clear."""
    project.forget_key()
    assert set((await project.preview()).values()) == {"create"}
    failed = await project.up()
    assert failed.code != 0
    assert "there is no RunPod API key; set RUNPOD_API_KEY" in failed.text
    assert (await project.run("config", "set", "--secret", "runpod:apiKey", KEY, "--stack", "dev")).code == 0
    created = await project.up()
    assert created.code == 0, created.text
    assert KEY not in project.state_text()
    assert KEY not in "".join(project.outputs)


@pytest.mark.parametrize("project", [pytest.param("cli", marks=[pytest.mark.pulumi_cli, NO_CLI])], indirect=True)
async def test_an_existing_volume_is_imported(project: Project, cloud: Cloud) -> None:
    """By id alone; the generated program and the next preview agree with it. A missing id is said to be missing."""
    made = await cloud.call("POST", "/v2/network-volumes", {"name": "old", "size": 30, "dataCenter": "EU-RO-1"})
    arguments = ("--yes", "--skip-preview", "--stack", "dev", "--protect=false")
    imported = await project.run("import", "runpod:index:NetworkVolume", "old", made["id"], *arguments)
    assert imported.code == 0, imported.text
    assert "size=30" in imported.text
    assert 'data_center="EU-RO-1"' in imported.text
    assert "type=runpod.NetworkVolumeType.STANDARD" in imported.text  # so the SDK has to have that name
    assert made["type"] == runpod.NetworkVolumeType.STANDARD
    missing = await project.run("import", "runpod:index:NetworkVolume", "none", "nope", *arguments)
    assert missing.code != 0
    assert "does not exist" in missing.text


async def test_an_interrupt_keeps_what_was_made(project: Project, cloud: Cloud) -> None:
    """Ctrl-C during the wait ends it; the endpoint is in the state and the next `up` finishes."""
    step = cloud.ctx.fleet.step  # type: ignore[attr-defined]
    cloud.ctx.fleet.step = lambda: None  # type: ignore[attr-defined]  # no worker ever starts
    project.set()
    process = await project.start("up", "--yes", "--skip-preview", "--stack", "dev")
    async with asyncio.timeout(60):
        while not [path for verb, path, _ in cloud.calls if verb == "POST" and path.endswith("/run")]:
            await asyncio.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    output = (await asyncio.wait_for(process.communicate(), 30))[0].decode()
    assert process.returncode != 0
    assert "cancelled while waiting until it serves" in output
    cloud.ctx.fleet.step = step  # type: ignore[attr-defined]
    repaired = await project.up()
    assert repaired.code == 0, repaired.text
    assert len((await cloud.call("GET", "/v2/serverless"))["endpoints"]) == 1
