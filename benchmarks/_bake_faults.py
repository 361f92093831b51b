"""Damage in transit: bit flips, truncations and short reads between Hub, bakery, base and registry.

`python -m benchmarks._bake_faults <registry> <folder> <count> <seed>` runs bakes with the project's own library until
`count` faults were fired, and prints what came of them as one JSON line. What is right is known beforehand: an image
is a function of its source, so its digest is that of the bake over a sound line. After every bake the tag must show
that digest, or nothing.
"""

import asyncio
import contextlib
import hashlib
import itertools
import json
import random
import subprocess
import sys
import tarfile
from collections import Counter
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path

from benchmarks._bake_ground import ROOT, Bakery, GroundError, Registry, say, write_model
from benchmarks._bake_hub import REPOSITORY, Hub
from benchmarks._bake_moves import layers, manifest
from benchmarks._bake_wire import Faults, Proxy, Quota
from weight_bakery import BakeRequest, BakeryError, bake_async

_LANES = 24
_CHANCES = (0.1, 0.3, 0.6)
_MODEL_BYTES = 1_200_000
SOURCES = ("folder", "hub", "folder on a base")


@dataclass
class Outcome:
    """What came of bakes over a bad line."""

    fired: dict[str, int] = field(default_factory=dict)
    bakes: int = 0
    whole: int = 0
    """Bakes that succeeded all the same."""
    refused: int = 0
    """Bakes that ended with one line."""
    corrupt: list[str] = field(default_factory=list)
    """Tags that showed something else than the right image; and successes that left nothing."""


def bake_badly(registry: Registry, bakery: Bakery, folder: Path, count: int, seed: int) -> Outcome:
    """Fire `count` faults, in a process of its own; then compare what the registry keeps with the source."""
    model = write_model(folder / "faulted", _MODEL_BYTES, shards=4)
    command = [sys.executable, "-m", "benchmarks._bake_faults", registry.host, str(model), str(count), str(seed)]
    with _ended(command, bakery) as process:
        out, _ = process.communicate()
    if process.returncode:
        raise GroundError("the bakes over a bad line ended with an error")
    outcome = Outcome(**json.loads(out.splitlines()[-1]))
    for number, source in enumerate(SOURCES):
        outcome.corrupt += [f"{source}: {what}" for what in differences(registry, f"right-{number}:v1", model)]
    return outcome


@contextlib.contextmanager
def _ended(command: list[str], bakery: Bakery) -> "Iterator[subprocess.Popen[str]]":
    environment = {**bakery.environment(), "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"}
    process = subprocess.Popen(command, cwd=bakery.home, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def differences(registry: Registry, image: str, model: Path) -> list[str]:
    """Files that differ, byte for byte, between the layers the registry keeps and the model."""
    found: dict[str, str] = {}
    for digest in layers(registry.host, image):
        with registry.blob(digest).open("rb") as stream, tarfile.open(fileobj=stream) as archive:
            for member in archive:
                content = archive.extractfile(member)
                if content is not None:
                    found[Path(member.name).name] = hashlib.sha256(content.read()).hexdigest()
    wanted = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in model.iterdir()}
    return [name for name, digest in wanted.items() if found.get(name) != digest]


class _Lanes:
    """Bakes side by side until enough faults were fired."""

    def __init__(self, registry: str, model: Path, count: int, seed: int) -> None:
        self._registry = registry
        self._model = model
        self._quota = Quota(count)
        self._count = count
        self._random = random.Random(seed)
        self._numbers = itertools.count(1)
        self._right: dict[str, str] = {}
        self._fired: Counter[str] = Counter()
        self.outcome = Outcome()

    async def run(self) -> Outcome:
        """Bake over a sound line, to know what is right; then over bad ones."""
        base = {"model": str(self._model), "name": "base", "to": f"{self._registry}/base:v1", "attest": False}
        await bake_async(BakeRequest(**base))  # type: ignore[arg-type]
        async with Hub(self._model).running() as hub:
            for number, source in enumerate(SOURCES):
                request = self._request(source, f"{self._registry}/right-{number}:v1", self._registry, hub.origin)
                self._right[source] = (await bake_async(request)).digest
        async with asyncio.TaskGroup() as group:
            for _ in range(min(_LANES, self._count)):
                group.create_task(self._lane())
        self.outcome.fired = dict(self._fired)
        return self.outcome

    async def _lane(self) -> None:
        while self._quota.left:
            number = next(self._numbers)
            faults = Faults(self._random.randrange(1 << 30), self._random.choice(_CHANCES), self._quota)
            source = SOURCES[number % len(SOURCES)]
            said = await self._bake(f"faulted-{number}:v1", source, faults)
            found = await asyncio.to_thread(manifest, self._registry, f"faulted-{number}:v1")
            shown = found[0] if found else None
            if shown not in (None, self._right[source]) or (said is None and shown is None):
                self.outcome.corrupt.append(f"faulted-{number}: {shown or 'nothing'} under the tag")
            self.outcome.bakes += 1
            self.outcome.whole += said is None
            self.outcome.refused += said is not None
            before = self._fired.total()
            self._fired.update(faults.fired)
            if self._fired.total() // 100 > before // 100:
                say(f"{self._fired.total()} of {self._count} faults in {self.outcome.bakes} bakes")

    async def _bake(self, image: str, source: str, faults: Faults) -> str | None:
        """Bake over a bad line; what the bakery said when it gave up."""
        async with AsyncExitStack() as stack:
            proxy = await stack.enter_async_context(Proxy(self._registry, faults).running())
            base = await stack.enter_async_context(Proxy(self._registry, faults).running())
            hub = await stack.enter_async_context(Hub(self._model, faults).running())
            try:
                await bake_async(self._request(source, f"{proxy.host}/{image}", base.host, hub.origin))
            except BakeryError as error:
                return str(error)
        return None

    def _request(self, source: str, to: str, base: str, hub: str) -> BakeRequest:
        return BakeRequest(
            model=REPOSITORY if source == "hub" else str(self._model),
            to=to,
            name="model",
            base=f"{base}/base:v1" if source == "folder on a base" else None,
            hub_endpoint=hub if source == "hub" else None,
            attest=False,
        )


if __name__ == "__main__":
    lanes = _Lanes(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
    print(json.dumps(asdict(asyncio.run(lanes.run()))))
