"""A control plane as a process of its own: `python process_main.py STATE PORT`. For tests that kill it."""

import asyncio
import sys
from pathlib import Path

import click

from runpod_emulator import Config, control, serve
from runpod_emulator.context import Context
from runpod_emulator.store import Store
from tests.runpod_emulator.control import support

WORKER_WITH_A_LOG = "w1"


def _assemble(config: Config, store: Store) -> Context:
    ctx = support.assemble(config, store)
    ctx.host.logs(WORKER_WITH_A_LOG).append("system", "it was here once")
    return ctx


def main() -> None:
    config = Config(state_dir=Path(sys.argv[1]), port=int(sys.argv[2]), api_key=support.KEY)
    asyncio.run(
        serve(
            config,
            on_ready=lambda ctx: click.echo(ctx.base_url),
            assemble=_assemble,
            planes=[control.add_routes],
        )
    )


if __name__ == "__main__":
    main()
