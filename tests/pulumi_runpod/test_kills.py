"""kill -9 of a real engine between RunPod's answer and the state: the next `up` has exactly one.

Kills of the plugin, and of both at any other moment, are the business of `make bench BENCH=faults`.
"""

import asyncio
import os
import signal
from pathlib import Path

import pytest
from aiohttp import web

from tests.pulumi_runpod.cloud import KEY, Cloud
from tests.pulumi_runpod.project import CLI, PLUGIN_ENVIRONMENT, ROOT, Project

NO_CLI = pytest.mark.skipif(CLI is None, reason="needs the `pulumi` command on PATH")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not PLUGIN_ENVIRONMENT.exists(), reason="needs the plugin's environment (.local/envs/plugin)"),
]
VOLUMES = "/v2/network-volumes"
PROGRAM = f"""
import sys
sys.path.insert(0, {str(ROOT / "src")!r})
import pulumi_runpod as runpod
runpod.NetworkVolume("models", size=20, data_center="EU-RO-1")
"""


@pytest.fixture(params=["embedded", pytest.param("cli", marks=[pytest.mark.pulumi_cli, NO_CLI])])
async def project(request: pytest.FixtureRequest, cloud: Cloud, tmp_path: Path) -> Project:
    folder = tmp_path / "project"
    folder.mkdir()
    project = Project(folder, cloud.url, KEY, embedded=request.param == "embedded")
    (folder / "__main__.py").write_text(PROGRAM)
    await project.init()
    return project


def plugins_of(folder: Path) -> list[int]:
    """The plugin processes that work for this project: Pulumi starts them in its folder."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
            if (entry / "cwd").readlink() == folder and any(b"pulumi_runpod/provider" in word for word in words):
                found.append(int(entry.name))
        except OSError:
            continue  # it ended, or is somebody else's
    return found


async def test_a_kill_between_answer_and_state(project: Project, cloud: Cloud) -> None:
    """RunPod made it, and who asked is dead before the answer arrives; the plugin ends by itself."""
    arrived, held = asyncio.Event(), asyncio.Event()
    forward = cloud.forward

    async def hold(request: web.Request) -> web.StreamResponse:
        answer = await forward(request)
        if request.method == "POST" and request.path == VOLUMES and not arrived.is_set():
            arrived.set()
            await held.wait()
        return answer

    cloud.hold = hold
    project.set()
    process = await project.start("up", "--yes", "--skip-preview", "--stack", "dev")
    await asyncio.wait_for(arrived.wait(), 60)
    assert plugins_of(project.folder)
    os.kill(process.pid, signal.SIGKILL)
    await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode != 0
    held.set()
    async with asyncio.timeout(20):
        while plugins_of(project.folder):
            await asyncio.sleep(0.05)

    await project.run("cancel", "--yes", "--stack", "dev")
    repaired = await project.up()
    assert repaired.code == 0, repaired.text
    assert len((await cloud.call("GET", VOLUMES))["networkVolumes"]) == 1
    assert len(cloud.sent("POST", VOLUMES)) == 1
    # The CLI kills a plugin that is a folder; there the next run's Diff ends the note.
    assert await project.preview("--expect-no-changes") == {}
    assert not (project.folder / ".pulumi-runpod").exists()
