"""Machine-readable output in the CLI's forms: `preview --json` (one document) and event streams (a line per event).

Secrets are `[secret]` in both; a state in them is the state at the moment of the event.
"""

import json
import time
from collections.abc import Callable, Mapping
from typing import Any

from pulumi_embedded._config import ConfigValue
from pulumi_embedded._state import ResourceState, resource_to_json
from pulumi_embedded._statejson import NoSecrets, Sealer
from pulumi_embedded._steps import DELETE, REFRESH, SAME, UPDATE, Step
from pulumi_embedded._treediff import changed_keys, detailed_of
from pulumi_embedded._urn import STACK_TYPE
from pulumi_embedded._values import Secret, rebuild
from pulumi_embedded._wire import UNKNOWN_STRING
from redaction import REDACTED, redact

_REPLACEMENT_PARTS = {
    "create-replacement",
    "delete-replaced",
    "read-replacement",
    "discard-replaced",
    "import-replacement",
}


_SEALER = Sealer(NoSecrets())


def _blind(value: Any) -> Any:
    return REDACTED if isinstance(value, Secret) else redact(value) if isinstance(value, str) else value


def state_json(state: ResourceState) -> dict[str, Any]:
    """An entry as it stands in machine-readable output."""
    shown = state.copy()
    shown.inputs = rebuild(state.inputs, _blind)
    shown.outputs = rebuild(state.outputs, _blind)
    shown.replacement_trigger = rebuild(state.replacement_trigger, _blind)
    if not isinstance(shown.id, str):
        shown.id = UNKNOWN_STRING
    return resource_to_json(shown, _SEALER)


def config_json(config: Mapping[str, ConfigValue]) -> dict[str, str]:
    """Configuration with secrets blinded."""
    return {key: REDACTED if value.secret else redact(value.text) for key, value in sorted(config.items())}


def _detailed(step: Step) -> dict[str, Any] | None:
    detailed = detailed_of(step)
    if detailed is None:
        return None
    return {path: {"kind": d.kind, "inputDiff": d.input_diff} for path, d in sorted(detailed.items())}


class PreviewDocument:
    """Listens, and makes the one document of `preview --json`."""

    def __init__(
        self, config: Mapping[str, ConfigValue], show_sames: bool, show_replacement_steps: bool,
        standalone_refresh: bool = False,
    ) -> None:  # fmt: skip
        self._standalone_refresh = standalone_refresh
        self._config = config_json(config)
        self._show_sames = show_sames
        self._show_parts = show_replacement_steps
        self._steps: list[dict[str, Any]] = []
        self._diagnostics: list[dict[str, Any]] = []
        self._started = time.monotonic_ns()

    def _shown(self, step: Step) -> bool:
        if step.internal:
            return False
        if step.op == SAME:
            assert step.old is not None
            assert step.new is not None
            return self._show_sames or step.res.type == STACK_TYPE or step.old.protect != step.new.protect
        return self._show_parts or step.op not in _REPLACEMENT_PARTS

    @staticmethod
    def _entry(step: Step, op: str) -> dict[str, Any]:
        entry: dict[str, Any] = {"op": op, "urn": step.urn}
        if step.res.provider:
            entry["provider"] = step.res.provider
        if step.old is not None:
            entry["oldState"] = state_json(step.old)
        if step.new is not None:
            entry["newState"] = state_json(step.new)
        if changed_keys(step):
            entry["diffReasons"] = list(changed_keys(step))
        if step.keys:
            entry["replaceReasons"] = list(step.keys)
        entry["detailedDiff"] = _detailed(step)
        return entry

    def step_started(self, step: Step) -> None:
        if self._shown(step):
            self._steps.append(self._entry(step, step.op))

    def step_ended(self, step: Step, error: str | None) -> None:
        # What a refresh found stands for it; one that goes before something else is told as what it was when it began.
        if not self._standalone_refresh or step.op != REFRESH or error is not None:
            return
        if step.result_op == DELETE or (step.result_op == UPDATE and detailed_of(step) is not None):
            entry = self._entry(step, step.result_op)
            self._steps = [entry if known["urn"] == step.urn else known for known in self._steps]

    def outputs_registered(self, _step: Step, /) -> None:
        return

    def diagnostic(self, severity: str, urn: str, message: str, ephemeral: bool = False) -> None:
        if ephemeral or severity == "debug":
            return
        prefix = f"{severity}: " if severity in ("error", "warning") else ""
        entry = {"message": redact(f"{prefix}{message.rstrip()}\n"), "severity": severity}
        self._diagnostics.append({"urn": urn, **entry} if urn else entry)

    def program_output(self, line: str, is_error: bool) -> None:
        self._diagnostics.append({"message": redact(line), "severity": "info#err" if is_error else "info"})

    def stack_outputs(self, _outputs: Mapping[str, Any], /) -> None:
        return

    def text(self, counts: Mapping[str, int], maybe_corrupt: bool) -> str:
        """The document."""
        document: dict[str, Any] = {"config": self._config} if self._config else {}
        if self._steps:
            document["steps"] = self._steps
        if self._diagnostics:
            document["diagnostics"] = self._diagnostics
        document["duration"] = time.monotonic_ns() - self._started
        document["changeSummary"] = dict(sorted(counts.items()))
        if maybe_corrupt:
            document["maybeCorrupt"] = True
        return json.dumps(document, indent=4, ensure_ascii=False)


