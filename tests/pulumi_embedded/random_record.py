"""Records what the CLI does in the told stories: `python -m tests.pulumi_embedded.random_record [count]`, CLI on PATH.

Two processes beside each other; each story goes to `--work` (default `.local/random-stories`) as soon as it is done,
so an interrupted recording goes on where it stopped. A story whose digest changed is played again.
"""

import json
import lzma
import multiprocessing
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from tests.pulumi_embedded.random_compare import RECORDING, STORIES, die_with_parent, digest, happened, histogram
from tests.pulumi_embedded.random_play import played, stage
from tests.pulumi_embedded.random_story import story
from tests.pulumi_embedded.support import HERE

WORK = HERE.parents[1] / ".local" / "random-stories"
SAMPLE = 25


def place(seed: int) -> Path:
    """Where the recording of one story waits to be gathered."""
    return WORK / f"{seed}-{digest(story(seed))}.json"


def record(seeds: list[int]) -> None:
    """Play stories through the CLI, and keep what it did."""
    missing = [seed for seed in seeds if not place(seed).exists()]
    if not missing:
        return
    with stage("cli") as theirs:
        for seed in missing:
            told = story(seed)
            try:
                outcomes, outputs = played(theirs, told)
            except subprocess.TimeoutExpired as stuck:
                sys.stderr.write(f"story {seed}: left out, the CLI does not come to an end: {stuck}\n")
                continue
            place(seed).write_text(json.dumps({"outcomes": outcomes, "outputs": outputs}))
            sys.stderr.write(f"story {seed}: {[act['exit'] for act in outcomes]}\n")


def gather(count: int) -> dict[str, Any]:
    """All recordings as one document. A story that the CLI never ended is left out."""
    stories = {}
    for seed in range(count):
        if not place(seed).exists():
            continue
        data = json.loads(place(seed).read_text())
        stories[str(seed)] = {"digest": digest(story(seed)), "outcomes": data["outcomes"]}
    return {"sample": sample(stories), "stories": stories}


def sample(stories: dict[str, Any]) -> list[int]:
    """The stories of the everyday suite: few commands, and together as much of everything as can be had."""
    chosen: list[int] = []
    covered: set[str] = set()
    left = {int(seed): _covers(int(seed), entry["outcomes"]) for seed, entry in stories.items()}
    while left and len(chosen) < SAMPLE:
        best = max(left, key=lambda seed: (_worth(left[seed] - covered, seed), -seed))
        chosen.append(best)
        covered |= left.pop(best)
    return sorted(chosen)


def _worth(new: set[str], seed: int) -> float:
    return (len(new) + 0.1) / (2 + len(story(seed).commands))


def _covers(seed: int, outcomes: Any) -> set[str]:
    return {key for key, count in (*histogram([seed]).items(), *happened([outcomes]).items()) if count}


def main(arguments: list[str]) -> None:
    """Record what is missing, and write the recording."""
    count = int(arguments[0]) if arguments else STORIES
    WORK.mkdir(parents=True, exist_ok=True)
    parts = [list(range(start, min(start + 5, count))) for start in range(0, count, 5)]
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn"), die_with_parent) as pool:
        list(pool.map(record, parts))
    RECORDING.write_bytes(lzma.compress(json.dumps(gather(count), sort_keys=True).encode(), preset=9))
    sys.stderr.write(f"{RECORDING.relative_to(Path.cwd())}: {RECORDING.stat().st_size} bytes\n")


if __name__ == "__main__":
    main(sys.argv[1:])
