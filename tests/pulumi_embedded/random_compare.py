"""Told stories through both engines: `compare` counts the programs and the differences.

With the CLI on PATH it is asked again, without it `recorded/random-stories.json.xz` says what it did. The recording
is made by `python -m tests.pulumi_embedded.random_record`; every story in it carries the digest of what was played, so
that a changed generator is noticed rather than compared with another story's recording.
"""

import ctypes
import hashlib
import json
import lzma
import multiprocessing
import os
import re
import signal
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from functools import cache
from typing import Any

from tests.pulumi_embedded.random_play import differences, played, stage
from tests.pulumi_embedded.random_program import Json
from tests.pulumi_embedded.random_story import Story, story
from tests.pulumi_embedded.support import HERE, has_cli

RECORDING = HERE / "recorded" / "random-stories.json.xz"
STORIES = 300


def digest(told: Story) -> str:
    """What was played."""
    return hashlib.sha256(json.dumps(asdict(told), sort_keys=True).encode()).hexdigest()[:16]


@cache
def recording() -> dict[str, Any]:
    """{"sample": [seed, …], "stories": {seed: {"digest": …, "outcomes": […]}}}."""
    return dict(json.loads(lzma.decompress(RECORDING.read_bytes())))


def recorded(seed: int) -> list[Json]:
    """What the CLI did in a story."""
    entry = recording()["stories"][str(seed)]
    if entry["digest"] != digest(story(seed)):
        raise ValueError(f"story {seed} is not the one that was recorded: record again (random_record.py)")
    return list(entry["outcomes"])


def differ(seeds: Iterable[int], cli: bool) -> list[tuple[int, list[str]]]:
    """(seed, what differs) for each story, played through the embedded engine and, if `cli`, through the CLI now."""
    results = []
    with stage("embedded") as ours:
        if not cli:
            return [(seed, compared(story(seed), played(ours, story(seed))[0], recorded(seed))) for seed in seeds]
        with stage("cli") as theirs:
            for seed in seeds:
                mine, other = (played(side, story(seed))[0] for side in (ours, theirs))
                results.append((seed, compared(story(seed), mine, other)))
    return results


def die_with_parent() -> None:
    """Workers of a pool would stay for ever when whoever wanted their work is killed."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)  # 1 = PR_SET_PDEATHSIG


def compared(told: Story, mine: list[Json], other: list[Json]) -> list[str]:
    """What differs, as far as it is defined what must happen."""
    sides = (defined(told, json.loads(json.dumps(side))) for side in (mine, other))
    return differences(*sides)


def defined(told: Story, outcomes: list[Json]) -> list[Json]:
    """The outcomes up to a failure in a parallel program; of that only the exit code is no matter of luck."""
    serial = True
    for number, (command, outcome) in enumerate(zip(told.commands, outcomes, strict=True)):
        if command.program is not None:
            serial = command.program["serial"]
        if not serial and outcome["exit"] != 0 and command.run in ("up", "preview"):
            return [*outcomes[:number], {"run": outcome["run"], "exit": outcome["exit"]}]
    return outcomes


def compare(
    count: int = STORIES, cli: bool | None = None, progress: Callable[[str], None] = lambda _: None
) -> tuple[int, list[str]]:
    """(programs compared, differences) over the first `count` stories; `cli` None: live if it is on PATH.

    Every preview, up, refresh and destroy of every story is compared. What is counted is stories: they are what was
    told independently.
    """
    live = has_cli() if cli is None else cli
    if live and not has_cli():
        raise ValueError("the pulumi CLI, with its Python host, is not on PATH")
    return compare_these(sorted(int(seed) for seed in recording()["stories"])[:count], live, progress)


def compare_these(
    seeds: list[int], live: bool, progress: Callable[[str], None] = lambda _: None
) -> tuple[int, list[str]]:
    """`compare` for given stories, a process for each core."""
    workers = min(os.cpu_count() or 1, 4)
    size = min(5, -(-len(seeds) // workers))
    parts = [seeds[start : start + size] for start in range(0, len(seeds), size)]
    found: list[str] = []
    done = 0
    with ProcessPoolExecutor(
        workers, mp_context=multiprocessing.get_context("spawn"), initializer=die_with_parent
    ) as pool:
        for part in pool.map(differ, parts, [live] * len(parts)):
            for seed, lines in part:
                done += 1
                found += [f"story {seed}: {line}" for line in lines]
            progress(f"{done} of {len(seeds)} stories compared with the CLI{'' if live else ' as recorded'}")
    return done, found


def histogram(seeds: Iterable[int]) -> Counter[str]:
    """How often each kind of resource, option, edit, command, fault and change of the cloud occurs in the stories."""
    counts: Counter[str] = Counter()
    for seed in seeds:
        for command in story(seed).commands:
            counts[f"command {command.run}"] += 1
            counts.update(f"flag {flag}" for flag in command.flags)
            counts.update(f"fault {fault['rpc']} {fault['kind']}" for fault in command.faults)
            for name, change in command.cloud.items():
                kind = "found" if name.startswith("+") else "deleted" if change is None else "changed"
                counts[f"cloud {kind}"] += 1
            counts["changed configuration"] += bool(command.config)
            if command.program is None:
                continue
            program = command.program
            counts["serial program" if program["serial"] else "parallel program"] += 1
            counts["program error"] += program["error"] is not None
            for resource in program["resources"]:
                counts[f"kind {resource['kind']}"] += 1
                counts.update(f"option {option}" for option in resource["opts"])
                text = json.dumps(resource["props"])
                counts.update(f"value {mark}" for mark in ("$out", "$secret", "$concat") if mark in text)
                counts.update(f"property {key}" for key in ("fixed", "dbr", "password") if key in resource["props"])
                for alias in resource["opts"].get("aliases", ()):
                    counts[f"alias {next(iter(alias))}"] += 1
    return counts


def happened(outcomes: Iterable[list[Json]]) -> Counter[str]:
    """How often each operation was done, and each exit code returned."""
    counts: Counter[str] = Counter()
    for acts in outcomes:
        for act in acts:
            counts[f"exit {act['exit']}"] += 1
            if act["run"] != "preview":
                counts.update(f"operation {op[0]}" for op in act["ops"])
            counts.update(f"call {call[0]}" for call in act["calls"])
            counts["state with init errors"] += any('"initErrors"' in entry for entry in act["state"])
            counts["state with left-overs"] += any(
                re.search('"(delete|pendingReplacement)": true', e) for e in act["state"]
            )
    return counts
