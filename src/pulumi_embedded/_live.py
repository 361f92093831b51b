"""The rows on a terminal: a table with the tree of resources in it, drawn again while they change."""

from collections.abc import Iterator

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from pulumi_embedded._diffview import safe
from pulumi_embedded._display import Progress, Row, prefixed
from pulumi_embedded._show import COLOUR, MARK, is_stack
from pulumi_embedded._steps import CREATE_REPLACEMENT, DELETE_REPLACED, DISCARD_REPLACED, REPLACE

_PARTS = (CREATE_REPLACEMENT, DELETE_REPLACED, DISCARD_REPLACED)


class LiveProgress(Progress):
    """As `Progress`, on a terminal."""

    def __init__(self, console: Console, *, heading: str, **options: object) -> None:
        super().__init__(console, **options)  # type: ignore[arg-type]
        self._heading = heading
        self._live = Live(console=console, get_renderable=self._render, refresh_per_second=8, transient=True)
        self._live.start()

    def updated(self, row: Row) -> None:
        """The next drawing shows it."""

    def shown_op(self, row: Row) -> str:
        """Parts of a replacement are one thing, unless something failed: then it is shown how far it came."""
        together = row.op in _PARTS and (self.preview or self.over) and not self.any_failed
        return REPLACE if together else row.op

    def said(self, row: Row) -> str:
        """An error is not replaced by what is said after it."""
        errors = [message for severity, message in row.messages if severity == "error"]
        return prefixed("error", errors[-1]) if errors else super().said(row)

    def _visible(self) -> Iterator[tuple[str, Row]]:
        """(lines of the tree, row), parents before their children; a hidden row only if something hangs below it."""
        children: dict[str, list[Row]] = {}
        root = next((row for row in self.rows.values() if is_stack(row.urn) or not row.urn), None)
        for row in self.rows.values():
            if row is not root:
                parent = row.step.res.parent if row.step is not None else ""
                known = parent in self.rows or root is None
                children.setdefault(parent if known else root.urn if root else "", []).append(row)

        def needed(row: Row) -> bool:
            return not row.hidden or any(needed(child) for child in children.get(row.urn, ()))

        def below(rows: list[Row], lines: str) -> Iterator[tuple[str, Row]]:
            shown = [row for row in rows if needed(row)]
            for number, row in enumerate(shown):
                last = number == len(shown) - 1
                yield lines + ("└─ " if last else "├─ "), row
                yield from below(children.get(row.urn, []), lines + ("   " if last else "│  "))

        if root is None:
            yield from below(children.get("", []), "")
        else:
            yield "", root
            yield from below(children.get(root.urn, []), "")

    def _table(self) -> list[tuple[Row | None, Text]]:
        heads = ["Type", "Name", "Plan" if self.preview else "Status", "Info"]
        cells: list[tuple[Row | None, list[str]]] = [(None, heads)]
        for lines, visible in self._visible():
            type_, name = self.names(visible)
            cells.append((visible, [lines + type_, name, self.status(visible), self.info(visible)]))
        if not any(texts[3] for row, texts in cells if row is not None):
            heads[3] = ""
        widths = [max(len(texts[column]) for _, texts in cells) for column in range(3)]
        table: list[tuple[Row | None, Text]] = []
        for row, texts in cells:
            op = self.shown_op(row) if row is not None else "same"
            style = "red" if row is not None and row.failed else COLOUR.get(op, "")
            text = Text(f" {MARK[op]}  ", style)
            text.append(f"{texts[0]:<{widths[0]}}  {texts[1]:<{widths[1]}}  ", "bold" if row is None else "default")
            text.append(f"{texts[2]:<{widths[2]}}", "bold" if row is None else style)
            text.append(f"  {texts[3]}", "bold" if row is None else "default")
            text.rstrip()
            text = safe(text)
            text.truncate(max(self.console.size.width - 1, 10), overflow="ellipsis")
            table.append((row, text))
        return table

    def _render(self) -> Group:
        table = self._table()
        height = max(self.console.size.height - 3, 5)
        hidden = len(table) - height
        if hidden > 0:
            # The ones at work are what is watched for.
            busy = [entry for entry in table if entry[0] is None or not self.is_done(entry[0])]
            rest = [entry for entry in table if entry not in busy]
            keep = {id(text) for _, text in (*busy, *rest)[:height]}
            table = [entry for entry in table if id(entry[1]) in keep]
        lines = [text for _, text in table]
        if hidden > 0:
            lines.append(Text(f"    … and {hidden} more", style="dim"))
        return Group(Text(f"{self._heading}…", style="dim"), *lines)

    def close(self) -> None:
        """Leave the table as it ended, and every message whole."""
        self._live.stop()
        self.over = True
        for _, text in self._table():
            self.console.print(text)
        self.console.print()
        self.print_diagnostics()
