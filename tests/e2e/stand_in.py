"""The whole main job in seconds: everything is real but vLLM and the weights.

`vllm-runpod up`, the bake, the image, the emulator, bubblewrap, the worker and RunPod's SDK are a user's. Instead
of .local/envs/vllm there is an environment whose server is tests/vllm_worker/fake_vllm.py, instead of the model a small
one. A prompt `weights` is answered with the digest of the weights that the server finds in its root.
"""

import hashlib
import json
import os
import shutil
import signal
import sysconfig
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import openai

from tests.e2e.support import ROOT, Clone, Process, is_alive, make_clone, processes_under, tree
from tests.vllm_worker.support import make_fake_environment
from tests.weight_bakery.support import write_model

MODEL = "HuggingFaceTB/SmolLM2-135M-Instruct"
WEIGHTS = "model.safetensors"
SERVER_PACKAGES = (
    "aiohttp", "aiohappyeyeballs", "aiosignal", "attr", "attrs", "frozenlist", "idna", "multidict", "propcache", "yarl",
    "typing_extensions.py",
)  # fmt: skip
"""What the fake server imports; a worker's root sees its own environment and nothing of the project's."""

SERVER = r"""
import asyncio, hashlib, sys
from pathlib import Path
from aiohttp import web
from vllm import fake_vllm

model = next(part.partition("=")[2] for part in sys.argv if part.startswith("--model="))
read = fake_vllm.prompt_of

def prompt_of(body):
    if read(body) != "weights":
        return read(body)
    return hashlib.sha256((Path(model) / "model.safetensors").read_bytes()).hexdigest()

async def stream(request, prompt, _with_usage):
    # A pause after each piece, so that pieces are not joined on their way to the reader.
    step = int(prompt.split()[1]) if prompt.startswith("cuts") else 50
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
    await response.prepare(request)
    whole = b"".join(fake_vllm.event(word + " ") for word in fake_vllm.TEXT.split()) + b"data: [DONE]\n\n"
    for start in range(0, len(whole), step):
        await response.write(whole[start : start + step])
        await asyncio.sleep(0.002)
    return response

fake_vllm.prompt_of = prompt_of
fake_vllm.stream = stream
fake_vllm.main()
"""

MISSING = next(
    (
        f"{name} is not there: make setup"
        for name in (".local/envs/plugin/bin/python", ".local/worker-deps/runpod")
        if not (ROOT / name).exists()
    ),
    "",
)
"""Why these tests cannot run here; empty when they can."""


class StandIn:
    """A deployed copy of the project, seen through its API."""

    def __init__(self, clone: Clone) -> None:
        self.clone = clone

    @property
    def model(self) -> Path:
        """The host's copy of the weights, which only the bake may read."""
        return self.clone.root / ".local/models/smollm2-135m-instruct"

    @property
    def weights(self) -> str:
        """What the answer to `weights` has to be."""
        return hashlib.sha256((self.model / WEIGHTS).read_bytes()).hexdigest()

    def api(self, method: str, path: str, body: Any = None) -> Any:
        """One call with the emulator's key."""
        request = urllib.request.Request(
            self.clone.url + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {self.clone.key}", "Content-Type": "application/json"},
        )
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=60) as answer:
            return json.loads(answer.read() or b"null")

    @property
    def endpoint(self) -> dict[str, Any]:
        """The one endpoint there is."""
        (found,) = self.api("GET", "/v2/serverless")["endpoints"]
        return dict(found)

    @property
    def openai_url(self) -> str:
        return f"{self.clone.url}/v2/{self.endpoint['id']}/openai/v1"

    def client(self) -> openai.OpenAI:
        """The official client on the endpoint's OpenAI route; the caller closes it."""
        return openai.OpenAI(base_url=self.openai_url, api_key=self.clone.key, max_retries=0, timeout=60)

    def ask(self, prompt: str) -> str:
        """One answer, not streamed."""
        with self.client() as client:
            answer = client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": prompt}])
        return str(answer.choices[0].message.content)

    def submit(self, prompt: str) -> str:
        """Queue a job; returns its id."""
        body = {"input": {"prompt": prompt, "sampling_params": {"max_tokens": 3}}}
        return str(self.api("POST", f"/v2/{self.endpoint['id']}/run", body)["id"])

    def status(self, job: str) -> str:
        return str(self.api("GET", f"/v2/{self.endpoint['id']}/status/{job}")["status"])

    def workers(self) -> list[dict[str, Any]]:
        """The endpoint's workers with the emulator's reasons."""
        found: list[dict[str, Any]] = self.api("GET", f"/_emulator/endpoints/{self.endpoint['id']}/workers")["workers"]
        return found

    def emulator(self) -> int:
        """Its process id."""
        return int(self.api("GET", "/_emulator/status")["pid"])

    def worker_processes(self) -> set[Process]:
        """Everything below the emulator: sandboxes, workers, servers and what those started."""
        return tree(self.emulator()) - tree(self.emulator(), below=False)

    def worker(self) -> Process:
        """The worker's own process: neither the supervisor and the sandbox around it, nor what it forked."""
        found = [process for process in self.worker_processes() if process.command[1:] == ("-m", "vllm_worker")]
        return min(found, key=lambda process: (process.started, process.pid))

    def kill_worker(self) -> None:
        """kill -9 of the worker's own process, and wait until all that belonged to it is gone."""
        before = self.worker_processes()
        os.kill(self.worker().pid, signal.SIGKILL)
        wait(lambda: not any(map(is_alive, before)), "the end of the killed worker's processes")


def wait(condition: Callable[[], bool], what: str, within_s: float = 30.0) -> None:
    """Look until it is so."""
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.05)


def make_stand_in(folder: Path) -> StandIn:
    """A copy of the project that `up` can deploy within seconds."""
    clone = make_clone(folder)
    environment = folder / ".local/envs/vllm"
    for path in (folder / ".local/envs", folder / ".local/models"):
        path.unlink(missing_ok=True)  # links to the clone's own
        path.mkdir(parents=True)
    (folder / ".local/envs/plugin").symlink_to(ROOT / ".local/envs/plugin")
    make_fake_environment(environment)
    site = next((environment / "lib").glob("python*/site-packages"))
    (site / "project.pth").unlink()
    source = Path(sysconfig.get_paths()["platlib"])
    for name in SERVER_PACKAGES:
        if (source / name).is_dir():
            shutil.copytree(source / name, site / name)
        else:
            shutil.copy(source / name, site / name)
    server = site / "vllm/entrypoints/openai/api_server.py"
    server.rename(site / "vllm/fake_vllm.py")
    server.write_text(SERVER)
    made = StandIn(clone)
    write_model(made.model, shards=1)
    return made


@contextmanager
def ended(clone: Clone, **env: str) -> Iterator[None]:
    """After the block `down` runs, and no process may be left."""
    try:
        yield
    finally:
        clone.run("down", "--yes", check=False, timeout=120, **env)
        left = processes_under(clone.root)
        for line in left:
            os.kill(int(line.split()[0]), signal.SIGKILL)
        assert not left


@contextmanager
def deployed(folder: Path) -> Iterator[StandIn]:
    """A deployed stand-in, ended after the block."""
    made = make_stand_in(folder)
    with ended(made.clone):
        made.clone.run("up", "--no-ask")
        yield made
