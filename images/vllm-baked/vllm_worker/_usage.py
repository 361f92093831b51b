"""What each request used: one log line for each, and the sums.

    {"event": "usage", "feature": "chat", "inference.backend": "vllm", "model": "qwen", "gpu_seconds": 0.41,
     "input_tokens": 31, "output_tokens": 200}

Tokens are vLLM's own count, from `usage` in its answer. A stream has one only if its request says
`"stream_options": {"include_usage": true}` (or vLLM runs with ENABLE_FORCE_INCLUDE_USAGE=true); without it, and after a
break, the events that carried output are counted, the input is null, and the line says `"estimated": true`. A line says
how its request ended (`outcome`) if it did not end well, and names its `user` if it has one.

`gpu_seconds` is the request's share of the machine: in each moment the GPUs are shared alike among the requests that
are in flight then, from their admission to the end of their answer. For a request from `a` to `b` that is the integral
of GPUs / n(t) from a to b, with n(t) the requests in flight at t. So the shares of all requests add up to the GPUs
times the seconds in which there was any work, and idle time belongs to nobody.
"""

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from vllm_options import WorkerSettings
from vllm_worker._inputs import Batch, Call
from vllm_worker._limits import Limits, read_body
from vllm_worker._log import write_line
from vllm_worker._metrics import Metrics
from vllm_worker._tags import Tags

# No work for the GPU: counted as requests, not charged.
_FREE = frozenset({"/tokenize", "/detokenize", "/v1/messages/count_tokens"})
MODEL_CHARACTERS = 200
WHOLE_BODY_BYTES = 256 * 1024
"""Answers up to this size are parsed for their usage; in larger ones (embeddings) it is looked for from the end."""
HELD_BYTES = 4 * 1024 * 1024


class Desk:
    """Where every request of a worker passes: limits before it, the bill after it. For one event loop."""

    def __init__(self, settings: WorkerSettings, default_model: str, gpus: int) -> None:
        self.metrics = Metrics(gpus)
        self.limits = Limits(settings, default_model)
        self._default_model = default_model
        self._clock = GpuClock(gpus)

    def admit_job(self, request: Call | Batch, tags: Tags) -> "Bill":
        """Let a job pass, or raise ApiError."""
        if isinstance(request, Batch):
            return self._admit("/v1/completions", request.parameters, tags, len(request.prompts))
        return self._admit(request.route, request.body, tags)

    def admit_http(self, route: str, body: bytes | None, tags: Tags) -> "Bill":
        """Let an HTTP request pass, or raise ApiError. The body is read, never changed."""
        document = None if body is None else read_body(body, self.limits.reads_bodies)
        return self._admit(route, document, tags)

    def _admit(self, route: str, body: Mapping[str, Any] | None, tags: Tags, prompts: int | None = None) -> "Bill":
        if body is None:
            return Bill(route, None, tags, self.metrics, None)
        self.limits.check(route, body, tags, prompts)
        asked = body.get("model")
        model = asked[:MODEL_CHARACTERS] if isinstance(asked, str) and asked else self._default_model
        return Bill(route, model, tags, self.metrics, None if route in _FREE else self._clock)

    def failed(self, bill: "Bill | None", status: int) -> None:
        """Count a request that ended with an error: one without a bill was refused here."""
        if bill is None:
            self.metrics.count("refused")
        else:
            bill.close_with(status)


class GpuClock:
    """Shares of the GPUs among requests in flight, as the module says, in constant time a request."""

    def __init__(self, gpus: int, now: Callable[[], float] = time.monotonic) -> None:
        self._gpus = gpus
        self._now = now
        self._at = now()
        self._share = 0.0
        self._requests = 0

    def _advance(self) -> float:
        at = self._now()
        if self._requests:
            self._share += self._gpus * (at - self._at) / self._requests
        self._at = at
        return self._share

    def enter(self) -> float:
        """Begin a request; returns what `leave` needs."""
        entered = self._advance()
        self._requests += 1
        return entered

    def leave(self, entered: float) -> float:
        """End a request; returns its GPU seconds."""
        share = self._advance() - entered
        self._requests -= 1
        return share


