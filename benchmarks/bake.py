"""Baking beside every other packer, and beside the least time this machine can need.

Random models go from a folder on tmpfs into a real registry (distribution) whose storage is on tmpfs: by this
project's command, by `crane append`, `buildah bud` and push, a layout with `crane push` or `skopeo copy`, `oras` and
`oci-modelcar`. A tool that starts from a Hub is compared with this project baking from the same Hub. The limit is
worked out in `_bake_limit`, from rates measured directly before each of our runs; the ratio of a round is ours by its
own limit, and the figure is the median of the rounds.

Against the others, our median stands against the best of theirs; a tool that took more than three times our median
runs once. Where several sizes are asked for, each ratio is the worst of them.

Small models show the rest: what moves when little has changed, kill -9 at random moments, and damage in transit.
"""

import asyncio
import os
import shutil
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import click

from benchmarks import _bake_faults, _bake_limit, _bake_moves, _bake_pull
from benchmarks._bake_ground import GIB, MIB, ROOT, Bakery, GroundError, running_registry, say, size_of, write_model
from benchmarks._bake_hub import REPOSITORY
from benchmarks._bake_peers import PEERS, Peer, available, running_hub, time_peer
from benchmarks.report import Limit, Report

DEFAULT_SEED = 20_261_121
_SAMPLE = 512 * MIB
_MANY_TIMES = 3.0
_KILL_BYTES = 96 * MIB
_MOVE_BYTES = 64 * MIB
_ROOM = 3.5
"""Memory that a size needs, in sizes: the source, the registry's copy, and what a peer makes or a pull unpacks."""


@dataclass
class SizeFigures:
    """What was measured at one size."""

    size: int
    ours: list[float] = field(default_factory=list)
    limits: list[float] = field(default_factory=list)
    peak_rss: int = 0
    written: int = 0
    disk_ours: float | None = None
    disk_limit: float | None = None
    from_hub: float | None = None
    peers: dict[str, float] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    pull_ours: float | None = None
    pull_single: float | None = None
    rates: str = ""

    @property
    def gib(self) -> str:
        """The size as the table shows it."""
        return f"{self.size / GIB:.3g} GiB"

    @property
    def median(self) -> float:
        """Our seconds."""
        return statistics.median(self.ours)

    def against(self, name: str) -> float | None:
        """A peer's seconds by ours from the same kind of source; None where it did not run."""
        if name not in self.peers:
            return None
        hub = any(peer.name == name and peer.from_hub for peer in PEERS)
        ours = self.from_hub if hub else self.median
        return None if ours is None else self.peers[name] / ours


@click.command()
@click.option("--sizes", default="2,8", show_default=True, metavar="GIB,...", help="Sizes of the models, in GiB.")
@click.option("--rounds", type=click.IntRange(min=1), default=3, show_default=True, help="How often ours is timed.")
@click.option("--peers/--no-peers", default=True, show_default=True, help="Time the other packers too.")
@click.option("--kills", type=click.IntRange(min=0), default=50, show_default=True, help="How many kill -9.")
@click.option("--faults", type=click.IntRange(min=0), default=1000, show_default=True, help="How many faults.")
@click.option("--seed", type=int, default=DEFAULT_SEED, show_default=True, help="Of kills and faults.")
@click.option(
    "--memory", type=click.Path(exists=True, file_okay=False, path_type=Path), default=Path("/dev/shm"),
    show_default=True, help="A tmpfs: sources and registries.",
)  # fmt: skip
@click.option(
    "--disk", type=click.Path(file_okay=False, path_type=Path), default=ROOT / ".local" / "bench" / "bake",
    help="A folder on a disk.  [default: .local/bench/bake]",
)  # fmt: skip
def main(sizes: str, rounds: int, peers: bool, kills: int, faults: int, seed: int, memory: Path, disk: Path) -> None:
    """Bake random models beside every other packer; count what moves, what kills cost, and what damage gets through."""
    try:
        wanted = [int(float(size) * GIB) for size in sizes.split(",")]
    except ValueError as error:
        raise click.BadParameter(f"{sizes!r} is not a list of numbers", param_hint="--sizes") from error
    report = Report("bake")
    with _folders(memory, disk) as (fast, slow):
        try:
            figures = [_one_size(size, fast, slow, rounds, peers) for size in wanted if _fits(size)]
            say("what moves when little has changed")
            with running_registry(fast) as registry:
                bakery = Bakery(slow / "home-moves")
                moved = asyncio.run(_bake_moves.moves(registry, bakery, fast, min(_MOVE_BYTES, *wanted)))
            killed = _killed(fast, slow, min(_KILL_BYTES, 4 * min(wanted)), kills, seed)
            say(f"{faults} faults")
            with running_registry(fast) as registry:
                outcome = _bake_faults.run(registry, Bakery(slow / "home-faults"), fast, faults, seed)
        except GroundError as error:
            raise click.ClickException(str(error)) from error
    _report_times(report, wanted, figures, peers)
    _report_moves(report, moved)
    _report_kills(report, killed, kills)
    _report_faults(report, outcome, faults)
    _report_pull(report, figures)
    sys.exit(report.close())


