"""A stack of many idle resources on an emulator of its own, driven by the embedded engine."""

import json
import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks._faults_cloud import Cloud
from benchmarks._faults_process import die_with
from benchmarks._faults_program import ENVIRONMENT, PLUGIN, ROOT
from benchmarks._faults_story import IMAGES

_PROGRAM = """
import json
import sys
from pathlib import Path

sys.path.insert(0, SOURCE)

import pulumi_runpod as runpod

wish = json.loads(Path(__file__).with_name("wish.json").read_text())
templates = [runpod.Template(f"template-{n}", image=wish["image"]) for n in range(wish["templates"])]
for n in range(wish["volumes"]):
    runpod.NetworkVolume(f"volume-{n}", size=10 + n, data_center="EU-RO-1")
for n in range(wish["endpoints"]):
    content = {"template": templates[n]} if wish["use_templates"] else {"image": wish["image"]}
    runpod.Endpoint(
        f"endpoint-{n}",
        type="QUEUE",
        gpu={"pools": ["ADA_24"]},
        workers={"min": 0, "max": 0},
        scaling={"type": "QUEUE_DELAY", "queue_delay": 4.0},
        wait_for_ready=False,
        **content,
    )
"""


class StackFailure(Exception):
    """The engine did not do what the benchmark asked for."""


@dataclass(frozen=True)
class Calls:
    """What RunPod was asked during one run of the engine."""

    seconds: float
    lists: int
    gets: int
    """Of single items, by id."""
    creates: int
    all: int
    waits: int
    """Lines on which the engine told that it waits for the rate limit."""


class Stack:
    """One project in `folder`. Close it; the emulator ends with it."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder / "project"
        self._folder.mkdir()
        (self._folder / "state").mkdir()
        (self._folder / "__main__.py").write_text(_PROGRAM.replace("SOURCE", repr(str(ROOT / "src"))))
        (self._folder / "Pulumi.yaml").write_text(
            "name: refresh\n"
            f"runtime: {{name: python, options: {{toolchain: pip, virtualenv: {ENVIRONMENT}}}}}\n"
            f"plugins: {{providers: [{{name: runpod, path: {PLUGIN}}}]}}\n"
        )
        self.cloud = Cloud(folder)
        self._env = {
            "PATH": os.environ["PATH"],
            "HOME": str(self._folder),
            "NO_COLOR": "1",
            "GRPC_VERBOSITY": "NONE",
            "PULUMI_BACKEND_URL": f"file://{self._folder}/state",
            "PULUMI_CONFIG_PASSPHRASE": "of the benchmark",
            "PYTHONPATH": str(ROOT / "src"),
            "RUNPOD_API_KEY": self.cloud.key,
        }
        try:
            self.run("stack", "init", "dev")
        except BaseException:
            self.close()
            raise
        config = f"config:\n  runpod:apiUrl: {self.cloud.url}\n  runpod:jobsUrl: {self.cloud.url}/v2\n"
        with (self._folder / "Pulumi.dev.yaml").open("a") as file:
            file.write(config)

    def declare(self, *, endpoints: int, templates: int = 0, volumes: int = 0, use_templates: bool = False) -> None:
        """What the program says from now on."""
        wish = {"endpoints": endpoints, "templates": templates, "volumes": volumes, "use_templates": use_templates}
        (self._folder / "wish.json").write_text(json.dumps({**wish, "image": IMAGES[0]}))

    def counted(self, *arguments: str) -> Calls:
        """Run the engine; return what it cost. StackFailure where it fails."""
        self.cloud.call("DELETE", "/_emulator/requests")
        began = time.monotonic()
        output = self.run(*arguments, "--yes", "--skip-preview", "--stack", "dev")
        seconds = time.monotonic() - began
        counted: dict[str, int] = self.cloud.call("GET", "/_emulator/requests")
        return Calls(
            seconds=seconds,
            lists=sum(n for route, n in counted.items() if re.fullmatch(_LIST, route)),
            gets=sum(n for route, n in counted.items() if re.fullmatch(_ONE, route)),
            creates=sum(n for route, n in counted.items() if route.startswith("POST /v2/")),
            all=sum(counted.values()),
            waits=output.count("for RunPod's rate limit"),
        )

    def run(self, *arguments: str) -> str:
        """One command of the engine; its output."""
        process = subprocess.run(
            [sys.executable, "-m", "pulumi_embedded", *arguments], cwd=self._folder, env=self._env, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            preexec_fn=die_with(os.getpid()),
        )  # fmt: skip
        if process.returncode:
            raise StackFailure(f"`{' '.join(arguments)}` ended with {process.returncode}:\n{process.stdout[-4000:]}")
        return process.stdout

    def close(self) -> None:
        self.cloud.close()


_KINDS = "(serverless|templates|network-volumes|registries)"
_LIST = f"GET /v2/{_KINDS}"
_ONE = f"GET /v2/{_KINDS}/[^/]+"
