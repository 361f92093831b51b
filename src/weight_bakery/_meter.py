"""How far a bake is, how fast it goes, and how long it will take: arithmetic over events, shown by others."""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from weight_bakery._events import Event, LayerAdvanced, LayerFinished, LayerPlanned, Planned

_WINDOW_S = 10.0
"""Rates are those of the last seconds: an average since the start says nothing about now."""


class _Rate:
    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._marks: deque[tuple[float, int]] = deque()  # from the first bytes on: what was before is no transfer
        self.done = 0

    def add(self, size: int) -> None:
        self.done += size
        now = self._clock()
        if not self._marks or now - self._marks[-1][0] >= _WINDOW_S / 20:
            self._marks.append((now, self.done))
        while len(self._marks) > 2 and now - self._marks[1][0] > _WINDOW_S:
            self._marks.popleft()

    def per_second(self) -> float | None:
        """Bytes per second, None when nothing can be said."""
        if not self._marks:
            return None
        then, before = self._marks[0]
        seconds = self._clock() - then
        return (self.done - before) / seconds if seconds > 0 and self.done > before else None


@dataclass(frozen=True)
class Standing:
    """How far something is."""

    done: int
    size: int
    rate: float | None
    """Bytes per second lately."""

    @property
    def left_s(self) -> float | None:
        """Seconds until it is done, at this rate."""
        return (self.size - self.done) / self.rate if self.rate else None


class Meter:
    """Takes in events; answers how each layer and the whole bake stand."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.layers: dict[int, LayerPlanned] = {}
        self.activity: dict[int, str] = {}
        self._rates: dict[int, _Rate] = {}
        self._finished: set[int] = set()
        self._sent = _Rate(clock)

    def take(self, event: Event) -> None:
        """Take in an event."""
        match event:
            case Planned():
                self.layers = {layer.index: layer for layer in event.layers}
            case LayerAdvanced():
                self._finished.discard(event.index)  # a layer that turned out to be damaged goes once more
                if self.activity.get(event.index) != event.activity:
                    self.activity[event.index] = event.activity
                    self._rates[event.index] = _Rate(self._clock)
                self._rates[event.index].add(event.size)
                if event.activity == "sending":
                    self._sent.add(event.size)
            case LayerFinished():
                self._finished.add(event.index)
                self._rates.pop(event.index, None)
                self.activity.pop(event.index, None)

    def layer(self, index: int) -> Standing:
        """How a layer stands in what it is doing now."""
        size = self.layers[index].size
        if index in self._finished:
            return Standing(size, size, None)
        rate = self._rates.get(index)
        return Standing(rate.done, size, rate.per_second()) if rate else Standing(0, size, None)

    def total(self) -> Standing:
        """How the bake stands: finished layers and what has been sent of the others."""
        done = sum(self.layers[index].size for index in self._finished)
        done += sum(rate.done for index, rate in self._rates.items() if self.activity[index] == "sending")
        return Standing(done, sum(layer.size for layer in self.layers.values()), self._sent.per_second())
