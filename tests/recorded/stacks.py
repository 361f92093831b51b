"""A recorded stack: put together in a folder, run by an engine, with the cloud's recorded answers behind it.

`tests/recorded/<version>/<stack>/` holds what a user of that release keeps: the stack's files, his own program where
he has one, and the state. `cloud.json` holds RunPod's answers to every question about the stack's resources.
"""

import asyncio
import json
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import web

from tests.pulumi_runpod.cloud import KEY

ROOT = Path(__file__).resolve().parents[2]
FOLDER = Path(__file__).resolve().parent
STACKS = ("deployment", "own")
STACK = "recorded"
PASSPHRASE = "a throw-away passphrase"
PROGRAM = "program.txt"
"""A recorded `__main__.py`: no module of this project, and never again changed by its formatter."""
CLOUD = "http://cloud.invalid"
"""Stands for the cloud's address in what is recorded; the real one has a port that changes."""


def secrets(source: Path) -> dict[str, str]:
    """Configuration keys that are set with `--secret`."""
    lines = (source / "secrets.txt").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines)


@dataclass(frozen=True)
class RecordedStack:
    """One stack in a folder of its own."""

    folder: Path
    project: str
    url: str

    async def run(self, *arguments: str, engine: str = "embedded") -> tuple[int, str, str]:
        """Exit code, standard output and standard error of an engine's command."""
        command = [sys.executable, "-m", "pulumi_embedded"] if engine == "embedded" else ["pulumi"]
        env = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder / "home"),
            "PULUMI_CONFIG_PASSPHRASE": PASSPHRASE,
            "PULUMI_SKIP_UPDATE_CHECK": "true",
            "RUNPOD_API_KEY": KEY,
        }
        process = await asyncio.create_subprocess_exec(
            *command, "--non-interactive", "--color", "never", *arguments, "--stack", STACK, cwd=self.folder, env=env,
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        stdout, stderr = await process.communicate()
        return process.returncode or 0, stdout.decode(), stderr.decode()


def lay_out(kind: str, source: Path, folder: Path, url: str) -> RecordedStack:
    """The recorded files with today's packages, components and provider; for `deployment` today's program too."""
    folder.mkdir(parents=True)
    for path in source.iterdir():
        if path.suffix in (".yaml", ".py", ".lock") or path.name == PROGRAM:
            name = "__main__.py" if path.name == PROGRAM else path.name
            (folder / name).write_text(path.read_text().replace(CLOUD, url))
    (folder / ".venv").symlink_to(Path(sys.prefix))
    if kind == "own":
        (folder / "vllm_runpod_components").symlink_to(ROOT / "infra/components")
        return RecordedStack(folder, "own", url)
    shutil.copy(ROOT / "Pulumi.yaml", folder)
    shutil.copytree(ROOT / "infra", folder / "infra", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "src").symlink_to(ROOT / "src")
    (folder / ".local/envs").mkdir(parents=True)
    (folder / ".local/envs/plugin").symlink_to(ROOT / ".local/envs/plugin")
    return RecordedStack(folder, "vllm-runpod", url)


def put_state(stack: RecordedStack, export: str) -> None:
    """The export as the checkpoint of a file backend, where both engines find it."""
    backend = stack.folder / ("state" if stack.project == "own" else ".local/pulumi") / ".pulumi"
    checkpoint = backend / "stacks" / stack.project / f"{STACK}.json"
    checkpoint.parent.mkdir(parents=True)
    (backend / "meta.yaml").write_text("version: 1\n")
    latest = json.loads(export.replace(CLOUD, stack.url))["deployment"]
    name = f"organization/{stack.project}/{STACK}"
    checkpoint.write_text(json.dumps({"version": 3, "checkpoint": {"stack": name, "latest": latest}}))


class RecordedCloud:
    """Answers GET as it was answered when the stack was recorded. Anything else is an error, and is noted."""

    def __init__(self, answers: dict[str, Any]) -> None:
        self.answers = answers
        self.unexpected: list[str] = []
        self.url = ""

    async def answer(self, request: web.Request) -> web.Response:
        found = self.answers.get(request.path)
        if request.method != "GET" or found is None:
            self.unexpected.append(f"{request.method} {request.path}")
            return web.json_response({"title": "Not recorded", "status": 404}, status=404)
        return web.Response(text=json.dumps(found).replace(CLOUD, self.url), content_type="application/json")

    async def start(self) -> web.AppRunner:
        """Listen on a free port of loopback. The caller cleans the runner up."""
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self.answer)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        return runner
