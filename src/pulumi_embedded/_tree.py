"""Values and their differences as indented text in the CLI's form.

    ~ tags    : {
        - gone: true
        ~ x   : [
            ~ [1]: 2 => 3
          ]
      }

The marks `+ - ~` stand in the last two columns of a line's indentation. Secrets are `[secret]`, unknowns `[unknown]`.
"""

import difflib
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import yaml
from rich.text import Text

from pulumi_embedded._show import COLOUR, MARK
from pulumi_embedded._steps import CREATE, DELETE, SAME, UPDATE
from pulumi_embedded._treediff import PartsDiff, ValueDiff, is_internal, value_diff
from pulumi_embedded._values import ResourceRef, Secret, Unknown, equal
from redaction import REDACTED, redact

_ESCAPES = {
    "\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t", "\r": "\\r", "\a": "\\a", "\b": "\\b", "\f": "\\f",
    "\v": "\\v",
}  # fmt: skip
_CONTEXT = 2
"""Unchanged lines shown around changed ones in a text of several lines."""


def quoted(text: str) -> str:
    """The text in double quotes, on one line."""

    def character(char: str) -> str:
        if char in _ESCAPES:
            return _ESCAPES[char]
        if char.isprintable():
            return char
        code = ord(char)
        return f"\\x{code:02x}" if code < 0x80 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"

    return '"' + "".join(character(char) for char in text) + '"'


def worth_showing(value: Any) -> bool:
    """Nulls and empty texts, lists and objects say nothing."""
    return value is not None and value != "" and value != [] and value != {}


def _leaf(value: Any) -> bool:
    return not isinstance(value, list | dict | ResourceRef)


def _document(text: str) -> tuple[Any, str] | None:
    """The object or list a text holds as JSON, or (over several lines) as YAML."""
    text = text.strip()
    try:
        found, kind = json.loads(text), "json"
    except ValueError:
        if "\n" not in text and "\r" not in text:
            return None
        try:
            found, kind = yaml.safe_load(text), "yaml"
        except (yaml.YAMLError, ValueError):
            return None
    return (found, kind) if isinstance(found, dict | list) and _plain(found) else None


def _plain(value: Any) -> bool:
    if isinstance(value, dict):
        return all(isinstance(key, str) and _plain(item) for key, item in value.items())
    if isinstance(value, list):
        return all(_plain(item) for item in value)
    return value is None or isinstance(value, str | int | float)


