"""A start that failed again and again is not paid for again and again.

What failed is kept in a small file in the home folder, which is on the container's own disk: it outlives a restart of
the container and no more than that. A network volume would share it with every worker of the endpoint, and one bad
machine would hold up all of them.

Between two attempts the worker does not sleep: it ends at once, before anything is loaded. A second of sleep with a GPU
costs what a second of loading costs; a container that is down costs the same at worst, and nothing at best, and the
platform sees that the worker is not well.
"""

import hashlib
import json
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from redaction import redact
from vllm_options import Plan
from vllm_worker._errors import EngineError
from vllm_worker._log import event
from vllm_worker._remedies import Remedy

FREE_FAILURES = 3
"""So many in a row are let pass: a Hub that was down for a moment must not cost more than that."""
REST_S = 60.0
LONGEST_REST_S = 1800.0
FORGET_S = 3600.0
"""A row of failures ends with an hour without one."""
MESSAGE_CHARACTERS = 2000

KILLED = "the worker was killed while vLLM was starting"


@dataclass(frozen=True)
class Failures:
    """A row of starts that failed, all with the same configuration."""

    key: str
    count: int = 0
    at: float = 0.0
    """When the last one failed (seconds since 1970)."""
    took_s: float = 0.0
    message: str = ""
    cause: str = ""
    remedy: str = ""


def rest_s(count: int, took_s: float) -> float:
    """How long a worker that failed `count` times in a row is left alone; a costly failure for longer."""
    if count < FREE_FAILURES:
        return 0.0
    # The exponent is bounded before it is used: a count from a file may be anything.
    return float(min(max(REST_S, took_s) * 2 ** min(count - FREE_FAILURES, 16), LONGEST_REST_S))


def configuration_key(plan: Plan, vllm_version: str) -> str:
    """The same for the same vLLM and settings; a hash, because a changed token is a changed configuration too."""
    settings = {
        name: sorted(value) if isinstance(value, frozenset) else value
        for name, value in vars(plan.settings).items()
    }  # fmt: skip
    document = [vllm_version, plan.model, plan.arguments, sorted(plan.environment.items()), sorted(settings.items())]
    return hashlib.sha256(json.dumps(document, default=str).encode()).hexdigest()


class Starts:
    """The starts of this container. `refuse_if_resting`, `begin`, then one of `succeeded`, `failed`, `withdrawn`."""

    def __init__(self, folder: Path, key: str, enabled: bool = True, clock: Callable[[], float] = time.time) -> None:
        self._path = folder / "starts.json"
        self._enabled, self._clock = enabled, clock
        self._before = self._read(key) if enabled else Failures(key)
        self._began_at: float | None = None

    def refuse_if_resting(self) -> None:
        """Raises EngineError, with the last failure's remedy, while it is too early for another attempt."""
        past = self._before
        wait_s = past.at + rest_s(past.count, past.took_s) - self._clock()
        if wait_s <= 0:
            return
        raise EngineError(
            f"vLLM is not started: it failed {past.count} times in a row with this configuration, and the next attempt "
            f"is made in {wait_s:.0f} s (WORKER_BACKOFF=false tries at once); the last failure: {past.message}",
            Remedy(past.cause, past.message, past.remedy) if past.cause else None,
        )

    def begin(self) -> None:
        """Note a failure beforehand: nobody can do it when the worker is killed."""
        self._began_at = self._clock()
        self._write(Failures(self._before.key, self._before.count + 1, self._began_at, message=KILLED))

    def succeeded(self) -> None:
        """vLLM has answered: whatever failed before is forgotten."""
        self._began_at = None
        if self._enabled:
            try:
                self._path.unlink(missing_ok=True)
            except OSError as error:
                event("note", f"{self._path} cannot be removed ({error.strerror}): old failures will count on")

    def failed(self, error: Exception) -> None:
        """The start that began has failed. Without one that began, or after its success, nothing is noted."""
        if self._began_at is None:
            return
        remedy = error.remedy if isinstance(error, EngineError) else None
        now = self._clock()
        self._write(
            Failures(
                key=self._before.key,
                count=self._before.count + 1,
                at=now,
                took_s=max(0.0, now - self._began_at),
                message=redact(str(error))[:MESSAGE_CHARACTERS],
                cause=remedy.cause if remedy else "",
                remedy=remedy.remedy if remedy else "",
            )
        )

    def withdrawn(self) -> None:
        """The start that began was called off: it counts neither way."""
        if self._began_at is not None:
            self._began_at = None
            self._write(self._before)

    def _read(self, key: str) -> Failures:
        """What this configuration did before; anything unreadable counts as nothing."""
        try:
            document: Any = json.loads(self._path.read_text())
            past = Failures(**document)
            usable = past.key == key and 0 <= self._clock() - past.at < FORGET_S and past.count >= 0
            rest_s(past.count, past.took_s)
        except (OSError, ValueError, TypeError):
            return Failures(key)
        return past if usable else Failures(key)

    def _write(self, failures: Failures) -> None:
        if not self._enabled:
            return
        draft = self._path.with_suffix(f".{os.getpid()}")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            draft.write_text(json.dumps(asdict(failures)))
            draft.replace(self._path)
        except OSError as error:
            event("note", f"{self._path} cannot be written ({error.strerror}): failed starts are not counted")
