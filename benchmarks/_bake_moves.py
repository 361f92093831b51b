"""What moves when little has changed, and what kill -9 costs: counted at a proxy in front of a real registry."""

import asyncio
import hashlib
import json
import random
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field, replace
from pathlib import Path

from benchmarks._bake_ground import Bakery, GroundError, Registry, say, size_of, write_model, write_shard
from benchmarks._bake_wire import Proxy
from weight_bakery import BakeRequest, RebaseRequest, bake_async, rebase_async

FLOWS = 4
_ACCEPT = "application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json"


@dataclass(frozen=True)
class Moves:
    """Bytes of layers that a second bake sent."""

    rebake: int
    """The same model again: with everything remembered, and with nothing; the larger of the two."""
    rebase: int
    """`bake rebase` onto another base of the same registry."""
    one_shard: float
    """One changed shard of eight: all that was uploaded, by the size of the model."""


@dataclass
class Kills:
    """What came of killed bakes."""

    kills: int = 0
    late: int = 0
    """Drawn moments that came after the bake's end; each is drawn again."""
    resent_most: int = 0
    """Layers that a killed bake had begun and the next one sent again; the most of any kill."""
    resent: int = 0
    finished: int = 0
    """Layers that killed bakes had finished."""
    resent_finished: int = 0
    """How many of these were sent again; the kill may have come between a layer's end and its record."""
    wrong: list[str] = field(default_factory=list)
    """Tags that showed something else than the right image, or nothing after the restart."""


def manifest(host: str, image: str) -> tuple[str, dict[str, object]] | None:
    """Digest and content of what stands under a tag (`repository:tag`); None where nothing does."""
    repository, _, tag = image.rpartition(":")
    request = urllib.request.Request(f"http://{host}/v2/{repository}/manifests/{tag}", headers={"Accept": _ACCEPT})
    try:
        with urllib.request.urlopen(request) as answer:
            content = answer.read()
    except urllib.error.HTTPError as error:
        if error.code == 404:
            return None
        raise
    return f"sha256:{hashlib.sha256(content).hexdigest()}", json.loads(content)


def layers(host: str, image: str) -> set[str]:
    """Digests of an image's layers."""
    found = manifest(host, image)
    if found is None:
        raise GroundError(f"{image} is not in the registry")
    described = found[1]["layers"]
    assert isinstance(described, list)
    return {layer["digest"] for layer in described}


async def count_moves(registry: Registry, folder: Path, total: int) -> Moves:
    """Bake, bake again, rebase, and bake with one shard changed; by the library, in this process."""
    model = write_model(folder / "moved", total)
    for number in (1, 2):
        base = write_model(folder / f"base-{number}", total // 8, shards=2)
        await bake_async(BakeRequest(str(base), f"{registry.host}/base:v{number}", attest=False))
    lock, cache = folder / "weights.lock", folder / "digests.json"
    async with Proxy(registry.host).running() as proxy:
        image = f"{proxy.host}/moved:v1"
        request = BakeRequest(str(model), image, base=f"{proxy.host}/base:v1", lock=lock, cache=cache)

        async def sent(request: BakeRequest) -> int:
            """Bytes of layers that one bake sends."""
            proxy.uploads.clear()
            await bake_async(request)
            return proxy.sent(layers(registry.host, "moved:v1"))

        first = await sent(request)
        if first < total:
            raise GroundError(f"the proxy saw {first:,} of {total:,} bytes")
        again = max(await sent(request), await sent(replace(request, lock=None, cache=None)))
        say(f"baked again: {again:,} bytes of layers")
        proxy.uploads.clear()
        rebased = await rebase_async(RebaseRequest(image, f"{proxy.host}/base:v2", lock=lock))
        moved = proxy.sent(layers(registry.host, "moved:v1"))
        say(f"rebased: {moved:,} bytes of layers, {len(rebased.layers)} layers")
        shard = sorted(model.glob("*.safetensors"))[3]
        write_shard(shard, 4, total // 8, random.Random(4).randbytes(min(total // 8, 1 << 22)))
        await sent(replace(request, base=f"{proxy.host}/base:v2"))
        fraction = proxy.sent() / size_of(model)
        say(f"one shard of eight changed: {fraction:.4f} of the model uploaded")
    return Moves(again, moved, fraction)


async def kill_bakes(registry: Registry, bakery: Bakery, folder: Path, total: int, count: int, seed: int) -> Kills:
    """Kill a bake at a random moment and start it again, `count` times, each time with another repository."""
    model = write_model(folder / "killed", total, shards=12)
    chance = random.Random(seed)
    outcome = Kills()
    async with Proxy(registry.host).running() as proxy:
        started = time.monotonic()
        await asyncio.to_thread(bakery.bake, model, f"{proxy.host}/whole:v1", "--flows", str(FLOWS))
        whole_s, whole_bytes = time.monotonic() - started, proxy.sent()
        right = manifest(registry.host, "whole:v1")
        assert right is not None
        number = 0
        while outcome.kills < count:
            number += 1
            image, memory = f"killed-{number}:v1", bakery.home / f"killed-{number}"
            memory.mkdir()
            # Nine of ten moments are drawn by bytes, so that they fall where something moves; the others by time.
            by_bytes, moment = chance.random() < 0.9, chance.random()
            what = ("--model", model, "--to", f"{proxy.host}/{image}", "--flows", str(FLOWS))
            records = ("--lock", memory / "weights.lock", "--cache", memory / "digests.json")
            command = bakery.command(*what, *records)
            proxy.uploads.clear()
            if not await _killed(proxy, bakery, command, moment * whole_bytes if by_bytes else None, moment * whole_s):
                outcome.late += 1
                if outcome.late > count + 10:
                    raise GroundError("bakes end before they can be killed")
                continue
            outcome.kills += 1
            before = {item.head: item.digest for item in proxy.uploads.values() if item.named}
            standing = manifest(registry.host, image)
            if standing is not None and standing[0] != right[0]:
                outcome.wrong.append(f"{image} after the kill")
            proxy.uploads.clear()
            await asyncio.to_thread(bakery.bake, model, f"{proxy.host}/{image}", "--flows", str(FLOWS), memory=memory)
            again = {item.head for item in proxy.uploads.values() if item.named}
            resent = before.keys() & again
            finished = {head for head, digest in before.items() if digest is not None}
            outcome.resent += len(resent)
            outcome.resent_most = max(outcome.resent_most, len(resent))
            outcome.finished += len(finished)
            outcome.resent_finished += len(finished & again)
            standing = manifest(registry.host, image)
            if standing is None or standing[0] != right[0]:
                outcome.wrong.append(f"{image} after the restart")
            if outcome.kills % 10 == 0 or outcome.kills == count:
                say(f"{outcome.kills} of {count} kills, at most {outcome.resent_most} layers sent again")
    return outcome


async def _killed(proxy: Proxy, bakery: Bakery, command: list[str], after_bytes: float | None, after_s: float) -> bool:
    """Start a bake and kill -9 it after so many bytes, or so many seconds. False when it was over before."""
    process = await asyncio.create_subprocess_exec(
        *command, cwd=bakery.home, env=bakery.environment(),
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    passed = 0.0

    def kill(length: int) -> None:
        nonlocal passed
        passed += length
        if after_bytes is not None and passed >= after_bytes and process.returncode is None:
            process.kill()

    proxy.passed = kill
    try:
        await asyncio.wait_for(process.wait(), None if after_bytes is not None else after_s)
    except TimeoutError:
        process.kill()
        await process.wait()
    finally:
        proxy.passed = lambda _: None
    return process.returncode == -9
