"""1,000 deployments that go wrong: is anything orphaned, lost or told?

Each deployment runs a random program with the runpod provider through the embedded engine (real engine, plugin and
program processes) against an emulator that breaks connections before and after it acted, answers 429, 500, 502, 503,
slowly, half or with its edge's 403, while the plugin or the engine is killed. Then comes one clean `up` and one clean
`destroy`. Everything about a deployment follows from its seed: `--seed <its seed> --deployments 1` lives through it
again.
"""

import contextlib
import json
import os
import queue
import shutil
import statistics
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import click

from benchmarks._faults_lane import Verdict
from benchmarks._faults_program import ENVIRONMENT, ROOT
from benchmarks.report import Limit, Report

KEEP = ROOT / ".local" / "bench" / "faults"
DEFAULT_SEED = 20_261_121


@click.command()
@click.option("--deployments", type=click.IntRange(min=1), default=1000, show_default=True, help="How many.")
@click.option("--seed", type=int, default=DEFAULT_SEED, show_default=True, help="Of the first; the others follow it.")
@click.option("--lanes", type=click.IntRange(1, 64), default=None, help="At a time. [default: two per core]")
@click.option("--folder", type=click.Path(file_okay=False, path_type=Path), default=KEEP, help="For what failed.")
def main(deployments: int, seed: int, lanes: int | None, folder: Path) -> None:
    """Run random deployments under faults and kills; count orphans, lost resources and readable secrets."""
    if not ENVIRONMENT.exists():
        raise click.ClickException("the plugin's environment is missing; run `make setup-all`")
    count = min(deployments, lanes or 2 * (os.cpu_count() or 1))
    verdicts: list[Verdict] = []
    try:
        for verdict in run(range(seed, seed + deployments), count, folder):
            verdicts.append(verdict)
            _tell(verdict, len(verdicts), deployments, folder)
    except KeyboardInterrupt:
        print("interrupted: this is what was reached", file=sys.stderr)
    sys.exit(report(verdicts, deployments).close())


def run(seeds: Iterable[int], lanes: int, folder: Path) -> Iterator[Verdict]:
    """Share the deployments out over the lanes; verdicts come as they are reached. Ends the lanes, whatever happens."""
    todo: queue.SimpleQueue[int] = queue.SimpleQueue()
    for seed in seeds:
        todo.put(seed)
    done: queue.SimpleQueue[Verdict | None] = queue.SimpleQueue()
    folder.mkdir(parents=True, exist_ok=True)
    processes = [_start_lane(folder / f"lane-{os.getpid()}-{number}", folder) for number in range(lanes)]
    threads = [threading.Thread(target=_feed, args=(process, todo, done), daemon=True) for process in processes]
    for thread in threads:
        thread.start()
    try:
        ended = 0
        while ended < lanes:
            verdict = done.get()
            if verdict is None:
                ended += 1
            else:
                yield verdict
    finally:
        for process in processes:
            _end_lane(process)
        for number in range(lanes):
            shutil.rmtree(folder / f"lane-{os.getpid()}-{number}", ignore_errors=True)


def _start_lane(folder: Path, keep: Path) -> "subprocess.Popen[str]":
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"}
    for name in [name for name in environment if name.startswith(("PULUMI_", "RUNPOD_"))]:
        del environment[name]
    return subprocess.Popen(
        [sys.executable, "-m", "benchmarks._faults_lane", str(folder), str(keep)],
        cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip


def _feed(
    lane: "subprocess.Popen[str]",
    todo: "queue.SimpleQueue[int]",
    done: "queue.SimpleQueue[Verdict | None]",
) -> None:
    """Give a lane one deployment after the other. A lane that dies takes one verdict with it, and says so."""
    assert lane.stdin is not None
    assert lane.stdout is not None
    try:
        while True:
            seed = todo.get_nowait()
            lane.stdin.write(f"{seed}\n")
            lane.stdin.flush()
            line = lane.stdout.readline()
            if not line:
                done.put(Verdict(seed, failures=["the lane ended before the deployment did"]))
                return
            done.put(Verdict(**json.loads(line)))
    except (queue.Empty, BrokenPipeError, ValueError):
        return
    finally:
        done.put(None)


def _end_lane(lane: "subprocess.Popen[str]") -> None:
    if lane.stdin is not None:
        with contextlib.suppress(BrokenPipeError):
            lane.stdin.close()
    try:
        lane.wait(30)
    except subprocess.TimeoutExpired:
        lane.kill()
        lane.wait()
    if lane.stdout is not None:
        lane.stdout.close()


def _tell(verdict: Verdict, number: int, all_: int, folder: Path) -> None:
    if not verdict.ok:
        print(f"seed {verdict.seed}: what happened is in {folder / str(verdict.seed)}", file=sys.stderr)
        for name in ("orphans", "lost", "secrets", "failures"):
            for line in getattr(verdict, name):
                print(f"  {name}: {line}", file=sys.stderr)
    if number % 25 == 0 or number == all_:
        print(f"{number} of {all_} deployments", file=sys.stderr)


def report(verdicts: list[Verdict], deployments: int) -> Report:
    """The figures of a run."""
    made = Report("faults")
    nothing = Limit(equals=0)
    runs = sum(verdict.runs for verdict in verdicts)
    made.measured("deployments", len(verdicts), Limit(equals=deployments), f"{runs} runs of the engine")
    for key, name, what in (
        ("orphans", "orphans", "in the cloud and in no state, after the clean up or the clean destroy"),
        ("lost", "lost", "wanted or in the state, but not (or not so) in the cloud after the clean up"),
        ("plaintext_secrets", "secrets", "places where a password, a secret variable or a key can be read"),
        ("failures", "failures", "clean runs that failed, tracebacks, processes left, runs without an end"),
    ):
        made.measured(key, sum(len(getattr(verdict, name)) for verdict in verdicts), nothing, what)
    for key, what in (("faults", "fired"), ("kills", "kill -9"), ("searched", "for secrets")):
        totals: Counter[str] = Counter()
        for verdict in verdicts:
            totals.update(getattr(verdict, key))
        said = ", ".join(f"{kind} {times}" for kind, times in sorted(totals.items()))
        made.measured(key, totals.total(), note=f"{what}: {said}" if said else what)
    seconds = [verdict.seconds for verdict in verdicts]
    made.measured("median_s", statistics.median(seconds) if seconds else 0.0, note="seconds per deployment")
    return made


if __name__ == "__main__":
    main()
