"""How long an operation takes: the embedded engine beside the pulumi CLI and beside the program alone.

Three sides run one program of 1, 200 and 2,000 resources: `pulumi_embedded`, the CLI, and the program under the SDK's
mocks, which shows what it costs with no engine at all. Preview, first `up`, `up` without changes, refresh; each timed
from the command's start to its end, as a user waits for it, on the same disk, with the same plugin, virtual
environment, flags, passphrase and parallelism. The plugin does next to nothing (`_engine_plugin.py`): what a cloud
takes is the same on both sides and would only hide the engines. The CLI's check for updates is off. The sides take
turns within a run, and go first in turns; the shortest of the runs counts, since other work on a machine can only
ever add to it. Every figure is a ratio of such times. `growth_vs_bare` is the worst of three operations.

`programs_compared` and `differences` are about being right, not fast: random programs with edits and failures, done by
both engines (or by ours, beside what was recorded of the CLI where it is not on PATH).
"""

import statistics
import sys
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import click

from benchmarks._engine_sides import (
    OPERATIONS,
    BenchFailed,
    Operation,
    Place,
    Side,
    bare,
    cli_missing,
    made_virtualenv,
    make_place,
)
from benchmarks.report import Limit, Report

SMALL, LARGE = 200, 2000
_WITH_PROGRAM: tuple[Operation, ...] = ("preview", "up", "no_change")
_LIMITS = {
    "up_1_vs_cli": Limit(min=1.5),
    "preview_200_vs_cli": Limit(min=3),
    "up_200_vs_cli": Limit(min=3),
}
_GROWTH = Limit(max=1.3)
_PROGRAMS, _DIFFERENCES = Limit(min=300), Limit(equals=0)

Times = dict[tuple[str, Operation, int], list[float]]
"""(side, operation, size) -> the seconds of each run"""


def _sizes(_context: click.Context, _option: click.Parameter, text: str) -> list[int]:
    parts = text.split(",")
    if not all(part.strip().isdigit() and int(part) for part in parts):
        raise click.BadParameter(f"{text!r} is not a list of numbers such as 1,200,2000")
    return sorted({int(part) for part in parts})


@click.command()
@click.option("--sizes", default=f"1,{SMALL},{LARGE}", show_default=True, callback=_sizes, help="Resources.")
@click.option("--runs", type=click.IntRange(min=1), default=3, show_default=True, help="Of each; half of the large.")
@click.option("--cli/--no-cli", default=True, help="Without the CLI its keys are null.")
@click.option("--programs", type=click.IntRange(min=0), default=300, show_default=True, help="Random ones to compare.")
def main(sizes: list[int], runs: int, cli: bool, programs: int) -> None:
    """Time the embedded engine beside the pulumi CLI and the bare program; compare what both do."""
    missing = cli_missing()
    why = "" if cli and not missing else f"{' and '.join(missing)} not on PATH" if cli else "--no-cli was given"
    report = Report("engine")
    with tempfile.TemporaryDirectory(prefix="bench-engine-") as folder:
        try:
            times = measured(Path(folder), sizes, runs, ("ours",) if why else ("ours", "cli"))
        except BenchFailed as failure:
            raise click.ClickException(str(failure)) from failure
    _report_cli(report, times, sizes, why)
    _report_bare(report, times, sizes)
    _report_growth(report, times)
    _report_programs(report, programs, cli=not why)
    sys.exit(report.close())


