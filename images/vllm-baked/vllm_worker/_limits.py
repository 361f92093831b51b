"""What a request may ask for before vLLM hears of it: how many tokens, which model, how often.

The limits only refuse. What passes goes to vLLM as it came, so no limit can change an answer. They hold for every form
of job and every HTTP route alike, because all of them end here as a route and a body.
"""

import json
import math
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from typing import Any

from vllm_options import WorkerSettings
from vllm_worker._errors import ApiError
from vllm_worker._tags import Tags

# Per route that generates: the fields that bound an answer, the one that counts first.
_BOUNDS: Mapping[str, tuple[str, ...]] = {
    "/v1/chat/completions": ("max_completion_tokens", "max_tokens"),
    "/v1/completions": ("max_tokens",),
    "/v1/responses": ("max_output_tokens",),
    "/v1/messages": ("max_tokens",),
}
_CEILED = ("max_tokens", "max_completion_tokens", "max_output_tokens")
COMPLETIONS_DEFAULT = 16
"""What vLLM takes for /v1/completions without `max_tokens` (vllm/entrypoints/openai/completion/protocol.py)."""
WINDOW_S = 60.0
CLOCK_GRAIN_S = 1e-6
TRACKED_TAGS = 1000
"""Tags whose requests are counted one by one; beyond that, new ones share a count."""


class TooManyRequests(ApiError):
    """A tag has used its requests of this minute."""

    def __init__(self, message: str, retry_after_s: int) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(429, message, kind="RateLimitError", code="rate_limit_exceeded")


class Limits:
    """The limits of one worker. `check` raises ApiError (400, 403, 429) for what may not pass."""

    def __init__(
        self, settings: WorkerSettings, default_model: str = "", now: Callable[[], float] = time.monotonic
    ) -> None:
        self._ceiling = settings.worker_max_tokens
        self._bounded = settings.worker_require_max_tokens or self._ceiling > 0
        self._models = settings.worker_allowed_models
        self._default_model = default_model
        self._rates = _Rates(settings.worker_tag_rate, now) if settings.worker_tag_rate else None
        self.reads_bodies = self._bounded or bool(self._models)
        """Whether a body that cannot be read has to be refused here."""

    def check(self, route: str, body: Mapping[str, Any], tags: Tags, prompts: int | None = None) -> None:
        """Let a POST request pass, and count it, or say why it may not.

        `prompts` is the number of prompts where the body does not hold them (a job with many).
        """
        self._check_model(body)
        if self._bounded and route in _BOUNDS:
            self._check_tokens(route, body, prompts)
        if self._rates is not None:
            self._rates.take(tags)

    def _check_model(self, body: Mapping[str, Any]) -> None:
        if not self._models:
            return
        asked = body.get("model")
        if asked is not None and not isinstance(asked, str):
            raise ApiError(400, "`model` must be a string", param="model")
        # vLLM takes its first model for a request that names none.
        model = asked or self._default_model
        if model not in self._models:
            raise ApiError(
                403,
                f"the model {model[:200]!r} may not be used here; allowed: {', '.join(sorted(self._models))} "
                "(WORKER_ALLOWED_MODELS)",
                kind="PermissionDeniedError",
                param="model",
                code="model_not_allowed",
            )

    def _check_tokens(self, route: str, body: Mapping[str, Any], prompts: int | None) -> None:
        given = {name: value for name in _CEILED if (value := _whole(body, name)) is not None}
        bound = next((given[name] for name in _BOUNDS[route] if name in given), None)
        if bound is None and route == "/v1/completions":
            bound = COMPLETIONS_DEFAULT
        if bound is None:
            name = _BOUNDS[route][0]
            reason = f"at most {self._ceiling}, WORKER_MAX_TOKENS" if self._ceiling else "WORKER_REQUIRE_MAX_TOKENS"
            raise ApiError(400, f"say how long the answer may be: `{name}` is missing ({reason})", param=name)
        if not self._ceiling:
            return
        answers = max(1, _whole(body, "n") or 1, _whole(body, "best_of") or 1)
        asked = prompts or (_prompts(body) if route == "/v1/completions" else 1)
        # All that are given, though one counts: which one does is vLLM's business, and may change.
        most = max(bound, *given.values()) if given else bound
        if most * answers * asked > self._ceiling:
            sum_ = " x ".join([f"{most} tokens", *([f"{answers} answers"] if answers > 1 else []),
                               *([f"{asked} prompts"] if asked > 1 else [])])  # fmt: skip
            raise ApiError(
                400,
                f"the request asks for {sum_}, and {self._ceiling} tokens is the most that one may have "
                "(WORKER_MAX_TOKENS)",
                param=next((name for name, value in given.items() if value == most), _BOUNDS[route][0]),
                code="max_tokens_exceeded",
            )


