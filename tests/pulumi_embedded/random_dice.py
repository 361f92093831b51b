"""All of chance in the told stories."""

import random
from typing import Any


class Dice:
    """All of chance. Only `random()` is asked, which is the same in every Python."""

    def __init__(self, source: random.Random) -> None:
        self._source = source

    def chance(self, likelihood: float) -> bool:
        """Whether it happens."""
        return self._source.random() < likelihood

    def number(self, low: int, high: int) -> int:
        """A number, both ends included."""
        return low + min(int(self._source.random() * (high - low + 1)), high - low)

    def pick(self, choices: Any) -> Any:
        """One of them."""
        return choices[self.number(0, len(choices) - 1)]

    def weighted(self, choices: dict[str, int]) -> str:
        """One of the names, as often as their weights say."""
        drawn = self.number(0, sum(choices.values()) - 1)
        for choice, weight in choices.items():
            drawn -= weight
            if drawn < 0:
                return choice
        raise AssertionError("the weights do not add up")
