"""What an operation did, collected for the summary, the JSON preview and the history."""

from collections.abc import Mapping
from typing import Any

from pulumi_embedded._steps import DELETE, READ, REFRESH, SAME, Step
from pulumi_embedded._values import equal


class Collector:
    """Counts changes as the CLI does, and keeps the steps in the order they began."""

    def __init__(self, refresh: bool = False) -> None:
        self._refresh = refresh
        self.counts: dict[str, int] = {}
        self.steps: list[Step] = []
        self.failed: list[tuple[Step, str]] = []
        self.diagnostics: list[tuple[str, str, str]] = []
        self.outputs: Mapping[str, Any] = {}

    def step_started(self, step: Step) -> None:
        self.steps.append(step)

    def step_ended(self, step: Step, error: str | None) -> None:
        if error is not None:
            self.failed.append((step, error))
            return
        op, counted = step.op, step.logical
        if op == REFRESH and self._refresh:
            op, counted = step.result_op, True
        if op == READ:
            counted = step.old is not None and step.new is not None and not equal(step.old.outputs, step.new.outputs)
        if counted and not step.internal:
            self.counts[op] = self.counts.get(op, 0) + 1

    def outputs_registered(self, _step: Step, /) -> None:
        return

    def diagnostic(self, severity: str, urn: str, message: str, ephemeral: bool = False) -> None:
        if not ephemeral and severity != "debug":
            self.diagnostics.append((severity, urn, message))

    def program_output(self, line: str, is_error: bool) -> None:
        self.diagnostics.append(("info#err" if is_error else "info", "", line))

    def stack_outputs(self, outputs: Mapping[str, Any]) -> None:
        self.outputs = outputs

    @property
    def has_changes(self) -> bool:
        """Whether anything but `same` was counted."""
        return any(count for op, count in self.counts.items() if op != SAME)

    def deletions(self) -> list[str]:
        """URNs that are deleted (for the question before it is done)."""
        return [step.urn for step in self.steps if step.op == DELETE]
