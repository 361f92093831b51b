"""The errors of the components: all mistakes of one call at once, each with the argument it is about."""

from collections.abc import Sequence

# An error is named for its cause, so the suffix would only repeat the base class.


class ComponentError(Exception):
    """A component that cannot be made as asked."""


class InvalidArguments(ComponentError):
    """One or more arguments are wrong. `mistakes` holds pairs of argument and reason."""

    def __init__(self, component: str, mistakes: Sequence[tuple[str, str]]) -> None:
        self.component = component
        self.mistakes = tuple(mistakes)
        lines = [f"{argument}: {reason}" for argument, reason in self.mistakes]
        super().__init__(f"{component}: " + (lines[0] if len(lines) == 1 else "\n  " + "\n  ".join(lines)))
