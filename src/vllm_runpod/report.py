"""Where the time of an `up` went, as a table for people and as numbers for scripts."""

import contextlib
import json
import sys
import time
import urllib.error
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.table import Table

from redaction import redact
from vllm_runpod import emulator_view
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
        self._began = time.time()
        try:
            steps = json.loads(project.timings.read_text())["seconds"]
        except (OSError, ValueError, KeyError):
            steps = {}
        # Reported once: a later run that set up nothing must not show these again.
        project.timings.unlink(missing_ok=True)
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

    def add_bake(self, told: Any) -> None:
        """The bake that was part of the deployment, as the stack's output `bake` tells; no seconds if it was older."""
        if not isinstance(told, dict):
            return
        try:
            ended = datetime.fromisoformat(told["at"]).timestamp() if told["at"] else 0.0
            # The output names the whole second.
            seconds = float(told["seconds"]) if ended >= self._began - 1 else 0.0
        except (ValueError, KeyError, TypeError) as error:
            print(f"note: the stack's output `bake` could not be read: {redact(str(error))}", file=sys.stderr)
            return
        self.rows.append(Row("bake", "bake the image", seconds, 1))

    def add_worker(self, project: Project, endpoint_id: str) -> None:
        """Phases of the endpoint's newest worker: as the emulator saw them, and as the worker itself logged them."""
        try:
            workers = emulator_view.workers(project, endpoint_id)
            if not workers:
                return
            newest = max(workers, key=lambda worker: worker["times"]["queued"] or 0.0)
            if (newest["times"]["queued"] or 0.0) < self._began:
                return  # It was there before this run: its start took none of this run's time.
            self.rows += [Row(f"worker.{key}", f"worker: {key}", float(s), 1) for key, s in newest["phases"].items()]
            logged = emulator_view.logged_phases(
                project, f"/v2/serverless/{endpoint_id}/workers/{newest['id']}/logs?tail=2000"
            )
            self.rows += [Row(f"worker.ready.{key}", f"ready: {key}", s, 2) for key, s in logged.items()]
        except (urllib.error.URLError, OSError, ValueError, KeyError, TypeError) as error:
            print(f"note: the phases of the worker's start could not be read: {redact(str(error))}", file=sys.stderr)

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
