"""The worker's own figures, three times the same: Prometheus text, a log line, the answer to a job.

Feature tags come from callers, so their number is bounded: what comes after the first hundred is counted together.
"""

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from vllm_worker._log import event

FEATURES = 100
OTHER_FEATURES = "__other__"
OUTCOMES = ("ok", "refused", "rejected", "failed", "cancelled")
"""How requests end: answered; refused here; an error 4xx of vLLM's; an error of vLLM's or of the way to it; its caller
left, or the worker ended."""
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Sample = tuple[Mapping[str, str], float]


@dataclass
class Used:
    """What one feature has used."""

    gpu_seconds: float = 0.0
    input_tokens: int = 0
    output_tokens: int = 0


class Metrics:
    """Counts since the start of the worker. For one thread."""

    def __init__(self, gpus: int) -> None:
        self.gpus = gpus
        self.in_flight = 0
        self._outcomes = dict.fromkeys(OUTCOMES, 0)
        self._used: dict[str, Used] = {}
        self._phases: dict[str, float] = {}
        self._reported: dict[str, Any] | None = None

    def started(self, phases: Mapping[str, float]) -> None:
        """Keep the seconds of each phase of the start."""
        self._phases = dict(phases)

    def count(self, outcome: str) -> None:
        """Count a request that ended."""
        self._outcomes[outcome] += 1

    def used(self, feature: str | None, gpu_seconds: float, input_tokens: int, output_tokens: int) -> None:
        """Add what a request used to its feature; requests without one are counted under the empty name."""
        name = feature or ""
        if name and name not in self._used and len(self._used) >= FEATURES:
            name = OTHER_FEATURES
        used = self._used.setdefault(name, Used())
        used.gpu_seconds += gpu_seconds
        used.input_tokens += input_tokens
        used.output_tokens += output_tokens

    def snapshot(self) -> dict[str, Any]:
        """All figures as JSON; the feature "" is requests without one."""
        return {
            "requests": dict(self._outcomes),
            "in_flight": self.in_flight,
            "gpus": self.gpus,
            "start_seconds": dict(self._phases),
            "features": {
                name: {
                    "gpu_seconds": round(used.gpu_seconds, 6),
                    "input_tokens": used.input_tokens,
                    "output_tokens": used.output_tokens,
                }
                for name, used in self._used.items()
            },
        }

    def text(self) -> str:
        """All figures in Prometheus' text format, version 0.0.4."""
        return "".join(self._families())

    def _families(self) -> Iterator[str]:
        yield _family(
            "requests_total", "counter", "Requests and jobs by how they ended.",
            [({"outcome": outcome}, count) for outcome, count in self._outcomes.items()],
        )  # fmt: skip
        yield _family("requests_in_flight", "gauge", "Requests and jobs in vLLM.", [({}, self.in_flight)])
        yield _family("gpus", "gauge", "GPUs that requests are charged for.", [({}, self.gpus)])
        yield _family(
            "start_seconds", "gauge", "Seconds of each phase of the start.",
            [({"phase": phase}, seconds) for phase, seconds in self._phases.items()],
        )  # fmt: skip
        yield _family(
            "gpu_seconds_total", "counter", "GPU seconds, shared among the requests in flight.",
            [({"feature": name}, used.gpu_seconds) for name, used in self._used.items()],
        )  # fmt: skip
        yield _family(
            "tokens_total", "counter", "Tokens read and written.",
            [({"feature": name, "kind": kind}, count) for name, used in self._used.items()
             for kind, count in (("input", used.input_tokens), ("output", used.output_tokens))],
        )  # fmt: skip

    def report(self) -> None:
        """Log one line with all figures, if one of them has changed since the last one."""
        figures = self.snapshot()
        before, self._reported = self._reported, figures
        if figures != before and (self.in_flight or any(self._outcomes.values())):
            requests = figures["requests"]
            told = ", ".join(f"{count} {outcome}" for outcome, count in requests.items() if count)
            event("metrics", f"{told or 'nothing done yet'}, {self.in_flight} in flight", **figures)

    async def report_every(self, interval_s: float) -> None:
        """Report until cancelled."""
        while True:
            await asyncio.sleep(interval_s)
            self.report()


def _family(name: str, kind: str, about: str, samples: list[Sample]) -> str:
    full = f"vllm_worker_{name}"
    lines = [f"# HELP {full} {about}", f"# TYPE {full} {kind}"]
    lines += [f"{full}{_labels(labels)} {value!r}" for labels, value in samples]
    return "\n".join(lines) + "\n"


def _labels(labels: Mapping[str, str]) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items()) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def joined(of_vllm: bytes, own: str) -> bytes:
    """vLLM's text and the worker's as one page. Their names differ: vLLM's begin with `vllm:`."""
    return of_vllm + (b"" if not of_vllm or of_vllm.endswith(b"\n") else b"\n") + own.encode()