@dataclass(frozen=True)
class Printer:
    """Writes at an indentation, with the mark and colour of an operation. Copies of it share what was written."""

    out: Text
    indent: int
    op: str = SAME
    marked: bool = False

    # Pieces

    def _with(self, op: str, marked: bool = True) -> "Printer":
        return replace(self, op=op, marked=marked)

    def _in(self, levels: int) -> "Printer":
        return replace(self, indent=self.indent + levels)

    def write(self, text: str) -> None:
        """Some text in the operation's colour."""
        self.out.append(text, COLOUR.get(self.op, ""))

    def pad(self, marked: bool = False) -> None:
        """A line's beginning."""
        space = "    " * self.indent
        self.write(space[:-2] + MARK[self.op] if marked and space else space)

    def title(self, key: str | int, width: int) -> None:
        """`key : ` at a line's beginning; a list's position as `[0]: `."""
        self.pad(self.marked)
        self.write(f"[{key}]: " if isinstance(key, int) else f"{redact(key):<{width}}: ")

    # Values

    def properties(self, values: Mapping[str, Any]) -> None:
        """`key: value`, a line or more for each."""
        width = max(map(len, values), default=0)
        for key in sorted(values):
            if not is_internal(key):
                self.title(key, width)
                self.line(values[key])

    def line(self, value: Any) -> None:
        """A value and the end of its line."""
        self.value(value)
        self.write("\n")

    def value(self, value: Any) -> None:
        """A value; what belongs to it goes on at this indentation."""
        if isinstance(value, ResourceRef):
            self.write("{\n")
            for key, part in (("URN", value.urn), ("ID", value.id), ("PackageVersion", value.package_version)):
                self._in(1).title(key, 3)
                self._in(1).line(part)
            self.pad()
            self.write("}")
        elif isinstance(value, list) and value:
            self.write("[\n")
            for index, item in enumerate(value):
                self.pad(self.marked)
                self.write(f"    [{index}]: ")
                self._in(1).line(item)
            self.pad()
            self.write("]")
        elif isinstance(value, dict) and value:
            self.write("{\n")
            self._in(1).properties(value)
            self.pad()
            self.write("}")
        else:
            self._leaf(value)

    def _leaf(self, value: Any) -> None:
        if isinstance(value, Secret):
            self.write(REDACTED)
        elif isinstance(value, Unknown):
            self.write("[unknown]")
        elif isinstance(value, str):
            document = _document(value)
            if document is None:
                self.write(quoted(redact(value)))
            else:
                self.write(f"({document[1]}) ")
                self.line(document[0])
        elif isinstance(value, bool):
            self.write("true" if value else "false")
        else:
            self.write("<null>" if value is None else "[]" if value == [] else "{}" if value == {} else str(value))

    # Differences

    def difference(self, parts: PartsDiff, only: Collection[str | int] | None = None) -> None:
        """The parts of an object that differ (all of them, or those of `only`), and those that do not."""
        keys = [key for key in parts.keys() if only is None or key in only]  # noqa: SIM118 - not a mapping
        width = max((len(str(key)) for key in keys), default=0)
        for key in keys:
            self.part(parts, key, width)

    def part(self, parts: PartsDiff, key: str | int, width: int) -> None:
        """One part of an object."""
        self._part(parts, key, lambda printer: printer.title(key, width), self)

    def _part(self, parts: PartsDiff, key: str | int, title: "Callable[[Printer], None]", printer: "Printer") -> None:
        if key in parts.adds:
            printer._whole(CREATE, parts.adds[key], title)
        elif key in parts.deletes:
            printer._whole(DELETE, parts.deletes[key], title)
        elif key in parts.updates:
            printer._changed(parts.updates[key], title)
        elif isinstance(key, int) or worth_showing(parts.sames[key]):
            same = printer._with(SAME, False)
            title(same)
            same.line(parts.sames[key])

    def _whole(self, op: str, value: Any, title: "Callable[[Printer], None]") -> None:
        printer = self._with(op)
        title(printer)
        printer.line(value)

    def _changed(self, change: ValueDiff, title: "Callable[[Printer], None]") -> None:
        printer = self._with(UPDATE)
        parts = change.children
        if parts is not None:
            as_list = all(isinstance(key, int) for key in parts.keys())  # noqa: SIM118 - not a mapping
            title(printer)
            printer.write("[\n" if as_list else "{\n")
            if as_list:
                printer._items(parts)
            else:
                printer._in(1).difference(parts)
            printer.pad()
            printer.write("]\n" if as_list else "}\n")
            return
        old, new = worth_showing(change.old), worth_showing(change.new)
        if old and new and _leaf(change.old) and _leaf(change.new):
            title(printer)
            if isinstance(change.old, str) and isinstance(change.new, str):
                printer._text(redact(change.old), redact(change.new))
                return
            printer._with(DELETE)._leaf(change.old)
            printer.write(" => ")
            printer._with(CREATE)._leaf(change.new)
            printer.write("\n")
            return
        if old:
            printer._whole(DELETE, change.old, title)
        if new:
            printer._whole(CREATE, change.new, title)

    def _items(self, parts: PartsDiff) -> None:
        for index in parts.keys():  # noqa: SIM118 - not a mapping
            self._part(parts, index, lambda printer, key=index: printer._in(-1).title(key, 0), self._in(2))  # type: ignore[misc]

    # Texts

    def _text(self, old: str, new: str) -> None:
        before, after = _document(old), _document(new)
        if before is not None and after is not None and not equal(before[0], after[0]):
            self.write(f"({before[1]}) " if before[1] == after[1] else f"({before[1]} => {after[1]}) ")
            change = value_diff(before[0], after[0])
            assert change is not None
            self._changed(change, lambda _: None)
        elif "\n" in old or "\n" in new:
            self._in(1)._lines(old, new)
        else:
            self._with(DELETE).write(quoted(old))
            self.write(" => ")
            self._with(CREATE).write(quoted(new))
            self.write("\n")

    def _lines(self, old: str, new: str) -> None:
        self.write("\n")
        before, after = old.split("\n"), new.split("\n")
        blocks = difflib.SequenceMatcher(None, before, after, autojunk=False).get_opcodes()
        for number, (kind, a, b, c, d) in enumerate(blocks):
            if kind == "equal":
                self._same_lines([line for line in before[a:b] if line.strip()], number > 0, number < len(blocks) - 1)
            else:
                self._with(DELETE)._write_lines(before[a:b])
                self._with(CREATE)._write_lines(after[c:d])

    def _same_lines(self, lines: Sequence[str], follows: bool, goes_on: bool) -> None:
        same = self._with(SAME, False)
        head, tail = _CONTEXT if follows else 0, _CONTEXT if goes_on else 0
        if len(lines) <= head + tail + 1 or not (follows or goes_on):
            same._write_lines(lines)
            return
        same._write_lines(lines[:head])
        same._write_lines(["..."])
        same._write_lines(lines[len(lines) - tail :])

    def _write_lines(self, lines: Sequence[str]) -> None:
        for line in lines:
            if line.strip():
                self.pad(self.marked)
                self.write(f"{line}\n")
