"""A stack as the engine would hand it over, and the resources that a program registers."""

import asyncio
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pulumi
import yaml
from pulumi.runtime.stack import run_pulumi_func

ROOT = Path(__file__).resolve().parents[2]
DIGEST = "sha256:" + "0123456789abcdef" * 4
BASIC = {"image": "host.example/worker:v1", "model": "org/model", "gpuPools": "ADA_24"}
"""The least that a stack has to say."""


def config(**values: Any) -> dict[str, str]:
    """A configuration as Pulumi gives it: everything is text, lists and maps are JSON."""
    return {f"vllm-runpod:{key}": as_text(value) for key, value in values.items() if value is not None}


def as_text(value: Any) -> str:
    """One value of a stack file in the form that a program sees."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else json.dumps(value)


def stack_file(stack: str) -> dict[str, str]:
    """The committed configuration of a stack."""
    document = yaml.safe_load((ROOT / f"Pulumi.{stack}.yaml").read_text())
    return {key: as_text(value) for key, value in document["config"].items()}


class Recorder(pulumi.runtime.Mocks):
    """Keeps what is registered; outputs are the inputs, and what only the cloud knows."""

    def __init__(self) -> None:
        self.resources: dict[str, dict[str, Any]] = {}

    def new_resource(self, args: pulumi.runtime.MockResourceArgs) -> tuple[str | None, dict[Any, Any]]:
        self.resources[f"{args.typ}::{args.name}"] = dict(args.inputs)
        outputs = dict(args.inputs)
        if args.typ == "runpod:index:BakedImage":
            known = {"image": f"{args.inputs['to']}@{DIGEST}", "digest": DIGEST, "bakedAt": "", "bakeSeconds": 1.5}
            outputs |= known | {"bytesToSend": 7, "bytesReused": 3}
        if args.typ == "runpod:index:Endpoint":
            outputs["openaiBaseUrl"] = "http://cloud.example/v2/e1/openai/v1"
        return f"id-{args.name}", outputs

    def call(self, args: pulumi.runtime.MockCallArgs) -> tuple[dict[Any, Any], list[tuple[str, str]] | None]:
        raise AssertionError(f"nothing here asks the provider: {args.token}")

    def only(self, kind: str) -> dict[str, Any]:
        """The inputs of the one resource of this kind."""
        found = [inputs for key, inputs in self.resources.items() if key.startswith(f"{kind}::")]
        assert len(found) == 1, sorted(self.resources)
        return found[0]

    def kinds(self) -> list[str]:
        """The types registered, sorted."""
        return sorted(key.partition("::")[0] for key in self.resources)


async def run_mocked(body: Callable[[], Any], *, stack: str = "test", preview: bool = False) -> Recorder:
    """Run a program under Pulumi's mocks to its end and give back what it registered.

    The mocks make an event loop in each worker thread and leave it open; here the threads have loops that are closed.
    """
    loops: list[asyncio.AbstractEventLoop] = []

    def loop_of_thread() -> None:
        loops.append(asyncio.new_event_loop())
        asyncio.set_event_loop(loops[-1])

    recorder = Recorder()
    executor = ThreadPoolExecutor(8, initializer=loop_of_thread)
    asyncio.get_running_loop().set_default_executor(executor)
    try:
        pulumi.runtime.set_mocks(recorder, project="vllm-runpod", stack=stack, preview=preview)
        await run_pulumi_func(body)
    finally:
        executor.shutdown()
        for loop in loops:
            loop.close()
    return recorder


def lock_file(path: Path, target: str, **changes: Any) -> None:
    """A weights.lock with one entry, in the bakery's published form."""
    entry = {
        "kind": "hub", "model": "org/model", "revision": "a" * 40, "name": "model", "served_name": "org/model",
        "layer_rule": 1, "files": [], "layers": [], "image_digest": DIGEST, "base_digest": None,
    } | changes  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"version": 1, "images": {target: entry}}))