@contextmanager
def _folders(memory: Path, disk: Path) -> Iterator[tuple[Path, Path]]:
    """A folder on tmpfs and one on a disk; both go at the end."""
    disk.mkdir(parents=True, exist_ok=True)
    fast = Path(tempfile.mkdtemp(prefix="bench-bake-", dir=memory))
    slow = Path(tempfile.mkdtemp(prefix="run-", dir=disk))
    try:
        yield fast, slow
    finally:
        shutil.rmtree(fast, ignore_errors=True)
        shutil.rmtree(slow, ignore_errors=True)


def _fits(size: int) -> bool:
    if _ROOM * size < available():
        return True
    say(f"{size / GIB:.3g} GiB is left out: it needs {_ROOM * size / GIB:.0f} GiB of free memory")
    return False


def _one_size(size: int, fast: Path, slow: Path, rounds: int, peers: bool) -> SizeFigures:
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
                cost = bakery.bake(model, f"{registry.host}/ours:v1")
            figures.limits.append(rates.limit(size_of(model)))
            figures.ours.append(cost.seconds)
            figures.peak_rss = max(figures.peak_rss, cost.peak_rss)
            figures.written = max(figures.written, cost.written)
            figures.rates = f"sha256 {rates.sha256 / 1e9:.2f}, copy {rates.copy / 1e9:.2f} GB/s"
            say(
                f"{figures.gib}, round {number}: {cost.seconds:.2f} s, limit {figures.limits[-1]:.2f} s"
                f" ({figures.rates}), load {os.getloadavg()[0]:.1f}"
            )
        _disk_run(figures, model, shard, fast, slow, sample)
        if peers:
            _peers(figures, model, fast, slow, rounds)
        _pulls(figures, model, fast, slow)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return figures


def _disk_run(figures: SizeFigures, model: Path, shard: Path, fast: Path, slow: Path, sample: int) -> None:
    """The same bake into a registry on a disk, whose write speed counts into its limit."""
    rates = _bake_limit.measure(shard, fast, sample)
    disk = _bake_limit.disk_rate(slow, sample)
    with running_registry(slow) as registry:
        figures.disk_ours = Bakery(slow / "home-disk").bake(model, f"{registry.host}/ours:v1").seconds
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
            own = figures.from_hub if peer.from_hub else figures.median
            try:
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


def _pulls(figures: SizeFigures, model: Path, fast: Path, slow: Path) -> None:
    """Pull and unpack ours, and one gzip layer; both from a registry on tmpfs to tmpfs."""
    bakery = Bakery(slow / f"home-pull-{figures.size}")

    def timed(push: Callable[[], object]) -> float:
        push()
        scratch = Path(tempfile.mkdtemp(prefix="pull-", dir=fast))
        try:
            return _bake_pull.time_pull(registry, "pulled:v1", model, scratch, bakery)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    with running_registry(fast) as registry:
        figures.pull_ours = timed(lambda: bakery.bake(model, f"{registry.host}/pulled:v1"))
    with running_registry(fast) as registry:
        figures.pull_single = timed(lambda: _bake_pull.push_single_gzip(registry, "pulled:v1", model, fast))
    say(f"{figures.gib}: pulled in {figures.pull_ours:.2f} s, as one gzip layer in {figures.pull_single:.2f} s")


def _killed(fast: Path, slow: Path, total: int, kills: int, seed: int) -> _bake_moves.Kills:
    say(f"{kills} kills")
    with running_registry(fast) as registry:
        bakery = Bakery(slow / "home-kills")
        return asyncio.run(_bake_moves.kills(registry, bakery, fast, total, kills, seed))