def measured(folder: Path, sizes: Sequence[int], runs: int, sides: Sequence[Side]) -> Times:
    """Run everything, the sides in turns."""
    virtualenv = made_virtualenv(folder / "virtualenv", pip="cli" in sides)
    times: Times = defaultdict(list)
    for size in sizes:
        places = [make_place(folder / f"{side}-{size}", side, size, virtualenv) for side in sides]
        if size == min(sizes):
            _warm_up(places, virtualenv)
        for run in range(max(1, runs // 2) if size >= LARGE else runs):
            for place in places:
                place.fresh_stack()
            for operation in OPERATIONS:
                for place in places if run % 2 else reversed(places):
                    times[place.side, operation, size].append(place.timed(operation))
                    _tell(place.side, operation, size, times)
                if operation in ("preview", "up"):
                    times["bare", operation, size].append(bare(places[0].program, virtualenv, operation))
                    _tell("bare", operation, size, times)
        times["bare", "no_change", size] = times["bare", "up", size]  # the mocks know of no state
        for place in places:
            if place.recorded() != size:
                raise BenchFailed(f"{place.side}: the state holds {place.recorded()} of {size} resources")
    return times


def _warm_up(places: Sequence[Place], virtualenv: Path) -> None:
    """Once before the first timed run: bytecode is compiled, and the disk's cache holds what is loaded."""
    for place in places:
        place.fresh_stack()
        place.timed("preview")
    bare(places[0].program, virtualenv, "preview")


def _tell(side: str, operation: Operation, size: int, times: Times) -> None:
    seconds = times[side, operation, size][-1]
    print(f"{size:>5} resources  {operation:<9}  {side:<4}  {seconds:7.2f} s", file=sys.stderr, flush=True)


def ratio(times: Times, operation: Operation, size: int, over: str, under: str) -> float:
    """One side's time over another's."""
    return min(times[over, operation, size]) / min(times[under, operation, size])


def growth(times: Times, side: str, operation: Operation) -> float:
    """How many times as long the large program takes as the small one."""
    return min(times[side, operation, LARGE]) / min(times[side, operation, SMALL])


def _report_cli(report: Report, times: Times, sizes: Sequence[int], why_not: str) -> None:
    keys = {f"{operation}_{size}_vs_cli": (operation, size) for size in sizes for operation in OPERATIONS}
    for key, (operation, size) in keys.items():
        limit = _LIMITS.get(key)
        if why_not:
            report.not_measured(key, why_not, limit)
        else:
            spread = max(_spread(times[side, operation, size]) for side in ("ours", "cli"))
            runs = len(times["ours", operation, size])
            note = f"the shortest of {runs} runs; they differ by up to {spread:.0%}" if runs > 1 else "one run"
            report.measured(key, ratio(times, operation, size, "cli", "ours"), limit, note)
    for key in _LIMITS.keys() - keys.keys():
        report.not_measured(key, "this size was not asked for", _LIMITS[key])


def _spread(seconds: Sequence[float]) -> float:
    return max(seconds) / min(seconds) - 1


def _report_bare(report: Report, times: Times, sizes: Sequence[int]) -> None:
    for size in sizes:
        for operation in _WITH_PROGRAM:
            value = ratio(times, operation, size, "ours", "bare")
            report.measured(f"{operation}_{size}_vs_bare", value, note="ours over the program alone")


def _report_growth(report: Report, times: Times) -> None:
    if not all(("ours", "up", size) in times for size in (SMALL, LARGE)):
        report.not_measured("growth_vs_bare", f"needs the sizes {SMALL} and {LARGE}", _GROWTH)
        return
    found = {op: growth(times, "ours", op) / growth(times, "bare", op) for op in _WITH_PROGRAM}
    for operation, value in found.items():
        report.measured(f"{operation}_growth_vs_bare", value, note=f"from {SMALL} to {LARGE} resources")
    mean = statistics.geometric_mean(found.values())
    report.measured("growth_vs_bare", max(found.values()), _GROWTH, f"the worst of these; their mean is {mean:.2f}")


def _report_programs(report: Report, count: int, cli: bool) -> None:
    from tests.pulumi_embedded.random_compare import RECORDING, compare

    why_not = "" if count else "no programs were asked for"
    if not (why_not or cli or RECORDING.exists()):
        why_not = f"neither the CLI nor {RECORDING.name}, the recording of it, is there"
    if why_not:
        for key, limit in (("programs_compared", _PROGRAMS), ("differences", _DIFFERENCES)):
            report.not_measured(key, why_not, limit)
        return
    compared, differences = compare(count, cli, lambda line: print(line, file=sys.stderr, flush=True))
    for line in differences:
        print(line, file=sys.stderr)
    with_what = "beside the CLI" if cli else "beside what was recorded of the CLI"
    report.measured("programs_compared", compared, _PROGRAMS if count >= 300 else None, with_what)
    report.measured("differences", len(differences), _DIFFERENCES)


if __name__ == "__main__":
    main()
