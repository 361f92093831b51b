"""An emulator in a process of its own, to be killed: `emulator_process.py <directory>`.

Its worker is played by the test: for each worker it starts, it prints the environment as one line of JSON.
"""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from runpod_emulator.model import ContainerSpec
from tests.runpod_emulator.jobs.support import endpoint, live
from tests.runpod_emulator.scaler.support import FakeHost


class SpeakingHost(FakeHost):
    async def start(self, spec: ContainerSpec) -> Any:
        say({"id": spec.worker_id, "env": dict(spec.env)})
        return await super().start(spec)


def say(value: Any) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


async def main(directory: Path) -> None:
    async with live(directory, endpoint(workers_min=1), host=SpeakingHost()):
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
