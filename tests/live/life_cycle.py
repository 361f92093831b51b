"""One life cycle through engine, provider and API: create, no change, update, drift, refresh, repair, destroy.

The same steps run against the emulator on every test run and, on request, against a real account. No worker is ever
started (`workers.max` is 0), so the run costs nothing but seconds of a 10 GB volume.
"""

import asyncio
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runpod_rest import Client, NotFound

ROOT = Path(__file__).resolve().parents[2]

PROGRAM = """
import json
from pathlib import Path

import pulumi
import pulumi_runpod as runpod

wish = json.loads(Path(__file__).with_name("wish.json").read_text())
prefix = wish["prefix"]
credential = runpod.RegistryCredential(
    "registry", name=f"{prefix}-registry", username="nobody", password=pulumi.Output.secret(wish["password"])
)
volume = runpod.NetworkVolume("volume", name=f"{prefix}-volume", size=10, data_center=wish["data_center"])
template = runpod.Template("template", name=f"{prefix}-template", image=wish["image"], serverless=True)
endpoint = runpod.Endpoint(
    "endpoint",
    name=f"{prefix}-endpoint",
    type="QUEUE",
    template=template,
    gpu={"pools": ["ADA_24"]},
    workers={"min": 0, "max": 0, "idle_timeout": wish["idle_timeout"]},
    scaling={"type": "QUEUE_DELAY", "queue_delay": 4},
    wait_for_ready=False,
)
pulumi.export("endpointId", endpoint.id)
"""


@dataclass(frozen=True)
class Cloud:
    """Where the life cycle runs. Nothing outside `prefix` is ever touched."""

    api_url: str
    jobs_url: str
    key: str
    prefix: str
    data_center: str = "EU-RO-1"
    image: str = "runpod/worker-v1-vllm:v2.25.2"


class Project:
    """A throw-away Pulumi project that runs on `pulumi_embedded` with a file backend of its own."""

    def __init__(self, folder: Path, cloud: Cloud) -> None:
        self.folder = folder
        self.cloud = cloud
        self.wish: dict[str, Any] = {
            "prefix": cloud.prefix,
            "password": "a-password-of-the-life-cycle",
            "data_center": cloud.data_center,
            "image": cloud.image,
            "idle_timeout": 30,
        }
        (folder / "__main__.py").write_text(PROGRAM)
        (folder / "Pulumi.yaml").write_text(
            "name: life-cycle\nruntime:\n  name: python\n  options:\n    toolchain: pip\n"
            f"    virtualenv: {ROOT / '.venv'}\n"
            f"plugins:\n  providers:\n    - name: runpod\n      path: {ROOT / 'src/pulumi_runpod/provider'}\n"
        )
        (folder / "Pulumi.dev.yaml").write_text(
            f"config:\n  runpod:apiUrl: {cloud.api_url}\n  runpod:jobsUrl: {cloud.jobs_url}\n"
        )
        self.engine("stack", "init", "dev")

    def engine(self, *arguments: str, code: int = 0) -> str:
        """Run the embedded engine; the output of every run is checked for secrets."""
        (self.folder / "wish.json").write_text(json.dumps(self.wish))
        env = {name: value for name, value in os.environ.items() if not name.startswith(("PULUMI_", "RUNPOD_"))}
        env |= {
            "PULUMI_BACKEND_URL": f"file://{self.folder}",
            "PULUMI_CONFIG_PASSPHRASE": "of the life cycle",
            "RUNPOD_API_KEY": self.cloud.key,
        }
        done = subprocess.run(
            [sys.executable, "-m", "pulumi_embedded", "--cwd", str(self.folder), "--non-interactive", *arguments],
            env=env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=600,
        )
        text = done.stdout + done.stderr
        assert self.cloud.key not in text
        assert self.wish["password"] not in text
        assert done.returncode == code, text
        return done.stdout

    def summary(self) -> dict[str, int]:
        """Operations that a preview would do."""
        document = json.loads(self.engine("preview", "--stack", "dev", "--json"))
        return dict(document["changeSummary"])

    def up(self) -> None:
        self.engine("up", "--stack", "dev", "--yes", "--skip-preview")


async def _change_behind_our_back(cloud: Cloud) -> None:
    async with Client(cloud.key, cloud.api_url, cloud.jobs_url) as client:
        for endpoint in await client.endpoints.list():
            if endpoint["name"].startswith(cloud.prefix):
                await client.endpoints.update(endpoint["id"], {"workers": {"idleTimeout": 77}})


async def left_over(cloud: Cloud) -> list[str]:
    """Names with our prefix that are still there."""
    async with Client(cloud.key, cloud.api_url, cloud.jobs_url) as client:
        lists = (client.endpoints, client.templates, client.network_volumes, client.registries)
        found = [item["name"] for collection in lists for item in await collection.list()]
    return [name for name in found if name.startswith(cloud.prefix)]


async def tear_down(cloud: Cloud) -> None:
    """Delete whatever bears our prefix, endpoints first; the safety net under `destroy`."""
    async with Client(cloud.key, cloud.api_url, cloud.jobs_url) as client:
        for collection in (client.endpoints, client.templates, client.network_volumes, client.registries):
            for item in await collection.list():
                if item["name"].startswith(cloud.prefix):
                    try:
                        await collection.delete(item["id"])
                    except NotFound:
                        continue


def run_life_cycle(folder: Path, cloud: Cloud) -> None:
    """Walk the whole life cycle and assert each step."""
    project = Project(folder, cloud)
    try:
        assert project.summary() == {"create": 5}
        project.up()
        assert project.summary() == {"same": 5}

        project.wish["idle_timeout"] = 45
        assert project.summary() == {"same": 4, "update": 1}
        project.up()
        assert project.summary() == {"same": 5}

        asyncio.run(_change_behind_our_back(cloud))
        assert project.summary() == {"same": 5}, "a preview compares the program with the state"
        project.engine("refresh", "--stack", "dev", "--yes", "--skip-preview")
        assert project.summary() == {"same": 4, "update": 1}
        project.up()
        assert project.summary() == {"same": 5}

        state = (folder / ".pulumi/stacks/life-cycle/dev.json").read_text()
        assert cloud.key not in state
        assert project.wish["password"] not in state

        project.engine("destroy", "--stack", "dev", "--yes", "--skip-preview")
        assert asyncio.run(left_over(cloud)) == []
    finally:
        asyncio.run(tear_down(cloud))
