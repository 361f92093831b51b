"""Showing a bake.

To people: bars on a terminal and plain lines everywhere else, both on stderr. To programs: JSON lines on stdout
(docs/bake-json.md).
"""

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import IO, Any, Self

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import TransferSpeedColumn as Speed

from redaction import redact
from weight_bakery._events import Event, LayerAdvanced, LayerFinished, LayerPlanned, Note, Planned, Unit
from weight_bakery._events import Progress as Listener
from weight_bakery._meter import Meter, Standing

_WORDS = {"sent": "done", "present": "already there", "mounted": "mounted"}
_LINE_EVERY_S = 10.0
_JSON_EVERY_S = 1.0


def human_size(size: int) -> str:
    """A size as people read it."""
    value = float(size)
    for unit in ("B", "KiB", "MiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.2f} GiB"


def people_console(file: IO[str] | None = None, **options: Any) -> Console:
    """A console that prints names as they are: `:o:` in an image's name is no emoji, `[red]` in a file's no style."""
    return Console(file=file, markup=False, emoji=False, **options)


class ProgressDisplay:
    """A `Progress` callable and a context manager; call it with events between enter and exit."""

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = console
        self._bars = console.is_terminal
        self._progress = Progress(
            TextColumn("{task.description}", justify="left", markup=False),
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
        self._done: set[int] = set()
        self._total: TaskID | None = None
        self._clock = clock
        self._line_at = clock()
        self._meter = Meter(clock)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def __call__(self, event: Event) -> None:
        """Show an event."""
        self._meter.take(event)
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
        self._line(f"{event.target}: {_count(len(event.layers), event.unit)}, {human_size(total)}")
        self._total = self._progress.add_task("total", total=total)

    def _advanced(self, event: LayerAdvanced) -> None:
        layer = self._layers[event.index]
        self._done.discard(event.index)
        if self._activity.get(event.index) != event.activity:
            self._activity[event.index] = event.activity
            self._moved[event.index] = 0
            self._hide(event.index)
            self._tasks[event.index] = self._progress.add_task(f"{event.activity} {layer.label}", total=layer.size)
        self._moved[event.index] += event.size
        self._progress.update(self._tasks[event.index], completed=self._moved[event.index])
        self._update_total()
        now = self._clock()
        if not self._bars and now - self._line_at >= _LINE_EVERY_S:
            self._line_at = now
            self._line(f"{event.activity} {layer.label}: {_standing(self._meter.layer(event.index))}")
            self._line(f"total: {_standing(self._meter.total())}")

    def _finished(self, event: LayerFinished) -> None:
        layer = self._layers[event.index]
        self._hide(event.index)
        self._moved.pop(event.index, None)
        self._activity.pop(event.index, None)
        self._done.add(event.index)
        self._update_total()
        self._line(f"{layer.label}: {human_size(layer.size)} {_WORDS[event.outcome]}")

    def _update_total(self) -> None:
        if self._total is not None:
            sending = sum(size for index, size in self._moved.items() if self._activity[index] == "sending")
            done = sum(self._layers[index].size for index in self._done)
            self._progress.update(self._total, completed=done + sending)

    def _hide(self, index: int) -> None:
        task = self._tasks.pop(index, None)
        if task is not None:
            self._progress.remove_task(task)

    def _line(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)


class JsonLines:
    """A `Progress` callable that writes each event as one JSON line; progress of a layer at most once a second."""

    def __init__(self, write: Callable[[str], object], clock: Callable[[], float] = time.monotonic) -> None:
        self._write = write
        self._clock = clock
        self._meter = Meter(clock)
        self._told: dict[tuple[int, str], float] = {}
        self._unit: Unit = "layer"

    def __call__(self, event: Event) -> None:
        """Write an event."""
        self._meter.take(event)
        match event:
            case Planned():
                self._unit = event.unit
                planned = [
                    {event.unit: layer.index, "role": layer.role, "label": layer.label, "size": layer.size}
                    for layer in event.layers
                ]
                size = self._meter.total().size
                self._line("planned", target=event.target, size=size, **{f"{event.unit}s": planned})
            case LayerAdvanced():
                now = self._clock()
                key = (event.index, event.activity)
                if now - self._told.get(key, -_JSON_EVERY_S) >= _JSON_EVERY_S:
                    self._told[key] = now
                    where = {self._unit: event.index, **_numbers(self._meter.layer(event.index))}
                    self._line("progress", activity=event.activity, **where, total=_numbers(self._meter.total()))
            case LayerFinished():
                size = self._meter.layers[event.index].size
                total = _numbers(self._meter.total())
                self._line(self._unit, **{self._unit: event.index}, outcome=event.outcome, size=size, total=total)
            case Note():
                self._line("note", text=redact(event.text))

    def _line(self, event: str, **content: object) -> None:
        self._write(json.dumps({"event": event, **content}, sort_keys=True))


@contextmanager
def display(console: Console, *, as_json: bool) -> Iterator[Listener]:
    """Show events to people on `console`, or to programs on stdout."""
    if as_json:
        yield JsonLines(_print_line)
        return
    with ProgressDisplay(console) as shown:
        yield shown


def _print_line(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _numbers(standing: Standing) -> dict[str, int | float | None]:
    left, rate = standing.left_s, standing.rate
    return {
        "done": standing.done,
        "size": standing.size,
        "bytes_per_second": None if rate is None else round(rate),
        "seconds_left": None if left is None else round(left, 1),
    }


def _count(number: int, unit: Unit) -> str:
    return f"{number} {unit}" if number == 1 else f"{number} {unit}s"


def _standing(standing: Standing) -> str:
    text = f"{human_size(standing.done)} of {human_size(standing.size)}"
    if standing.rate is None or standing.left_s is None:
        return text
    minutes, seconds = divmod(round(standing.left_s), 60)
    return f"{text}, {human_size(round(standing.rate))}/s, {minutes}:{seconds:02} left"
