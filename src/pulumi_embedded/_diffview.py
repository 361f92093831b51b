"""What `--diff` shows: every resource with the properties that change, as a tree, in the order things happen.

Also the `Outputs:` of the plain display, which are the same text for the stack alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TextIO

from rich.console import Console
from rich.text import Text

from pulumi_embedded._show import COLOUR, MARK, is_shown, is_stack, retained
from pulumi_embedded._steps import (
    CREATE,
    DELETE,
    DELETE_REPLACED,
    DISCARD,
    DISCARD_REPLACED,
    IMPORT,
    IMPORT_REPLACEMENT,
    READ,
    READ_REPLACEMENT,
    REFRESH,
    SAME,
    UPDATE,
    Step,
)
from pulumi_embedded._tree import Printer, worth_showing
from pulumi_embedded._treediff import (
    PartsDiff,
    ValueDiff,
    detailed_of,
    hidden_paths,
    is_internal,
    object_diff,
    step_diff,
)
from pulumi_embedded._urn import split_provider
from pulumi_embedded._values import Unknown, equal
from redaction import redact

_READ_ALREADY = (READ, READ_REPLACEMENT, IMPORT, IMPORT_REPLACEMENT)
_KEEP_COLOUR = (CREATE, DELETE, DELETE_REPLACED, DISCARD, DISCARD_REPLACED)


def safe(text: Text) -> Text:
    """The text, redacted once more as a whole; what had to be taken out takes the colours with it."""
    plain = redact(text.plain)
    return text if plain == text.plain else Text(plain)


def outputs_text(
    step: Step, op: str, indent: int, *, planning: bool, refresh: bool = False, show_sames: bool = False
) -> Text:
    """Outputs that differ from before, or that say more than the inputs do. Empty when there is nothing to tell."""
    out = Text()
    stack = is_stack(step.urn)
    if planning and not (refresh or stack or op in _READ_ALREADY):
        return out  # not known to be complete
    show_sames = show_sames or (stack and not planning)
    if step.old is not None and step.old.init_errors:
        return out
    ins, outs = ({}, {}) if step.new is None else (step.new.inputs, step.new.outputs)
    parts: PartsDiff | None = None
    printer = Printer(out, indent, op)
    if step.old is not None:
        shown_old, shown_new = (_without(side, step) for side in (step.old.outputs, outs))
        parts = object_diff(shown_old, shown_new)
        if planning and stack and parts is not None:
            _drop_unknown(parts)
        if parts is None and not show_sames:
            return out
    keys = sorted(outs) if parts is None else [str(key) for key in parts.keys()]  # noqa: SIM118 - not a mapping
    width = max(map(len, keys), default=0)
    for key in keys:
        value = outs.get(key)
        if parts is None and (is_internal(key) or not worth_showing(value)):
            continue
        if key in ins and not refresh and equal(value, ins[key]):
            continue
        if parts is None:
            printer.title(key, width)
            printer.line(value)
        elif show_sames or key not in parts.sames:
            printer.part(parts, key, width)
    return out


def _without(values: Mapping[str, Any], step: Step) -> dict[str, Any]:
    hidden = set(hidden_paths(step))
    return {key: value for key, value in values.items() if key not in hidden}


def _drop_unknown(parts: PartsDiff) -> None:
    """In a preview, outputs whose new value is not known yet are no news."""
    for key, change in list(parts.updates.items()):
        if isinstance(change.new, Unknown) or not _still_differs(change):
            del parts.updates[key]


def _still_differs(change: ValueDiff) -> bool:
    if change.children is None:
        return True
    _drop_unknown(change.children)
    return change.children.any


@dataclass
class _Seen:
    parent: str
    op: str
    counts: bool


@dataclass
class TreeView:
    """Listens, and prints each resource's tree. Messages go to `errors` as they come."""

    out: Console
    errors: TextIO
    preview: bool
    standalone_refresh: bool
    show_sames: bool
    show_parts: bool
    suppress_outputs: bool
    errored: int = 0
    _seen: dict[str, _Seen] = field(default_factory=dict)

    def _level(self, step: Step) -> int:
        level, parent = 0, step.res.parent
        while parent in self._seen:
            known = self._seen[parent]
            level += known.counts
            parent = known.parent
        return level

    def _shown(self, step: Step) -> bool:
        return is_stack(step.urn) or is_shown(step, self.show_sames, self.show_parts)

    def _print(self, text: Text) -> None:
        if text:
            self.out.print(safe(text), end="")

    # Listening

    def step_started(self, step: Step) -> None:
        if step.internal:
            return
        self._seen[step.urn] = _Seen(step.res.parent, step.op, self._shown(step))
        if step.op not in (REFRESH, IMPORT) and self._shown(step):
            self._resource(step, step.op, refresh=False)

    def step_ended(self, step: Step, error: str | None) -> None:
        if error is not None:
            self.errored += not self.preview
        elif self.preview or step.res.custom or step.op in (REFRESH, DELETE):
            op = step.result_op if self.standalone_refresh else step.op
            self._ended(step, op)

    def outputs_registered(self, step: Step, /) -> None:
        self._ended(step, step.op)

    def _ended(self, step: Step, op: str) -> None:
        shown = self._shown(step) if op == step.op else op != SAME or self.show_sames
        if not is_stack(step.urn) and (step.internal or not shown):
            return
        known = self._seen.get(step.urn)
        refresh = known is not None and known.op == REFRESH
        if op == IMPORT or (refresh and op == UPDATE):
            self._resource(step, op, refresh)
            return
        level = self._level(step)
        text = outputs_text(
            step, op, level + 1, planning=self.preview, refresh=refresh, show_sames=self.show_sames
        )  # fmt: skip
        if refresh and (op != REFRESH or text or is_stack(step.urn)):
            self._print(self._heading(step, op, level))
        if text and not self.suppress_outputs:
            self._print(Text("    " * (level + 1) + "--outputs:--\n", COLOUR.get(op, "")))
            self._print(text)

    def _resource(self, step: Step, op: str, refresh: bool) -> None:
        level = self._level(step)
        text = self._heading(step, op, level)
        if op != SAME:
            self._details(Printer(text, level + 1, op), step, op, refresh)
        self._print(text)

    def _heading(self, step: Step, op: str, level: int) -> Text:
        old, new = step.old, step.new
        text = Text("    " * level)
        text.append(MARK[op], COLOUR.get(op, ""))
        lock = " 🔒" if (new or old) is not None and ((new and new.protect) or (old and old.protect)) else ""
        if new is not None and not new.protect and old is not None and old.protect:
            lock = " 🔓"
        text.append(f"{step.res.type}: ({op}{retained(step, op)}){lock}\n")
        printer = Printer(text, level + 1, op if op in _KEEP_COLOUR else SAME)
        facts = [f"[id={old.id}]"] if old is not None and isinstance(old.id, str) and old.id else []
        facts.append(f"[urn={redact(step.urn)}]")
        facts += _provider_fact(step)
        for fact in facts:
            printer.pad()
            printer.write(f"{fact}\n")
        return text

    @staticmethod
    def _details(printer: Printer, step: Step, op: str, refresh: bool) -> None:
        old, new = step.old, step.new
        if detailed_of(step) is not None and old is not None and new is not None:
            parts, hidden = step_diff(step, refresh)
            for path in hidden:
                marked = Printer(printer.out, printer.indent, UPDATE)
                marked.pad(True)
                marked.write(f"{path} (hidden)\n")
            if parts is not None:
                printer.difference(parts)
            elif not hidden:
                Printer(printer.out, printer.indent, SAME, True).properties(old.inputs)
        elif new is None:
            assert old is not None
            printer.properties(old.inputs)
        elif old is None:
            printer.properties(new.outputs or new.inputs)
        else:
            by_outputs = bool(new.outputs) and op not in (IMPORT, IMPORT_REPLACEMENT)
            before, after = (old.outputs, new.outputs) if by_outputs else (old.inputs, new.inputs)
            parts = object_diff(before, after)
            only = None if by_outputs or not step.diffs else set(step.diffs)
            if parts is None:
                Printer(printer.out, printer.indent, SAME, True).properties(after)
            else:
                printer.difference(parts, only)

    def diagnostic(self, severity: str, urn: str, message: str, ephemeral: bool = False) -> None:  # noqa: ARG002
        if severity == "debug":
            return
        prefix = f"{severity}: " if severity in ("error", "warning") else ""
        print(redact(prefix + message.rstrip("\n")), file=self.errors, flush=True)

    def program_output(self, line: str, _is_error: bool, /) -> None:
        print(redact(line), file=self.errors, flush=True)

    def stack_outputs(self, _outputs: Mapping[str, Any], /) -> None:
        return

    def close(self) -> None:
        """Nothing is left to be shown."""


def _provider_fact(step: Step) -> list[str]:
    provider = step.res.provider
    if not provider:
        return []
    old, new = step.old, step.new
    if old is not None and new is not None and old.provider != new.provider:
        urn, id_ = split_provider(new.provider)
        after = new.provider if isinstance(id_, str) and "04da6b54" not in id_ else f"{urn}::[unknown]"
        return [f"[provider: {old.provider} => {after}]"]
    name = split_provider(provider)[0].split("::")[-1]
    return [] if name == "default" else [f"[provider={provider}]"]
