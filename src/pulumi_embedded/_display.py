"""What a person sees while an operation runs: rows that update in a terminal, plain lines elsewhere.

Every text passes through `redact` here, at the last moment.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TextIO

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from pulumi_embedded._show import COLOUR, SYMBOL, diff_lines, doing, map_lines, value_text
from pulumi_embedded._steps import (
    CREATE,
    CREATE_REPLACEMENT,
    DELETE_REPLACED,
    DISCARD_REPLACED,
    IMPORT_REPLACEMENT,
    READ_REPLACEMENT,
    REFRESH,
    REPLACE,
    SAME,
    UPDATE,
    Step,
)
from pulumi_embedded._urn import name_of, type_of
from redaction import redact

_PARTS_OF_REPLACEMENT = {CREATE_REPLACEMENT, DELETE_REPLACED}
_WITH_DIFF = {UPDATE, REPLACE}


@dataclass
class Row:
    """One resource's line."""

    urn: str
    op: str
    started: float
    status: str = ""
    ended: float | None = None
    failed: bool = False
    details: list[str] = field(default_factory=list)
    open_parts: int = 0


class Display:
    """Shows one operation. `close` prints the diagnostics; the caller prints summary and outputs."""

    def __init__(self, out: TextIO, *, preview: bool, diff: bool, colour: bool, live: bool, verb: str) -> None:
        self._console = Console(
            file=out, highlight=False, soft_wrap=True, no_color=not colour, force_terminal=live or None,
            color_system="auto" if colour else None,
        )  # fmt: skip
        self._preview = preview
        self._diff = diff
        self._rows: dict[str, Row] = {}
        self._diagnostics: dict[str, list[tuple[str, str]]] = {}
        self._clock: Callable[[], float] = time.monotonic
        self._verb = verb
        self._live: Live | None = None
        if live:
            self._live = Live(console=self._console, get_renderable=self._render, refresh_per_second=8, transient=True)
            self._live.start()

    # Listening

    def step_started(self, step: Step) -> None:
        if step.internal:
            return
        if step.op == SAME:
            return
        row = self._rows.get(step.urn)
        if row is None or step.op == UPDATE:
            row = self._rows[step.urn] = Row(step.urn, step.op, self._clock())
        if step.op in _PARTS_OF_REPLACEMENT or step.op == REPLACE:
            row.op = REPLACE
        row.ended = None
        row.open_parts += 1
        if self._live is None and not self._preview and step.op not in (REPLACE, REFRESH):
            self._line(row, f"{doing(step.op, False, False)}…", step.op)

    def step_ended(self, step: Step, error: str | None) -> None:
        if step.internal or step.op == SAME:
            return
        row = self._rows.get(step.urn)
        if row is None:
            return
        row.open_parts -= 1
        row.ended, row.failed = self._clock(), row.failed or error is not None
        if step.op == REFRESH and error is None:
            row.op = step.result_op
            if step.op == REFRESH and row.op == SAME:
                del self._rows[step.urn]
                return
        if not row.details:
            row.details = self._details(step)
        if self._live is not None or (step.op in (CREATE_REPLACEMENT, DELETE_REPLACED) and self._preview):
            return
        if step.op == REPLACE and not self._preview:
            return
        op = row.op if step.op == REFRESH else step.op
        words = "failed" if error else doing(op, self._preview, True)
        seconds = "" if self._preview else f" ({row.ended - row.started:.1f}s)"
        self._line(row, f"{words}{seconds}", op)
        for text in row.details if self._preview or step.op in (UPDATE, REFRESH, CREATE_REPLACEMENT) else ():
            self._print(text)

    def _details(self, step: Step) -> list[str]:
        if step.op in _WITH_DIFF or step.op == REFRESH or step.op in (CREATE_REPLACEMENT, IMPORT_REPLACEMENT):
            return list(diff_lines(step, 2))
        if self._diff and step.new is not None and step.op in (CREATE, READ_REPLACEMENT):
            return list(map_lines(step.new.inputs, 2))
        if self._diff and step.op in (DELETE_REPLACED, DISCARD_REPLACED):
            return []
        return []

    def outputs_registered(self, _step: Step, /) -> None:
        return

    def diagnostic(self, severity: str, urn: str, message: str, ephemeral: bool = False) -> None:
        if severity == "debug":
            return
        row = self._rows.get(urn)
        if ephemeral:
            if row is not None:
                text = redact(message).strip()
                if self._live is None and text and text != row.status:
                    self._line(row, f"  {text}", row.op)
                row.status = text
            return
        self._diagnostics.setdefault(urn, []).append((severity, message.rstrip()))
        if row is not None:
            row.status = redact(message.strip().split("\n", 1)[0])

    def program_output(self, line: str, _is_error: bool, /) -> None:
        self._diagnostics.setdefault("", []).append(("", line))

    def stack_outputs(self, outputs: Mapping[str, Any]) -> None:
        if not outputs:
            return
        self._print("Outputs:")
        for text in map_lines(outputs, 1):
            self._print(text)

    # Showing

    def _line(self, row: Row, words: str, op: str) -> None:
        symbol = SYMBOL.get(op, "")
        text = Text(f" {symbol:<2} {type_of(row.urn)} {redact(name_of(row.urn))} {words}")
        if symbol:
            text.stylize("red" if row.failed else COLOUR.get(op, ""), 0, 3)
        self._console.print(text)

    def _print(self, text: str, style: str = "") -> None:
        self._console.print(Text(redact(text), style=style))

    def _render(self) -> Group:
        now = self._clock()
        lines: list[Text] = []
        rows = list(self._rows.values())
        height = max(self._console.size.height - 3, 5)
        hidden = max(0, len(rows) - height)
        if hidden:
            # The ones at work are what is watched for.
            rows = sorted(rows, key=lambda row: row.ended is not None)[:height]
        for row in rows:
            busy = row.ended is None or row.open_parts > 0
            seconds = (now if busy else row.ended or now) - row.started
            words = "failed" if row.failed else doing(row.op, self._preview, not busy)
            line = Text(f" {SYMBOL.get(row.op, ''):<2} ", style="red" if row.failed else COLOUR.get(row.op, ""))
            line.append(f"{type_of(row.urn)} ", style="dim")
            line.append(f"{redact(name_of(row.urn))} ", style="default")
            line.append(f"{words}{'' if self._preview else f' ({seconds:.0f}s)'} ", style="default")
            line.append(row.status, style="dim")
            line.truncate(self._console.size.width - 1, overflow="ellipsis")
            lines.append(line)
        if hidden:
            lines.append(Text(f"    … and {hidden} more", style="dim"))
        return Group(Text(f"{self._verb}…", style="dim"), *lines)

    def close(self) -> None:
        """Stop updating, leave the rows as they ended, and print the diagnostics, errors first."""
        if self._live is not None:
            self._live.stop()
            for row in self._rows.values():
                done = row.ended is not None
                words = "failed" if row.failed else doing(row.op, self._preview, done)
                seconds = "" if self._preview or row.ended is None else f" ({row.ended - row.started:.1f}s)"
                self._line(row, f"{words}{seconds}", row.op)
                for text in row.details:
                    self._print(text)
        self._print_diagnostics()

    def _print_diagnostics(self) -> None:
        if not self._diagnostics:
            return
        self._print("")
        self._print("Diagnostics:")

        def rank(urn: str) -> int:
            return 0 if any(severity == "error" for severity, _ in self._diagnostics[urn]) else 1

        for urn in sorted(self._diagnostics, key=rank):
            self._print(f"  {type_of(urn)} ({name_of(urn)}):" if urn else "  pulumi:pulumi:Stack:")
            messages = sorted(self._diagnostics[urn], key=lambda entry: entry[0] != "error")
            for severity, message in messages:
                style = {"error": "red", "warning": "yellow"}.get(severity, "")
                prefix = f"{severity}: " if severity in ("error", "warning") else ""
                for line in f"{prefix}{message}".split("\n"):
                    self._print(f"    {line}", style)
        self._print("")

    def line(self, text: str) -> None:
        """A line of our own."""
        self._print(text)


__all__ = ["Display", "value_text"]
