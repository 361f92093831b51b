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
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from benchmarks._bake_faults import Outcome, bake_badly
from benchmarks._bake_ground import GIB, MIB, ROOT, Bakery, GroundError, available, running_registry, say
from benchmarks._bake_moves import Kills, Moves, count_moves, kill_bakes
from benchmarks._bake_report import add_faults, add_kills, add_moves, add_times
from benchmarks._bake_times import one_size
from benchmarks.report import Report

DEFAULT_SEED = 20_261_121
KILLS, FAULTS = 50, 1000
KILL_BYTES = 96 * MIB
MOVE_BYTES = 64 * MIB
_ROOM = 2.3
"""Memory that a size needs, in sizes: the source and a registry's copy. Others' scratch goes to disk when it must."""


@click.command()
@click.option("--sizes", default="2,8", show_default=True, metavar="GIB,...", help="Sizes of the models, in GiB.")
@click.option("--rounds", type=click.IntRange(min=1), default=3, show_default=True, help="How often ours is timed.")
@click.option("--peers/--no-peers", default=True, show_default=True, help="Time the other packers too.")
@click.option("--moves/--no-moves", default=True, show_default=True, help="Count what moves when little has changed.")
@click.option("--kills", type=click.IntRange(min=0), default=KILLS, show_default=True, help="How many kill -9.")
@click.option("--faults", type=click.IntRange(min=0), default=FAULTS, show_default=True, help="How many faults.")
@click.option("--seed", type=int, default=DEFAULT_SEED, show_default=True, help="Of kills and faults.")
@click.option(
    "--memory", type=click.Path(exists=True, file_okay=False, path_type=Path), default=Path("/dev/shm"),
    show_default=True, help="A tmpfs: sources and registries.",
)  # fmt: skip
@click.option(
    "--disk", type=click.Path(file_okay=False, path_type=Path), default=ROOT / ".local" / "bench" / "bake",
    help="A folder on a disk.  [default: .local/bench/bake]",
)  # fmt: skip
def main(
    sizes: str, rounds: int, peers: bool, moves: bool, kills: int, faults: int, seed: int, memory: Path, disk: Path
) -> None:
    """Bake random models beside every other packer; count what moves, what kills cost, and what damage gets through."""
    try:
        wanted = [int(float(size) * GIB) for size in sizes.split(",") if size]
    except ValueError as error:
        raise click.BadParameter(f"{sizes!r} is not a list of numbers", param_hint="--sizes") from error
    report = Report("bake")
    with _folders(memory, disk) as (fast, slow):
        try:
            figures = [one_size(size, fast, slow, rounds, peers=peers) for size in wanted if _fits(size)]
            add_times(report, wanted, figures, peers=peers)
            add_moves(report, _moved(fast) if moves else None)
            add_kills(report, _killed(fast, slow, kills, seed) if kills else None, kills or KILLS)
            add_faults(report, _faulted(fast, slow, faults, seed) if faults else None, faults or FAULTS)
        except GroundError as error:
            raise click.ClickException(str(error)) from error
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


def _moved(fast: Path) -> Moves:
    say("what moves when little has changed")
    with running_registry(fast) as registry:
        return asyncio.run(count_moves(registry, fast, MOVE_BYTES))


def _killed(fast: Path, slow: Path, kills: int, seed: int) -> Kills:
    say(f"{kills} kills")
    with running_registry(fast) as registry:
        return asyncio.run(kill_bakes(registry, Bakery(slow / "home-kills"), fast, KILL_BYTES, kills, seed))


def _faulted(fast: Path, slow: Path, faults: int, seed: int) -> Outcome:
    say(f"{faults} faults")
    with running_registry(fast) as registry:
        return bake_badly(registry, Bakery(slow / "home-faults"), fast, faults, seed)


if __name__ == "__main__":
    main()