def _report_times(report: Report, wanted: list[int], figures: list[SizeFigures], peers: bool) -> None:
    left = [f"{size / GIB:.3g} GiB" for size in wanted if size not in [item.size for item in figures]]
    without = f"; left out for want of memory: {', '.join(left)}" if left else ""
    ours = ", ".join(f"{item.gib} {item.median:.2f} s" for item in figures)
    for key, name, least in (("vs_buildah", "buildah bud + push", 5), ("vs_crane", "crane append", 3)):
        _report_peer(report, key, [name], Limit(min=least), figures, peers)
    others = [peer.name for peer in PEERS if peer.name not in ("buildah bud + push", "crane append")]
    _report_peer(report, "vs_best_other", others, Limit(min=1), figures, peers)
    for peer in PEERS:
        if peer.name in others:
            key = "vs_" + peer.name.replace("layout + ", "layout_").split()[0].replace("-", "_")
            _report_peer(report, key, [peer.name], None, figures, peers)
    if not figures:
        for key, limit in (("vs_limit", Limit(max=1.6)), ("peak_rss_mib", Limit(max=256))):
            report.not_measured(key, f"not enough memory{without}", limit)
        report.not_measured("weight_bytes_on_disk", f"not enough memory{without}", Limit(equals=0))
        return
    ratios = [
        (statistics.median(own / least for own, least in zip(item.ours, item.limits, strict=True)), item)
        for item in figures
    ]
    worst, at = max(ratios, key=lambda pair: pair[0])
    each = ", ".join(f"{item.gib} {ratio:.2f}" for ratio, item in ratios)
    report.measured("vs_limit", worst, Limit(max=1.6), f"{each}; ours {ours}; last rates: {at.rates}{without}")
    on_disk = [(item.disk_ours / item.disk_limit, item) for item in figures if item.disk_ours and item.disk_limit]
    said = ", ".join(f"{item.gib} {item.disk_ours:.2f} s of {item.disk_limit:.2f} s" for _, item in on_disk)
    report.measured("vs_limit_disk", max(ratio for ratio, _ in on_disk), Limit(max=1.6), f"registry on a disk: {said}")
    report.measured(
        "peak_rss_mib", round(max(item.peak_rss for item in figures) / MIB, 1), Limit(max=256), "of our process"
    )
    written = max(item.written for item in figures)
    # Lock and memory of digests are written too, some 100 KiB; weights come in pieces of 2 MiB.
    report.measured(
        "weight_bytes_on_disk", written - written % MIB, Limit(equals=0),
        f"whole MiB of the {written:,} bytes that our process made the kernel write (lock and digests)",
    )  # fmt: skip


def _report_peer(
    report: Report, key: str, names: list[str], limit: Limit | None, figures: list[SizeFigures], peers: bool
) -> None:
    ratios = [(ratio, name, item) for item in figures for name in names if (ratio := item.against(name)) is not None]
    reasons = [f"{name}: {item.missing[name]}" for item in figures for name in names if name in item.missing]
    if not ratios:
        reason = (reasons or ["not asked for" if not peers else "not enough memory"])[0]
        report.not_measured(key, reason, limit)
        return
    ratio, name, _ = min(ratios, key=lambda found: found[0])
    said = ", ".join(f"{item.gib} {item.peers[each]:.2f} s" for _, each, item in ratios) if len(names) == 1 else name
    report.measured(key, ratio, limit, "; ".join([said, *reasons]))


def _report_moves(report: Report, moved: _bake_moves.Moves) -> None:
    report.measured("rebake_bytes", moved.rebake, Limit(equals=0), "of layers; with and without memory and lock")
    report.measured("rebase_bytes", moved.rebase, Limit(equals=0), "of layers; new base in the same registry")
    report.measured("one_shard_fraction", moved.one_shard, Limit(max=0.13), "one changed shard of eight")


def _report_kills(report: Report, killed: _bake_moves.Kills, kills: int) -> None:
    report.measured("kills", killed.kills, Limit(equals=kills), "kill -9 at random moments, each started again")
    report.measured(
        "kill_resent_layers_max", killed.resent_most, Limit(max=_bake_moves.FLOWS),
        f"begun before and sent again, {killed.resent} in all; finished ones sent again:"
        f" {killed.resent_finished} of {killed.finished}",
    )  # fmt: skip
    report.measured("kill_wrong_digests", len(killed.wrong), Limit(equals=0), "; ".join(killed.wrong[:3]))


def _report_faults(report: Report, outcome: _bake_faults.Outcome, faults: int) -> None:
    fired = ", ".join(f"{name} {times}" for name, times in sorted(outcome.fired.items()))
    report.measured("faults", sum(outcome.fired.values()), Limit(equals=faults), fired)
    report.measured(
        "corrupt_pushed", len(outcome.corrupt), Limit(equals=0),
        "; ".join(outcome.corrupt[:3]) or f"{outcome.bakes} bakes: {outcome.whole} whole, {outcome.refused} refused",
    )  # fmt: skip


def _report_pull(report: Report, figures: list[SizeFigures]) -> None:
    ratios = [(item.pull_single / item.pull_ours, item) for item in figures if item.pull_single and item.pull_ours]
    if not ratios:
        report.not_measured("pull_vs_single_gzip", "not enough memory")
        return
    said = ", ".join(f"{item.gib} {item.pull_ours:.2f} s against {item.pull_single:.2f} s" for _, item in ratios)
    report.measured("pull_vs_single_gzip", min(ratio for ratio, _ in ratios), None, f"over loopback: {said}")


if __name__ == "__main__":
    main()
