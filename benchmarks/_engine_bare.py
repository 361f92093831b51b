"""Runs a Pulumi program with no engine at all: under the SDK's own mocks, which answer every registration at once.

It stands alone, and is started as `python _engine_bare.py <program> preview|up`. What this takes is what the program
and the SDK take by themselves; the pool of threads is as large as under the engines.
"""

import asyncio
import runpy
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pulumi
import pulumi.runtime
import pulumi.runtime.mocks

PARALLEL = 16


class Answers(pulumi.runtime.mocks.Mocks):
    """What the benchmark's plugin would answer."""

    def new_resource(self, args: pulumi.runtime.MockResourceArgs) -> tuple[str, dict[Any, Any]]:
        return f"id-{args.name}", {**args.inputs, "url": f"bench://id-{args.name}"}

    def call(self, args: pulumi.runtime.MockCallArgs) -> tuple[dict[Any, Any], list[tuple[str, str]] | None]:
        raise AssertionError(f"the benchmark's program calls no function, and asked for {args.token}")


def main(program: str, command: str) -> None:
    """Run it to its end."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    loop.set_default_executor(ThreadPoolExecutor(max_workers=PARALLEL * 4))
    pulumi.runtime.set_mocks(Answers(), project="bench", stack="dev", preview=command == "preview")

    async def run() -> None:
        runpy.run_path(program, run_name="__main__")

    loop.run_until_complete(pulumi.runtime.stack.run_pulumi_func(run))
    root = pulumi.runtime.get_root_resource()
    assert root is not None
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
