"""The client: one key, one budget, one retry rule for every route."""

import asyncio
import importlib.metadata
import json as jsonlib
import logging
import os
import random as randomlib
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping
from types import TracebackType
from typing import Any, Self

from yarl import URL

from redaction import redact, register_secret
from runpod_rest._address import query, segment
from runpod_rest._budget import Budget
from runpod_rest._errors import ApiError, NetworkError, RateLimited, UnreadableAnswer, UnusableArgument, error_for
from runpod_rest._hosts import allowed_hosts_from, check_destination, is_loopback
from runpod_rest._jobs import Jobs
from runpod_rest._resources import Registries, UpdatableCollection, listing
from runpod_rest._retry import (
    RATE_LIMIT,
    SAFE_METHODS,
    RetryPolicy,
    Wait,
    may_repeat_after_break,
    may_repeat_status,
    retry_after_s,
)
from runpod_rest._transport import Answer, Transport

Json = dict[str, Any]

DEFAULT_API_URL = "https://api.runpod.io"
DEFAULT_JOBS_URL = "https://api.runpod.ai/v2"
_log = logging.getLogger("runpod_rest")


def default_user_agent() -> str:
    """`vllm-runpod/<version>`. The edge answers 403 (code 1010) to Python's own agents, so we always name ours."""
    try:
        return f"vllm-runpod/{importlib.metadata.version('vllm-runpod')}"
    except importlib.metadata.PackageNotFoundError:
        # The provider's own environment runs the rooms from the source tree, without the distribution.
        return "vllm-runpod/source"


