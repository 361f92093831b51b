"""Showing a bake to people: bars that update on a terminal, plain lines everywhere else. Both write to stderr."""

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import TransferSpeedColumn as Speed

from weight_bakery._events import Event, LayerAdvanced, LayerFinished, LayerPlanned, Note, Planned

_WORDS = {"sent": "done", "present": "already there", "mounted": "mounted"}
_LINE_EVERY_S = 10.0


def human_size(size: int) -> str:
    """A size as people read it."""
    value = float(size)
    for unit in ("B", "KiB", "MiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.2f} GiB"


class ProgressDisplay:
    """A `Progress` callable and a context manager; call it with events between enter and exit."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bars = console.is_terminal
        self._progress = Progress(
            TextColumn("{task.description}", justify="left"),
            BarColumn(bar_width=28),
            DownloadColumn(binary_units=True),
            Speed(),
            TimeRemainingColumn(compact=True),
            console=console,
            transient=True,
            disable=not self._bars,
        )
        self._layers: dict[int, LayerPlanned] = {}
        self._tasks: dict[int, TaskID] = {}
        self._activity: dict[int, str] = {}
        self._moved: dict[int, int] = {}
        self._finished_bytes = 0
        self._total: TaskID | None = None
        self._line_at = time.monotonic()

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def __call__(self, event: Event) -> None:
        """Show an event."""
        match event:
            case Planned():
                self._planned(event)
            case LayerAdvanced():
                self._advanced(event)
            case LayerFinished():
                self._finished(event)
            case Note():
                self._line(event.text)

    def _planned(self, event: Planned) -> None:
        self._layers = {layer.index: layer for layer in event.layers}
        total = sum(layer.size for layer in event.layers)
        self._line(f"{event.target}: {len(event.layers)} layers, {human_size(total)}")
        self._total = self._progress.add_task("total", total=total)

    def _advanced(self, event: LayerAdvanced) -> None:
        layer = self._layers[event.index]
        if self._activity.get(event.index) != event.activity:
            self._activity[event.index] = event.activity
            self._moved[event.index] = 0
            self._hide(event.index)
            self._tasks[event.index] = self._progress.add_task(f"{event.activity} {layer.label}", total=layer.size)
        self._moved[event.index] += event.size
        self._progress.update(self._tasks[event.index], completed=self._moved[event.index])
        self._update_total()
        now = time.monotonic()
        if not self._bars and now - self._line_at >= _LINE_EVERY_S:
            self._line_at = now
            done = human_size(self._moved[event.index])
            self._line(f"{event.activity} {layer.label}: {done} of {human_size(layer.size)}")

    def _finished(self, event: LayerFinished) -> None:
        layer = self._layers[event.index]
        self._hide(event.index)
        self._moved.pop(event.index, None)
        self._finished_bytes += layer.size
        self._update_total()
        self._line(f"{layer.label}: {human_size(layer.size)} {_WORDS[event.outcome]}")

    def _update_total(self) -> None:
        if self._total is not None:
            sending = sum(size for index, size in self._moved.items() if self._activity[index] == "sending")
            self._progress.update(self._total, completed=self._finished_bytes + sending)

    def _hide(self, index: int) -> None:
        task = self._tasks.pop(index, None)
        if task is not None:
            self._progress.remove_task(task)

    def _line(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)
