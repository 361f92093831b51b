"""What the benchmark of baking says: its keys, their limits, and a word on each."""

import statistics

from benchmarks._bake_faults import Outcome
from benchmarks._bake_ground import GIB, MIB
from benchmarks._bake_moves import FLOWS, Kills, Moves
from benchmarks._bake_peers import PEERS
from benchmarks._bake_times import SizeFigures
from benchmarks.report import Limit, Report

NOTHING = Limit(equals=0)
_NOT_ASKED = "not asked for"
_OWN_LIMITS = {"buildah bud + push": ("vs_buildah", 5.0), "crane append": ("vs_crane", 3.0)}


def add_times(report: Report, wanted: list[int], figures: list[SizeFigures], *, peers: bool) -> None:
    """Ours against the others, against the limit, and what ours held and wrote."""
    left = [f"{size / GIB:.3g} GiB" for size in wanted if size not in [item.size for item in figures]]
    reason = f"too little free memory for {', '.join(left)}" if left else _NOT_ASKED
    others = []
    for peer in PEERS:
        key, least = _OWN_LIMITS.get(peer.name, (_key(peer.name), None))
        if least is None:
            others.append(peer.name)
        limit = None if least is None else Limit(min=least)
        _add_peer(report, key, [peer.name], limit, figures, reason if peers else _NOT_ASKED)
    _add_peer(report, "vs_best_other", others, Limit(min=1), figures, reason if peers else _NOT_ASKED)
    if not figures:
        for key, limit in (("vs_limit", Limit(max=1.6)), ("cpu_vs_limit", None), ("vs_limit_disk", Limit(max=1.6)),
                           ("peak_rss_mib", Limit(max=256)), ("weight_bytes_on_disk", NOTHING),
                           ("pull_vs_single_gzip", None)):  # fmt: skip
            report.not_measured(key, reason, limit)
        return
    ratios = [statistics.median(map(_by, item.ours, item.limits)) for item in figures]
    said = ", ".join(
        f"{item.gib} {ratio:.2f} ({item.median:.2f} s; {item.rates})"
        for item, ratio in zip(figures, ratios, strict=True)
    )
    if left:
        said += f"; {reason}"
    report.measured("vs_limit", max(ratios), Limit(max=1.6), said)
    cpu = max(statistics.median(item.cpu) for item in figures)
    report.measured("cpu_vs_limit", cpu, None, "CPU time of our process and the registry by the limit's")
    said = ", ".join(f"{item.gib} {item.disk_ours:.2f} s of {item.disk_limit:.2f} s" for item in figures)
    on_disk = max(_by(item.disk_ours, item.disk_limit) for item in figures)
    report.measured("vs_limit_disk", on_disk, Limit(max=1.6), f"registry on a disk: {said}")
    peak = max(item.peak_rss for item in figures) / MIB
    report.measured("peak_rss_mib", round(peak, 1), Limit(max=256), "of our process and its children")
    written = max(item.written for item in figures)
    # The lock and the memory of digests are written, about 100 KiB; weights come in pieces of 2 MiB.
    report.measured(
        "weight_bytes_on_disk", written - written % MIB, NOTHING,
        f"whole MiB of the {written:,} bytes that our process made the kernel write (lock, digests)",
    )  # fmt: skip
    said = ", ".join(
        f"{item.gib} {item.pull_ours:.2f} s against {item.pull_single:.2f} s, to {item.pulled_to}" for item in figures
    )
    pulled = min(_by(item.pull_single, item.pull_ours) for item in figures)
    report.measured("pull_vs_single_gzip", pulled, None, f"over loopback: {said}")


def _by(one: float, other: float) -> float:
    return one / other


def _key(name: str) -> str:
    return "vs_" + name.replace("layout + ", "layout_").split()[0].replace("-", "_")


def _add_peer(
    report: Report, key: str, names: list[str], limit: Limit | None, figures: list[SizeFigures], reason: str
) -> None:
    ratios = [(ratio, name, item) for item in figures for name in names if (ratio := item.against(name)) is not None]
    reasons = sorted({f"{name}: {item.missing[name]}" for item in figures for name in names if name in item.missing})
    if not ratios:
        report.not_measured(key, "; ".join(reasons) or reason, limit)
        return
    ratio, best, _ = min(ratios, key=lambda found: found[0])
    if len(names) > 1:
        report.measured(key, ratio, limit, best)
        return
    said = ", ".join(
        f"{item.gib} {item.peers[name]:.2f} s against {item.ours_for(name):.2f} s" for _, name, item in ratios
    )
    report.measured(key, ratio, limit, "; ".join([said, *reasons]))


def add_moves(report: Report, moved: Moves | None) -> None:
    """Bytes that a second bake sends."""
    limits = {"rebake_bytes": NOTHING, "rebase_bytes": NOTHING, "one_shard_fraction": Limit(max=0.13)}
    if moved is None:
        for key, limit in limits.items():
            report.not_measured(key, _NOT_ASKED, limit)
        return
    report.measured("rebake_bytes", moved.rebake, NOTHING, "of layers; with memory and lock, and without")
    report.measured("rebase_bytes", moved.rebase, NOTHING, "of layers; a new base in the same registry")
    report.measured(
        "one_shard_fraction", moved.one_shard, limits["one_shard_fraction"],
        "one changed shard of eight: all that was uploaded",
    )  # fmt: skip


def add_kills(report: Report, killed: Kills | None, kills: int) -> None:
    """What kill -9 costs."""
    limits = {
        "kills": Limit(equals=kills),
        "kill_resent_layers_max": Limit(max=FLOWS),
        "kill_wrong_digests": NOTHING,
    }
    if killed is None:
        for key, limit in limits.items():
            report.not_measured(key, _NOT_ASKED, limit)
        return
    report.measured("kills", killed.kills, limits["kills"], f"{killed.late} more came after the end")
    report.measured(
        "kill_resent_layers_max", killed.resent_most, limits["kill_resent_layers_max"],
        f"with {FLOWS} flows; {killed.resent} in all; of {killed.finished} finished ones {killed.resent_finished}",
    )  # fmt: skip
    said = "; ".join(killed.wrong[:3]) or "after each kill and after each restart"
    report.measured("kill_wrong_digests", len(killed.wrong), limits["kill_wrong_digests"], said)


def add_faults(report: Report, outcome: Outcome | None, faults: int) -> None:
    """What damage gets through."""
    if outcome is None:
        report.not_measured("faults", _NOT_ASKED, Limit(equals=faults))
        report.not_measured("corrupt_pushed", _NOT_ASKED, NOTHING)
        return
    fired = ", ".join(f"{name} {times}" for name, times in sorted(outcome.fired.items()))
    report.measured("faults", sum(outcome.fired.values()), Limit(equals=faults), fired)
    said = "; ".join(outcome.corrupt[:3]) or f"{outcome.bakes} bakes: {outcome.whole} whole, {outcome.refused} refused"
    report.measured("corrupt_pushed", len(outcome.corrupt), NOTHING, said)
