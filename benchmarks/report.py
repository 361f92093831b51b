"""What a benchmark says: a table for people, then one JSON line for scripts.

The line: `{"bench": name, "ratios": {key: number or null, ...}, "limits": {key: {"min", "max" or "equals": number}}}`.
Every figure was measured in that run. A key that this machine cannot measure is null, and the table says why.
"""

import json
from dataclasses import dataclass, field

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True)
class Limit:
    """What a figure has to be: at least `min`, at most `max`, or just `equals`."""

    min: float | None = None
    max: float | None = None
    equals: float | None = None

    def holds(self, value: float) -> bool:
        """Whether the figure keeps the limit."""
        return (
            (self.min is None or value >= self.min)
            and (self.max is None or value <= self.max)
            and (self.equals is None or value == self.equals)
        )

    def words(self) -> str:
        """The limit as the table shows it."""
        parts = ((">=", self.min), ("<=", self.max), ("=", self.equals))
        return ", ".join(f"{sign} {number:g}" for sign, number in parts if number is not None)

    def as_json(self) -> dict[str, float]:
        """The limit as the JSON line shows it."""
        named = {"min": self.min, "max": self.max, "equals": self.equals}
        return {name: number for name, number in named.items() if number is not None}


@dataclass
class Report:
    """The figures of one run of one benchmark."""

    bench: str
    ratios: dict[str, float | None] = field(default_factory=dict)
    limits: dict[str, Limit] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)

    def measured(self, key: str, value: float, limit: Limit | None = None, note: str = "") -> None:
        """Record one figure, with its limit and a word on how it came about."""
        self._add(key, value, limit, note)

    def not_measured(self, key: str, reason: str, limit: Limit | None = None) -> None:
        """Record that this machine cannot measure a figure, and why."""
        self._add(key, None, limit, reason)

    def _add(self, key: str, value: float | None, limit: Limit | None, note: str) -> None:
        if key in self.ratios:
            raise ValueError(f"benchmark {self.bench} reports {key} twice")
        self.ratios[key] = value
        if limit is not None:
            self.limits[key] = limit
        self.notes[key] = note

    def missed(self) -> list[str]:
        """The keys whose figure breaks its limit, in the order of the report."""
        return [
            key
            for key, value in self.ratios.items()
            if value is not None and key in self.limits and not self.limits[key].holds(value)
        ]

    def line(self) -> str:
        """The closing JSON line."""
        figures = {
            key: value if value is None or isinstance(value, int) else float(f"{value:.4g}")
            for key, value in self.ratios.items()
        }
        limits = {key: limit.as_json() for key, limit in self.limits.items()}
        return json.dumps({"bench": self.bench, "ratios": figures, "limits": limits})

    def close(self, console: Console | None = None) -> int:
        """Print the table and the line. Returns the exit code: 1 if a limit is missed, else 0."""
        console = console or Console()
        missed = self.missed()
        table = Table(title=self.bench)
        for heading in ("key", "measured", "limit", "", "note"):
            table.add_column(heading)
        for key, value in self.ratios.items():
            limit = self.limits.get(key)
            verdict = "" if limit is None or value is None else "missed" if key in missed else "ok"
            shown = "-" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
            table.add_row(key, shown, limit.words() if limit else "", verdict, self.notes[key])
        console.print(table)
        console.file.write(self.line() + "\n")
        return 1 if missed else 0
