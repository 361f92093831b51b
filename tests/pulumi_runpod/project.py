"""A tiny Pulumi project in a temporary folder, driven by the real CLI or by the embedded engine."""

import asyncio
import json
import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
CLI = shutil.which("pulumi")
PLUGIN_ENVIRONMENT = ROOT / ".local" / "envs" / "plugin"
"""Has pip, which the CLI asks for the installed packages, and pulumi, which is all the SDK half imports."""
PASSPHRASE = "a passphrase of the tests"

PROGRAM = """
import json
import sys
from pathlib import Path

sys.path.insert(0, SOURCE)

import pulumi
import pulumi_runpod as runpod

wish = json.loads(Path(__file__).with_name("wish.json").read_text())
credential = runpod.RegistryCredential("reg", username="octocat", password=pulumi.Output.secret(wish["password"]))
template = runpod.Template(
    "worker",
    image=wish["image"],
    env={"MAX_MODEL_LEN": wish["max_model_len"], "HF_TOKEN": pulumi.Output.secret(wish["token"])},
    registry=credential.id,
)
volume = runpod.NetworkVolume("models", size=wish["size"], data_center="EU-RO-1")
endpoint = runpod.Endpoint(
    "llm",
    type="QUEUE",
    **({"template": template} if wish["by"] == "template" else {"template_id": template.id}),
    env={"OWN": "1"},
    gpu={"pools": ["ADA_24", "AMPERE_24"], "excluded_types": ["NVIDIA L4"]},
    workers=runpod.WorkersArgs(min=wish["workers"], max=max(1, wish["workers"]), idle_timeout=5),
    scaling={"type": "QUEUE_DELAY", "queue_delay": 0.5},
    network_volumes=[volume.id],
)
pulumi.export("id", endpoint.id)
pulumi.export("url", endpoint.openai_base_url)
pulumi.export("pools", endpoint.gpu.apply(lambda gpu: gpu.pools if gpu else None))
pulumi.export("idle", endpoint.workers.idle_timeout)
"""


@dataclass
class Outcome:
    code: int
    stdout: str
    stderr: str

    @property
    def text(self) -> str:
        return self.stdout + self.stderr

    @property
    def json(self) -> Any:
        return json.loads(self.stdout)


class Project:
    """One stack `dev` on a file backend of its own."""

    def __init__(
        self, folder: Path, api_url: str, key: str, *, embedded: bool, config: Mapping[str, str] | None = None
    ) -> None:
        self.folder = folder
        self._command = [sys.executable, "-m", "pulumi_embedded"] if embedded else [CLI or "pulumi"]
        self._flags = [] if embedded else ["--non-interactive"]
        self.steps: dict[str, Any] = {}
        self.outputs: list[str] = []
        self._env = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "PULUMI_HOME": str(folder / "home"),
            "PULUMI_BACKEND_URL": f"file://{folder}/state",
            "PULUMI_CONFIG_PASSPHRASE": PASSPHRASE,
            "PULUMI_SKIP_UPDATE_CHECK": "true",
            "RUNPOD_API_KEY": key,
            "NO_COLOR": "1",
        }
        self.wish: dict[str, Any] = {
            "image": "good:1",
            "max_model_len": "2048",
            "token": "hf_tokenOfTheTests1234",
            "password": "pass-word-of-the-tests",
            "size": 20,
            "by": "template",
            "workers": 0,
        }
        (folder / "state").mkdir()
        (folder / "__main__.py").write_text(PROGRAM.replace("SOURCE", repr(str(ROOT / "src"))))
        plugin = ROOT / "src" / "pulumi_runpod" / "provider"
        (folder / "Pulumi.yaml").write_text(
            "name: tiny\n"
            f"runtime: {{name: python, options: {{toolchain: pip, virtualenv: {PLUGIN_ENVIRONMENT}}}}}\n"
            f"plugins: {{providers: [{{name: runpod, path: {plugin}}}]}}\n"
        )
        values = {"runpod:apiUrl": api_url, "runpod:jobsUrl": f"{api_url}/v2", **(config or {})}
        self._config = "config:\n" + "".join(f"  {key}: {value}\n" for key, value in values.items())

    def set(self, **wish: Any) -> None:
        self.wish.update(wish)
        (self.folder / "wish.json").write_text(json.dumps(self.wish))

    async def run(self, *arguments: str, **wish: Any) -> Outcome:
        self.set(**wish)
        process = await asyncio.create_subprocess_exec(
            *self._command, *arguments, *self._flags, cwd=self.folder, env=self._env,
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        stdout, stderr = await process.communicate()
        outcome = Outcome(process.returncode or 0, stdout.decode(), stderr.decode())
        self.outputs.append(outcome.text)
        return outcome

    async def start(self, *arguments: str) -> asyncio.subprocess.Process:
        """A command that goes on while the test does something else. A group of its own, as in a terminal."""
        return await asyncio.create_subprocess_exec(
            *self._command, *arguments, *self._flags, cwd=self.folder, env=self._env, start_new_session=True,
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip

    def forget_key(self) -> None:
        """As on a machine without an account."""
        del self._env["RUNPOD_API_KEY"]

    async def init(self) -> None:
        assert (await self.run("stack", "init", "dev")).code == 0
        stack_file = self.folder / "Pulumi.dev.yaml"
        stack_file.write_text(stack_file.read_text() + self._config)

    async def up(self, **wish: Any) -> Outcome:
        return await self.run("up", "--yes", "--skip-preview", "--stack", "dev", **wish)

    async def preview(self, *more: str, **wish: Any) -> dict[str, str]:
        """Operation per resource name, unchanged ones left out."""
        outcome = await self.run("preview", "--json", "--stack", "dev", *more, **wish)
        assert outcome.code == 0, outcome.text
        steps = outcome.json["steps"]
        self.steps = {step["urn"].rsplit("::", 1)[-1]: step for step in steps}
        return {name: step["op"] for name, step in self.steps.items() if step["op"] != "same"}

    def state_text(self) -> str:
        """Everything that was ever written into the state folder."""
        files = (path for path in (self.folder / "state").rglob("*") if path.is_file())
        return "\n".join(path.read_text(errors="replace") for path in files)
