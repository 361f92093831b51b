"""What a person sees while an operation runs: a row for each thing that happens, in the CLI's form.

Without a terminal a row is printed whenever something about a resource changes. On a terminal (`_live.py`) the rows
stand in a table that is drawn again, and stay as they ended. Messages are repeated whole at the end, under
`Diagnostics:`. Every text passes through `redact` here, at the last moment.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.text import Text

from pulumi_embedded._diffview import outputs_text, safe
from pulumi_embedded._show import COLOUR, MARK, finished, is_shown, is_stack, planned, retained, under_way
from pulumi_embedded._steps import (
    CREATE,
    CREATE_REPLACEMENT,
    DELETE,
    DELETE_REPLACED,
    DISCARD,
    IMPORT,
    IMPORT_REPLACEMENT,
    READ,
    READ_REPLACEMENT,
    REFRESH,
    REMOVE_PENDING_REPLACE,
    REPLACE,
    SAME,
    UPDATE,
    Step,
)
from pulumi_embedded._treediff import PartsDiff, ValueDiff, changed_keys, detailed_of, object_diff, step_diff
from pulumi_embedded._urn import STACK_TYPE, name_of, type_of
from redaction import redact

_NO_END = (SAME, REMOVE_PENDING_REPLACE)
"""Steps that touch the state alone: they have ended as soon as they began."""


@dataclass
class Row:
    """One resource: what is being done to it, how that went, and what was said about it."""

    urn: str
    op: str = SAME
    step: Step | None = None
    hidden: bool = True
    failed: bool = False
    started: float | None = None
    ended: float | None = None
    done_with: dict[str, Step] = field(default_factory=dict)
    """operation -> the step that did it"""
    messages: list[tuple[str, str]] = field(default_factory=list)
    printed: list[str] = field(default_factory=list)
    """what the program wrote"""
    last: str = ""
    """what was said last, to be shown beside the operation"""

    def count(self, *severities: str) -> int:
        """How many messages there were."""
        return sum(severity in severities for severity, _ in self.messages)


def prefixed(severity: str, message: str) -> str:
    """A message as it is shown."""
    return f"{severity}: {message}" if severity in ("error", "warning") else message


def display_type(type_: str) -> str:
    """`aws:s3/bucket:Bucket` as `aws:s3:Bucket`."""
    parts = type_.split(":")
    if len(parts) == 3 and "/" in parts[1]:
        module, _, last = parts[1].rpartition("/")
        if last == parts[2][:1].lower() + parts[2][1:]:
            parts[1] = module
    return ":".join(parts)


def short_diff(step: Step, op: str) -> str:
    """`[diff: +added-removed~changed]`: the properties at the top. `op` is what came of the step."""
    old, new = step.old, step.new
    if old is None or new is None:
        return ""
    parts: PartsDiff | None = None
    if op != SAME:
        parts = step_diff(step, False)[0] if detailed_of(step) is not None else object_diff(old.inputs, new.inputs)
    for name, before, after in (("provider", old.provider, new.provider), ("protect", old.protect, new.protect)):
        if before != after:
            parts = parts or PartsDiff()
            parts.updates[name] = ValueDiff(before, after)
    if parts is None:
        return ""

    named = changed_keys(step)

    def keys(of: Iterable[str | int]) -> str:
        return ",".join(sorted(str(key) for key in of if not named or key in named))

    groups = [(MARK[CREATE], parts.adds), (MARK[DELETE], parts.deletes), (MARK[UPDATE], parts.updates)]
    return f"[diff: {''.join(mark.strip() + keys(of) for mark, of in groups if keys(of))}]"


class Progress:
    """Listens to one operation, and prints its rows. `close` prints what was under way, and the messages."""

    def __init__(
        self, console: Console, *, preview: bool, stack_name: str, standalone_refresh: bool = False,
        show_sames: bool = False,
    ) -> None:  # fmt: skip
        self.console = console
        self.preview = preview
        self.clock: Callable[[], float] = time.monotonic
        self.rows: dict[str, Row] = {}
        self.over = False
        self.any_failed = False
        self._stack_name = stack_name
        self._stack_urn = ""
        self._stack_came_last = False
        """Something below the stack came first: it is being deleted."""
        self._standalone_refresh = standalone_refresh
        self._show_sames = show_sames

    # Listening

    def _row(self, urn: str) -> Row:
        if is_stack(urn) and not self._stack_urn:
            self._stack_urn = urn
            early = self.rows.pop("", None)
            if early is not None:  # what was said before the program had registered its stack
                early.urn = urn
                self.rows = {urn: early, **self.rows}
        return self.rows.setdefault(urn, Row(urn))

    def step_started(self, step: Step) -> None:
        if self._left_out(step):
            return
        known = bool(self._stack_urn)
        self._stack_came_last |= not known and is_stack(step.res.parent)
        row = self._row(step.urn)
        # An unchanged stack is shown when something more is to be said of it.
        row.hidden = row.hidden and not ((known and is_stack(step.urn)) or is_shown(step, self._show_sames))
        row.step, row.op = step, step.op
        row.started, row.ended = self.clock(), None
        self.updated(row)

    def _left_out(self, step: Step) -> bool:
        if step.op == READ and not step.internal:
            self.diagnostic("info", "", f"read {display_type(step.res.type)} {step.res.name}", ephemeral=True)
        return step.internal or step.op in (READ, READ_REPLACEMENT, DISCARD)

    def step_ended(self, step: Step, error: str | None) -> None:
        if error is not None:
            if not self.preview and not step.internal:
                self.any_failed = True
                row = self._row(step.urn)
                row.failed = True
                self.updated(row)
            return
        if self.preview or step.res.custom or step.op in (REFRESH, DELETE):
            self._ended(step, step.result_op if self._standalone_refresh else step.op)

    def outputs_registered(self, step: Step, /) -> None:
        self._ended(step, step.op)

    def _ended(self, step: Step, op: str) -> None:
        if self._left_out(step):
            return
        row = self._row(step.urn)
        row.hidden = row.hidden and not is_stack(step.urn)
        refreshed = row.op == REFRESH
        row.step, row.op, row.ended = step, op, self.clock()
        row.done_with[op] = step
        if refreshed or (not self.preview and step.res.custom and op != SAME):
            self.updated(row)
        else:
            self.settled(row)

    def diagnostic(self, severity: str, urn: str, message: str, ephemeral: bool = False) -> None:
        if severity == "debug" or not message.strip():
            return
        row = self._row(urn or self._stack_urn)
        row.hidden = False
        row.last = prefixed(severity, message).rstrip()
        if not ephemeral:
            row.messages.append((severity, message.rstrip()))
        self.updated(row)

    def program_output(self, line: str, _is_error: bool, /) -> None:
        row = self._row(self._stack_urn)
        row.printed.append(line)
        if line.strip():
            row.hidden = False
            row.last = line.rstrip()
            self.updated(row)

    def stack_outputs(self, _outputs: Mapping[str, Any], /) -> None:
        return

    def updated(self, row: Row) -> None:
        """Something about a row is worth showing."""
        if not row.hidden:
            self._print(self.line(row))

    def settled(self, row: Row) -> None:
        """A row has ended without anything that would have to be printed again."""

    # Rows as text

    def is_done(self, row: Row) -> bool:
        """Whether what its row says has ended."""
        return row.failed or self.over or (not is_stack(row.urn) and row.op in row.done_with)

    def shown_op(self, row: Row) -> str:
        """The operation as it is shown."""
        return row.op

    def status(self, row: Row) -> str:
        """The state of the operation, in words."""
        op, step = self.shown_op(row), row.step
        retain = retained(step, row.op) if step is not None else ""
        failed = row.failed or row.count("error") > 0
        has_end = step is not None and step.res.custom and op not in _NO_END
        if self.over and has_end and not failed and row.op not in row.done_with:
            return f"{under_way(op)} (interrupted){retain}"
        if not self.is_done(row):
            if is_stack(row.urn) and op == SAME:
                return "running"
            text = planned(op, False) if self.preview else under_way(op)
            seconds = (
                "" if self.preview or op == SAME or row.started is None else f" ({self.clock() - row.started:.0f}s)"
            )
            return f"{text}{seconds}{retain}"
        if self.preview:
            return f"{planned(op, True)}{retain}"
        text = finished(op, failed)
        if op != SAME and row.started is not None and row.ended is not None:
            seconds_taken = row.ended - row.started
            text += f" ({seconds_taken:.2f}s)" if seconds_taken < 1 else f" ({int(seconds_taken)}s)"
        return f"**{text}**{retain}" if failed else f"{text}{retain}"

    def info(self, row: Row) -> str:
        """What changes, and what was said last (or, at the end, how much was said)."""
        step = row.step
        if row.op in (CREATE_REPLACEMENT, DELETE_REPLACED):
            step = row.done_with.get(REPLACE, step)
        elif row.op in (IMPORT, IMPORT_REPLACEMENT):
            step = row.done_with.get(row.op, step)
        parts = [short_diff(step, row.op)] if step is not None else []
        if self.over:
            counts = [(row.count("error"), "error"), (row.count("warning"), "warning"),
                      (row.count("info", "info#err") + len(row.printed), "message")]  # fmt: skip
            parts += [f"{count} {word}{'s' if count != 1 else ''}" for count, word in counts if count]
        else:
            parts.append(self.said(row))
        return "; ".join(part for part in parts if part).split("\n", 1)[0]

    def said(self, row: Row) -> str:
        """What was said last: it stays beside the operation, also when that has ended."""
        return row.last

    def names(self, row: Row) -> tuple[str, str]:
        """The type and the name."""
        if not row.urn:
            return STACK_TYPE, self._stack_name
        return display_type(type_of(row.urn)), name_of(row.urn)

    def line(self, row: Row) -> Text:
        """The row."""
        op = self.shown_op(row)
        text = Text(f" {MARK[op]}", COLOUR.get(op, ""))
        type_, name = self.names(row)
        text.append(f" {type_} {name} ", "default")
        text.append(self.status(row), "red" if row.failed else COLOUR.get(op, ""))
        text.append(f" {self.info(row)}", "default")
        text.rstrip()
        return text

    def _print(self, text: Text) -> None:
        shown = safe(text)
        if self.console.color_system is None and not self.console.is_terminal:
            # What rich would print into a pipe or a file, without the tenth of a deployment's time it takes to do so.
            self.console.file.write(f"{shown.plain.expandtabs()}\n")
            self.console.file.flush()
        else:
            self.console.print(shown)

    # The end

    @property
    def errored(self) -> int:
        """How many rows have errors."""
        return sum(row.count("error") > 0 for row in self.rows.values())

    def close(self) -> None:
        """Print what has not ended by itself, and every message whole."""
        unfinished = [row for row in self.rows.values() if not self.is_done(row)]
        self.over = True
        for row in unfinished:
            self.updated(row)
        self.print_diagnostics()

    def print_diagnostics(self) -> None:
        """Messages by resource; what failed first, what the stack says of it last."""

        def rank(row: Row) -> tuple[bool, bool]:
            return not row.count("error"), is_stack(row.urn) or not row.urn

        rows = [row for row in self.rows.values() if row.messages or any(line.strip() for line in row.printed)]
        for number, row in enumerate(sorted(rows, key=rank)):
            if number == 0:
                self._print(Text("Diagnostics:", "bold"))
            type_, name = self.names(row)
            self._print(Text(f"  {type_} ({name}):", "blue"))
            for severity, message in sorted(row.messages, key=lambda entry: entry[0] != "error"):
                style = {"error": "red", "warning": "yellow"}.get(severity, "")
                self._message(prefixed(severity, message), style)
            if row.messages:
                self._print(Text(""))
            if row.printed:
                self._message("\n".join(row.printed), "")
                self._print(Text(""))

    def _message(self, message: str, style: str) -> None:
        for line in redact(message).rstrip().split("\n"):
            self._print(Text(f"    {line.rstrip()}".rstrip(), style))

    def outputs(self, show_sames: bool) -> Text:
        """The stack's outputs, as far as they are news. Those that go with it are, if it was there from the start."""
        row = self.rows.get(self._stack_urn)
        if row is None or row.step is None or self._stack_came_last:
            return Text()
        return outputs_text(row.step, row.op, 1, planning=self.preview, show_sames=show_sames)
