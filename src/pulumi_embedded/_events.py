"""What an operation tells while it runs. The engine emits; displays, the JSON preview and tests listen."""

from collections.abc import Mapping
from typing import Any, Protocol

from pulumi_embedded._steps import Step


class Events(Protocol):
    """A listener. Every text it gets may hold secrets: it redacts before it shows."""

    def step_started(self, step: Step) -> None:
        """A step begins."""

    def step_ended(self, step: Step, error: str | None) -> None:
        """A step has ended; `error` says why it failed."""

    def outputs_registered(self, step: Step, /) -> None:
        """A component's outputs are known."""

    def diagnostic(self, severity: str, urn: str, message: str, ephemeral: bool = False) -> None:
        """`debug`, `info`, `warning` or `error`; ephemeral ones are a row's status, not a message."""

    def program_output(self, line: str, is_error: bool, /) -> None:
        """A line the program printed."""

    def stack_outputs(self, outputs: Mapping[str, Any], /) -> None:
        """What the stack exports, at the end."""


class Fan:
    """Passes everything to several listeners."""

    def __init__(self, *listeners: Events) -> None:
        self._listeners = listeners

    def step_started(self, step: Step) -> None:
        for listener in self._listeners:
            listener.step_started(step)

    def step_ended(self, step: Step, error: str | None) -> None:
        for listener in self._listeners:
            listener.step_ended(step, error)

    def outputs_registered(self, step: Step) -> None:
        for listener in self._listeners:
            listener.outputs_registered(step)

    def diagnostic(self, severity: str, urn: str, message: str, ephemeral: bool = False) -> None:
        for listener in self._listeners:
            listener.diagnostic(severity, urn, message, ephemeral)

    def program_output(self, line: str, is_error: bool) -> None:
        for listener in self._listeners:
            listener.program_output(line, is_error)

    def stack_outputs(self, outputs: Mapping[str, Any]) -> None:
        for listener in self._listeners:
            listener.stack_outputs(outputs)