class Bill:
    """One request, from its admission to the end of its answer. `close` it; more than once does no harm."""

    def __init__(self, route: str, model: str | None, tags: Tags, metrics: Metrics, clock: GpuClock | None) -> None:
        self._route, self._model, self._tags, self._metrics, self._clock = route, model, tags, metrics, clock
        self._entered = clock.enter() if clock is not None else 0.0
        self._usage: tuple[int, int] | None = None
        self._streamed = 0
        self._marked: bytes | None = None
        self._held = b""
        self._failed = False
        """Whether vLLM told of an error in a stream that had begun, too late for a status."""
        self._open = True
        metrics.in_flight += 1

    def saw_events(self, events: bytes) -> None:
        """Look at a piece of a stream on its way; it is only counted and searched for a mark, not parsed."""
        if self._held or not events.endswith(b"\n"):
            # A large event comes in several pieces: it is looked at once it is whole.
            events = self._held + events
            self._held = b""
            if not events.endswith(b"\n") and len(events) < HELD_BYTES:
                self._held = events
                return
        self._streamed += _output_events(self._route, events)
        if b'"usage"' in events:
            self._marked = events
        if b'data: {"error"' in events:
            self._failed = True

    def saw_body(self, body: bytes) -> None:
        """Look at a whole answer."""
        if self._clock is None:
            return
        if len(body) > WHOLE_BODY_BYTES:
            self._usage = _usage_at_the_end(body)
            return
        try:
            self.saw_document(json.loads(body))
        except (ValueError, RecursionError):
            return  # no JSON, no usage: the caller gets it as it is

    def saw_document(self, document: Any) -> None:
        """Look at an answer that is parsed already; several of one request are added up."""
        found = _usage_of(document)
        if found is not None:
            before = self._usage or (0, 0)
            self._usage = (before[0] + found[0], before[1] + found[1])

    def close_with(self, status: int) -> None:
        """End a request whose whole answer is there, with this HTTP status."""
        self.close("ok" if status < 400 else "rejected" if status < 500 else "failed")

    def close(self, outcome: str) -> None:
        """End the request: count it, and log what it used."""
        if not self._open:
            return
        self._open = False
        outcome = "failed" if self._failed and outcome == "ok" else outcome
        self._metrics.in_flight -= 1
        self._metrics.count(outcome)
        if self._clock is None:
            return
        gpu_seconds = self._clock.leave(self._entered)
        usage = self._usage or (_usage_in_events(self._marked) if self._marked is not None else None)
        if usage is None and outcome == "rejected":
            usage = (0, 0)  # vLLM refused it
        self._metrics.used(self._tags.feature, gpu_seconds, *(usage or (0, self._streamed)))
        record: dict[str, Any] = {
            "event": "usage",
            "feature": self._tags.feature,
            "inference.backend": "vllm",
            "model": self._model,
            "gpu_seconds": round(gpu_seconds, 6),
            "input_tokens": usage[0] if usage else None,
            "output_tokens": usage[1] if usage else self._streamed,
        }
        if self._tags.user is not None:
            record["user"] = self._tags.user
        if usage is None:
            record["estimated"] = True
        if outcome != "ok":
            record["outcome"] = outcome
        write_line(json.dumps(record, ensure_ascii=False))


def gpu_count(environ: Mapping[str, str], devices: Path = Path("/dev")) -> int:
    """The GPUs that are paid for: what RunPod says, else what is there, else 1 (a CPU counts as one)."""
    said = environ.get("RUNPOD_GPU_COUNT", "").strip()
    if said.isascii() and said.isdecimal() and int(said) > 0:
        return int(said)
    try:
        found = sum(path.name.startswith("nvidia") and path.name[6:].isdecimal() for path in devices.iterdir())
    except OSError:
        found = 0
    return found or 1


def _output_events(route: str, events: bytes) -> int:
    """How many events carry output, about as many as tokens. No newline stands in JSON, so lines are safe to count."""
    if route == "/v1/messages":
        return events.count(b"event: content_block_delta\n")
    if route == "/v1/responses":
        return events.count(b".delta\n")
    # The first event of a chat only says whose turn it is.
    first = events.startswith(b"data: {")
    return max(0, first + events.count(b"\ndata: {") - events.count(b'"role":'))


def _usage_in_events(events: bytes) -> tuple[int, int] | None:
    """The last usage in some events."""
    for line in reversed(events.split(b"\n")):
        if line.startswith(b"data: {") and b'"usage"' in line:
            try:
                found = _usage_of(json.loads(line[6:]))
            except (ValueError, RecursionError):
                continue
            if found is not None:
                return found
    return None


def _usage_at_the_end(body: bytes) -> tuple[int, int] | None:
    end = body.rfind(b'"usage"')
    if end < 0:
        return None
    text = body[end : end + 4096].decode("utf-8", errors="replace")
    start = text.find("{")
    try:
        return _tokens(json.JSONDecoder().raw_decode(text, start)[0]) if start >= 0 else None
    except (ValueError, RecursionError):
        return None


def _usage_of(document: Any) -> tuple[int, int] | None:
    """Input and output tokens of an answer: at its top, or where the streams of /v1/responses and /v1/messages say."""
    if not isinstance(document, dict):
        return None
    for place in (document, document.get("response"), document.get("message")):
        if isinstance(place, dict) and (found := _tokens(place.get("usage"))) is not None:
            return found
    return None


def _tokens(usage: Any) -> tuple[int, int] | None:
    if not isinstance(usage, dict):
        return None
    read = _first(usage, "prompt_tokens", "input_tokens", "total_tokens")
    if read is None:
        return None
    # Anthropic's count of the input leaves out what a cache held.
    cached = sum(_first(usage, name) or 0 for name in ("cache_read_input_tokens", "cache_creation_input_tokens"))
    return read + cached, _first(usage, "completion_tokens", "output_tokens") or 0


def _first(usage: Mapping[str, Any], *names: str) -> int | None:
    for name in names:
        value = usage.get(name)
        if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
            return value
    return None