class EventStream:
    """Listens, and hands on one JSON line per event (`up --json`, `--event-log`)."""

    def __init__(self, write: Callable[[str], None], config: Mapping[str, ConfigValue], planning: bool) -> None:
        self._write = write
        self._planning = planning
        self._sequence = 0
        self._started = time.monotonic()
        self._emit("preludeEvent", {"config": config_json(config)})

    def _emit(self, kind: str, payload: Mapping[str, Any]) -> None:
        event = {"sequence": self._sequence, "timestamp": int(time.time()), kind: dict(payload)}
        self._sequence += 1
        self._write(json.dumps(event, ensure_ascii=False))

    def _metadata(self, step: Step, op: str) -> dict[str, Any]:
        return {
            "op": op,
            "urn": step.urn,
            "type": step.res.type,
            "old": None if step.old is None else state_json(step.old),
            "new": None if step.new is None else state_json(step.new),
            "keys": list(step.keys),
            "diffs": list(changed_keys(step)),
            "detailedDiff": _detailed(step),
            "logical": step.logical,
            "provider": step.res.provider,
        }

    def step_started(self, step: Step) -> None:
        payload = {"metadata": self._metadata(step, step.op)}
        self._emit("resourcePreEvent", payload | ({"planning": True} if self._planning else {}))

    def step_ended(self, step: Step, error: str | None) -> None:
        if error is not None:
            self._emit("resOpFailedEvent", {"metadata": self._metadata(step, step.op), "status": 2, "steps": 0})
        elif step.res.custom or step.op in (REFRESH, "delete"):
            payload = {"metadata": self._metadata(step, step.result_op)}
            self._emit("resOutputsEvent", payload | ({"planning": True} if self._planning else {}))

    def outputs_registered(self, step: Step) -> None:
        self._emit("resOutputsEvent", {"metadata": self._metadata(step, step.op)})

    def diagnostic(self, severity: str, urn: str, message: str, ephemeral: bool = False) -> None:
        payload = {
            "urn": urn, "message": redact(message), "color": "never", "severity": severity, "ephemeral": ephemeral,
        }  # fmt: skip
        self._emit("diagnosticEvent", payload)

    def program_output(self, line: str, is_error: bool) -> None:
        self.diagnostic("info#err" if is_error else "info", "", line)

    def stack_outputs(self, _outputs: Mapping[str, Any], /) -> None:
        return

    def summary(self, counts: Mapping[str, int], maybe_corrupt: bool) -> None:
        """The last two events."""
        seconds = int(time.monotonic() - self._started)
        self._emit("summaryEvent", {
            "maybeCorrupt": maybe_corrupt, "durationSeconds": seconds, "resourceChanges": dict(counts),
            "PolicyPacks": {},
        })  # fmt: skip
        self._emit("cancelEvent", {})