def read_body(body: bytes, strict: bool) -> Mapping[str, Any]:
    """Read a request's body once, for the limits and the usage record.

    vLLM has the last word on a body that is no JSON object, unless `strict` limits have to know what it asks for: then
    it is refused here (ApiError 400).
    """
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        if strict:
            raise ApiError(400, f"the body is no JSON that can be read: {str(error)[:200]}") from error
        return {}
    if isinstance(document, dict):
        return document
    if strict:
        raise ApiError(400, "the body must be a JSON object")
    return {}


def _whole(body: Mapping[str, Any], name: str) -> int | None:
    """A number that a limit depends on.

    vLLM would read "4096" and 4096.0 as numbers too; what could be read in two ways does not pass.
    """
    value = body.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int):
        raise ApiError(400, f"`{name}` must be a whole number", param=name)
    return value


def _prompts(body: Mapping[str, Any]) -> int:
    """How many prompts a completions request brings: texts, lists of token ids, embeddings."""
    count = 0
    for name in ("prompt", "prompt_embeds"):
        value = body.get(name)
        if isinstance(value, list):
            count += 1 if value and isinstance(value[0], int) else len(value)
        elif value is not None:
            count += 1
    return max(1, count)


class _Rates:
    """Requests of the last minute, per tag, exactly: no minute ever holds more than the limit."""

    def __init__(self, per_minute: int, now: Callable[[], float]) -> None:
        self._limit = per_minute
        self._now = now
        self._seen: OrderedDict[tuple[str, str], deque[float]] = OrderedDict()

    def take(self, tags: Tags) -> None:
        """Count a request for its feature and for its user; those that name neither share one count."""
        now = self._now()
        names = [(kind, value) for kind, value in (("feature", tags.feature), ("user", tags.user)) if value is not None]
        counts = [(kind, value, self._count((kind, value), now)) for kind, value in names or [("feature", "")]]
        for kind, value, count in counts:
            if len(count) >= self._limit:
                wait_s = max(1, math.ceil(count[0] + WINDOW_S - now))
                who = f"the {kind} {value!r}" if value else "requests without a tag"
                raise TooManyRequests(
                    f"{who} may send {self._limit} requests a minute to a worker (WORKER_TAG_RATE); "
                    f"try again in {wait_s} s",
                    wait_s,
                )
        for _, _, count in counts:
            count.append(now)

    def _count(self, key: tuple[str, str], now: float) -> deque[float]:
        count = self._seen.get(key)
        if count is None:
            count = self._add(key, now)
        else:
            self._seen.move_to_end(key)
        _forget(count, now)
        return count

    def _add(self, key: tuple[str, str], now: float) -> deque[float]:
        if len(self._seen) >= TRACKED_TAGS:
            # The one that was not seen for longest goes, unless it could still be at its limit.
            oldest, count = next(iter(self._seen.items()))
            _forget(count, now)
            if count:
                key = (key[0], "")
                return self._seen.setdefault(key, deque())
            del self._seen[oldest]
        return self._seen.setdefault(key, deque())


def _forget(count: deque[float], now: float) -> None:
    # Whoever waited as long as he was told has waited long enough, whatever the last bit of the sum says.
    while count and now - count[0] >= WINDOW_S - CLOCK_GRAIN_S:
        count.popleft()