class Client:
    """RunPod's REST v2 and job API over one shared rate-limit budget.

    Example:
        async with Client(key) as client:
            volume = await client.network_volumes.create({"name": "models", "size": 50, "dataCenter": "EU-RO-1"})

    The key is checked against the hosts it may go to when the client is made, before anything is sent. `clock`,
    `sleep` and `random` are seams for tests; `on_wait` is told of every pause before a call is repeated.
    """

    def __init__(
        self,
        api_key: str | None,
        api_url: str = DEFAULT_API_URL,
        jobs_url: str | None = None,
        user_agent: str | None = None,
        *,
        policy: RetryPolicy | None = None,
        allowed_hosts: Iterable[str] | None = None,
        loopback_only: bool = False,
        max_parallel: int = 8,
        max_body_bytes: int = 32 * 1024 * 1024,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        random: Callable[[], float] = randomlib.random,
        on_wait: Callable[[Wait], None] | None = None,
    ) -> None:
        register_secret(api_key)
        hosts = allowed_hosts_from(os.environ) if allowed_hosts is None else tuple(allowed_hosts)
        self.api_url = check_destination(
            api_url, setting="runpod:apiUrl", allowed_hosts=hosts, loopback_only=loopback_only
        )
        # On this machine one port serves both planes; in the cloud they are two hosts.
        same_host = is_loopback(self.api_url)
        self.jobs_url = check_destination(
            jobs_url or (f"{self.api_url}/v2" if same_host else DEFAULT_JOBS_URL),
            setting="runpod:jobsUrl",
            allowed_hosts=hosts,
            loopback_only=loopback_only,
        )
        if self.api_url.endswith("/v2"):
            raise UnusableArgument(
                f"runpod:apiUrl is {self.api_url}, but the version belongs to the paths\n\n"
                f"hint: write {self.api_url.removesuffix('/v2')}"
            )
        self.policy = policy or RetryPolicy()
        self._budget = Budget(clock, max_parallel)
        # The job API counts apart from REST v2, and by endpoint (runpod-api.md §2.8).
        self._job_budgets: defaultdict[str, Budget] = defaultdict(lambda: Budget(clock, max_parallel))
        self._clock, self._sleep, self._random, self._on_wait = clock, sleep, random, on_wait
        headers = {"User-Agent": user_agent or default_user_agent(), "Accept": "application/json"}
        if api_key:
            if not api_key.isascii() or not api_key.isprintable() or " " in api_key:
                raise UnusableArgument("the API key holds characters that no key has (a line break, a space?)")
            headers["Authorization"] = f"Bearer {api_key}"
        self._transport = Transport(headers, max_body_bytes)

        self.network_volumes = UpdatableCollection(self, "/v2/network-volumes", "networkVolumes")
        self.templates = UpdatableCollection(self, "/v2/templates", "templates")
        self.endpoints = UpdatableCollection(self, "/v2/serverless", "endpoints")
        # Templates and endpoints show which credential they use, and lose it when it is deleted (runpod-api.md §1.5).
        self.registries = Registries(self, touches=(self.templates, self.endpoints))
        self.jobs = Jobs(self)

    def __repr__(self) -> str:
        return f"Client(api_url={self.api_url!r}, jobs_url={self.jobs_url!r})"

    async def __aenter__(self) -> Self:
        await self._transport.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._transport.__aexit__(kind, error, trace)

    @property
    def clock(self) -> Callable[[], float]:
        """The clock that everything here goes by."""
        return self._clock

    async def endpoint_workers(self, endpoint_id: str, *, optional: bool = False) -> Json:
        """The endpoint's workers: `workers`, `summary`, `endpointVersion`. For `optional` see `request`."""
        return await self.document("GET", f"/v2/serverless/{segment(endpoint_id)}/workers", optional=optional)

    async def worker_log_tail(self, endpoint_id: str, worker_id: str, count: int) -> list[str]:
        """Up to `count` last lines of a worker's log, oldest first; fewer, or none, where it does not come in time.

        RunPod's log route is an event stream that never ends, so the read is bounded by silence and by seconds. A
        refusal or a broken connection gives what was read before it: a log only explains another failure.
        """
        path = f"/v2/serverless/{segment(endpoint_id)}/workers/{segment(worker_id)}/logs?tail={count * 4}"
        if self._budget.wait_s():
            return []
        left_at = self._budget.take()
        lines, headers = await self._transport.event_lines(URL(f"{self.api_url}{path}", encoded=True))
        self._budget.done(left_at, headers)
        return [redact(line) for line in lines[-count:]]

    async def endpoint_releases(self, endpoint_id: str) -> Json:
        """The newest releases and the `rollout`: one page, newest first; the rollout is the same on every page."""
        return await self.document("GET", f"/v2/serverless/{segment(endpoint_id)}/releases")

    async def gpus(self, *, include: Iterable[str] = (), product: Iterable[str] = ()) -> list[Json]:
        """The catalogue's GPU types with pool and price. `include=["AVAILABILITY"]` needs a `product`."""
        return await listing(self, "/v2/catalog/gpus", "gpus", {"include": include, "product": product})

    async def data_centers(self, *, include: Iterable[str] = ()) -> list[Json]:
        """The catalogue's data centres with the volume types that each offers."""
        return await listing(self, "/v2/catalog/datacenters", "dataCenters", {"include": include})

    async def document(
        self,
        method: str,
        path: str,
        *,
        json: Json | None = None,
        params: Mapping[str, object] | None = None,
        base_url: str | None = None,
        repeatable: bool = False,
        optional: bool = False,
        on_send: Callable[[], None] | None = None,
    ) -> Json:
        """`request`, where the answer has to be a JSON object."""
        answer = await self.request(
            method,
            path,
            json=json,
            params=params,
            base_url=base_url,
            repeatable=repeatable,
            optional=optional,
            on_send=on_send,
        )
        if answer is None:
            raise UnreadableAnswer(
                f"{method} {path}: the answer is empty where RunPod promises a JSON object",
                status=200,
                ambiguous=method not in SAFE_METHODS,
            )
        return answer

    async def request(
        self,
        method: str,
        path: str,
        *,
        json: Json | None = None,
        params: Mapping[str, object] | None = None,
        base_url: str | None = None,
        repeatable: bool = False,
        optional: bool = False,
        on_send: Callable[[], None] | None = None,
        try_timeout_s: float | None = None,
        total_timeout_s: float | None = None,
    ) -> Json | None:
        """Send one call, repeated where that is safe, and return the JSON object of its answer (None if empty).

        `path` begins with `/v2/` and is already quoted. Lists in `params` become one comma-joined value, as RunPod
        wants them; empty ones are left out. `repeatable` declares that sending this POST or PATCH twice does no harm.
        A DELETE that finds nothing after a try that may have worked counts as done.

        `optional` declares that nothing depends on the call: it never waits for the rate limit, and leaves a part of
        it to the others; RateLimited then says that nothing was sent. Time spent in the queue for the rate limit does
        not count against `total_timeout_s`.

        `on_send` is called each time right before the call leaves, when all waiting is over.
        """
        method = method.upper()
        call = redact(f"{method} {path}")
        url = URL(f"{base_url or self.api_url}{path}{query(params)}", encoded=True)
        body = None if json is None else jsonlib.dumps(json, separators=(",", ":")).encode()
        policy = self.policy
        budget = self._budget if base_url is None else self._job_budgets[path.split("/")[1]]
        deadline = self._clock() + (total_timeout_s or policy.total_timeout_s)
        write = method not in SAFE_METHODS and not repeatable
        in_doubt = False
        tries = 0
        waits_since = self._clock()
        while True:
            await self._admission(budget, call, tries, optional=optional)
            async with budget.slots:
                if budget.wait_s(optional=optional) > 0:
                    continue  # while we stood in line the last of the window went to others
                deadline += self._clock() - waits_since
                tries += 1
                if on_send is not None:
                    on_send()
                left_at = budget.take()
                headers: Mapping[str, str] | None = None
                try:
                    timeout_s = max(0.001, min(try_timeout_s or policy.try_timeout_s, deadline - self._clock()))
                    outcome = await self._transport.attempt(call, method, url, body, timeout_s)
                    headers = outcome.headers if isinstance(outcome, Answer) else None
                finally:
                    budget.done(left_at, headers)
            waits_since = self._clock()
            if isinstance(outcome, Answer):
                if outcome.status < 300:
                    return _json_object(call, outcome, write=write)
                error = self._refusal(budget, call, outcome, write=write, tries=tries, jobs=base_url is not None)
                if method == "DELETE" and error.status == 404 and (in_doubt or outcome.sends > 1):
                    return None
                in_doubt = in_doubt or error.status >= 500
                again = may_repeat_status(method, error.status, repeatable=repeatable)
                failure: ApiError | NetworkError = error
                pause = error.retry_after or 0.0
                waits_at_gate = error.status == 429 and pause <= policy.longest_wait_s
                if waits_at_gate and not optional and tries < policy.tries:
                    continue  # the gate is shut now, for everybody; we wait there
                reason = f"{error.status} {error.title}"
            else:
                in_doubt = in_doubt or outcome.sent
                again = not outcome.hopeless and may_repeat_after_break(
                    method, sent=outcome.sent, repeatable=repeatable
                )
                failure, pause, reason = outcome.error(call, tries, write=write), 0.0, outcome.why
            if not again or optional or tries >= policy.tries:
                raise failure
            pause = max(pause, policy.backoff(tries, self._random()))
            if pause > policy.longest_wait_s or self._clock() + pause >= deadline:
                raise failure
            await self._pause(Wait(call, pause, redact(reason), tries))
            waits_since = self._clock()

    async def _admission(self, budget: Budget, call: str, tries: int, *, optional: bool) -> None:
        """Wait with all the others for a window that is used up.

        A window whose end is further away than we are ready to wait is an error. There may be more of us than one
        window has room for; then the next one is waited for too.
        """
        while (pause := budget.wait_s(optional=optional)) > 0:
            if optional or pause > self.policy.longest_wait_s:
                said = "the rate limit is used up, nothing was sent"
                raise RateLimited(call, 429, "Too Many Requests", said, (), pause, max(tries, 1))
            await self._pause(Wait(call, pause, RATE_LIMIT, tries))

    async def _pause(self, wait: Wait) -> None:
        _log.debug("%s: waiting %.1f s (%s)", wait.call, wait.seconds, wait.reason)
        if self._on_wait is not None:
            self._on_wait(wait)
        await self._sleep(wait.seconds)

    def _refusal(self, budget: Budget, call: str, answer: Answer, *, write: bool, tries: int, jobs: bool) -> ApiError:
        """The error of a refusal; a 429 also shuts the gate for everybody."""
        wait = retry_after_s(answer.headers)
        if answer.status == 429:
            # Without a figure the usual back-off has to do.
            wait = max(wait or 0.0, budget.wait_s()) or self.policy.backoff(tries, self._random())
            budget.shut_for(wait)
        error = error_for(
            call,
            answer.status,
            answer.reason,
            answer.headers.get("Content-Type", ""),
            answer.body,
            retry_after=wait,
            write=write,
            problem_expected=not jobs,
            tries=tries,
        )
        _log.debug("%s: %s %s", call, error.status, error.title)
        return error


def _json_object(call: str, answer: Answer, *, write: bool) -> Json | None:
    if not answer.body.strip():
        return None
    try:
        document = jsonlib.loads(answer.body)
    except (ValueError, RecursionError):
        document = None
    if isinstance(document, dict):
        return document
    kind = answer.headers.get("Content-Type", "no content type")
    start = answer.body[:200].decode("utf-8", "replace")
    raise UnreadableAnswer(
        f"{call}: {answer.status}, but the answer is not a JSON object ({kind}): {start!r}",
        status=answer.status,
        ambiguous=write,
    )
