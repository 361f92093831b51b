"""Times of one size of model: ours in rounds with their limits, beside a disk, the other packers, and the pull."""

import os
import shutil
import statistics
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import _bake_limit
from benchmarks._bake_ground import (
    GIB,
    MIB,
    Bakery,
    GroundError,
    place,
    running_registry,
    say,
    size_of,
    write_model,
)
from benchmarks._bake_hub import REPOSITORY
from benchmarks._bake_peers import PEERS, Peer, running_hub, time_peer
from benchmarks._bake_pull import push_single_gzip, time_pull

_SAMPLE = 512 * MIB
_MANY_TIMES = 3.0


@dataclass
class SizeFigures:
    """What was measured at one size."""

    size: int
    ours: list[float] = field(default_factory=list)
    """Seconds of each round."""
    limits: list[float] = field(default_factory=list)
    """The least that each round could have taken."""
    cpu: list[float] = field(default_factory=list)
    """CPU time of each round, the registry's included, by the least that it could have taken."""
    peak_rss: int = 0
    written: int = 0
    disk_ours: float = 0.0
    disk_limit: float = 0.0
    from_hub: float = 0.0
    peers: dict[str, float] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    pull_ours: float = 0.0
    pull_single: float = 0.0
    pulled_to: str = ""
    rates: str = ""

    @property
    def gib(self) -> str:
        """The size as the table shows it."""
        return f"{self.size / GIB:.3g} GiB"

    @property
    def median(self) -> float:
        """Our seconds."""
        return statistics.median(self.ours)

    def ours_for(self, name: str) -> float:
        """Our seconds from the kind of source that a peer starts from."""
        return self.from_hub if any(peer.name == name and peer.from_hub for peer in PEERS) else self.median

    def against(self, name: str) -> float | None:
        """A peer's seconds by ours; None where it did not run."""
        return self.peers[name] / self.ours_for(name) if name in self.peers else None


def one_size(size: int, fast: Path, slow: Path, rounds: int, *, peers: bool) -> SizeFigures:
    """Measure one size; `fast` is a folder on tmpfs, `slow` one on a disk. The model is gone afterwards."""
    figures = SizeFigures(size)
    say(f"{figures.gib}: writing the model")
    folder = fast / "source"
    try:
        model = write_model(folder / "model", size)
        shard = min(model.glob("*.safetensors"))
        sample = min(_SAMPLE, size)
        for number in range(1, rounds + 1):
            rates = _bake_limit.measure(shard, fast, sample)
            bakery = Bakery(slow / f"home-{size}-{number}")
            with running_registry(fast) as registry:
                before = registry.cpu()
                cost = bakery.bake(model, f"{registry.host}/ours:v1")
                registry_cpu = registry.cpu() - before
            figures.limits.append(rates.limit(size_of(model)))
            figures.cpu.append((cost.cpu + registry_cpu) / rates.limit_cpu(size_of(model)))
            figures.ours.append(cost.seconds)
            figures.peak_rss = max(figures.peak_rss, cost.peak_rss)
            figures.written = max(figures.written, cost.written)
            figures.rates = f"sha256 {rates.sha256 / 1e9:.2f}, copy {rates.copy / 1e9:.2f} GB/s"
            say(
                f"{figures.gib}, round {number}: {cost.seconds:.2f} s, limit {figures.limits[-1]:.2f} s"
                f" ({figures.rates}); CPU {cost.cpu:.2f} + {registry_cpu:.2f} s, limit"
                f" {rates.limit_cpu(size_of(model)):.2f} s; load {os.getloadavg()[0]:.1f}"
            )
        _disk_run(figures, model, slow, rates, sample)
        if peers:
            _peers(figures, model, fast, slow, rounds)
        _pulls(figures, model, fast, slow, rounds)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return figures


def _disk_run(figures: SizeFigures, model: Path, slow: Path, rates: _bake_limit.Rates, sample: int) -> None:
    """The same bake into a registry on a disk, whose write speed counts into its limit; right after the last round."""
    disk = _bake_limit.disk_rate(slow, sample)
    with running_registry(slow) as registry:
        figures.disk_ours = Bakery(slow / f"home-disk-{figures.size}").bake(model, f"{registry.host}/ours:v1").seconds
    figures.disk_limit = rates.limit(size_of(model), disk)
    say(
        f"{figures.gib} to a disk: {figures.disk_ours:.2f} s, limit {figures.disk_limit:.2f} s"
        f" (disk {disk / 1e9:.2f} GB/s)"
    )


def _peers(figures: SizeFigures, model: Path, fast: Path, slow: Path, rounds: int) -> None:
    """Every other packer; and ours from the Hub, for the one that starts there."""
    bakery = Bakery(slow / f"home-peers-{figures.size}")
    with running_hub(model) as hub:

        def ours() -> float:
            with running_registry(fast) as registry:
                return bakery.bake(REPOSITORY, f"{registry.host}/ours:v1", hub=hub).seconds

        figures.from_hub = statistics.median(ours() for _ in range(rounds))
        say(f"{figures.gib} from a Hub: {figures.from_hub:.2f} s")
        for peer in PEERS:
            try:
                own = figures.ours_for(peer.name)
                figures.peers[peer.name] = _best(peer, model, fast, slow, bakery, hub, rounds, own)
            except GroundError as error:
                figures.missing[peer.name] = str(error)
                say(f"{figures.gib}: {peer.name} does not run: {error}")
            else:
                say(f"{figures.gib}: {peer.name} {figures.peers[peer.name]:.2f} s, load {os.getloadavg()[0]:.1f}")


def _best(peer: Peer, model: Path, fast: Path, slow: Path, bakery: Bakery, hub: str, rounds: int, ours: float) -> float:
    best = time_peer(peer, model, fast, slow, bakery, hub)
    for _ in range(rounds - 1):
        if best > _MANY_TIMES * ours:
            break
        best = min(best, time_peer(peer, model, fast, slow, bakery, hub))
    return best


def _pulls(figures: SizeFigures, model: Path, fast: Path, slow: Path, rounds: int) -> None:
    """Pull and unpack ours, and one gzip layer, from a registry on tmpfs; the best of the rounds each."""
    bakery = Bakery(slow / f"home-pull-{figures.size}")
    # The registry's copy, the layers as they came and what is unpacked from them.
    where = place(fast, slow, 3 * figures.size)
    figures.pulled_to = "tmpfs" if where == fast else "a disk"

    def timed(push: Callable[[str, Path], object]) -> float:
        with running_registry(fast) as registry, tempfile.TemporaryDirectory(prefix="push-", dir=where) as folder:
            push(registry.host, Path(folder))
            seconds = []
            for _ in range(rounds):
                with tempfile.TemporaryDirectory(prefix="pull-", dir=where) as scratch:
                    seconds.append(time_pull(registry, "pulled:v1", model, Path(scratch), bakery))
            return min(seconds)

    figures.pull_ours = timed(lambda host, _: bakery.bake(model, f"{host}/pulled:v1"))
    figures.pull_single = timed(lambda host, folder: push_single_gzip(host, "pulled:v1", model, folder))
    say(
        f"{figures.gib}: pulled to {figures.pulled_to} in {figures.pull_ours:.2f} s,"
        f" as one gzip layer in {figures.pull_single:.2f} s"
    )
