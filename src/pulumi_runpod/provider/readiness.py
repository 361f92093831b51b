"""Waiting until an endpoint serves. A request proves it; a status never does.

RunPod reports crash-looping workers as running or idle, and its counters lag (runpod-api-live.md §3, Workers and
health), so a probe job goes through the queue like any user's, and its answer is the proof. After a change that made
a new release the answer has to come from a worker of that release. Three failed probes, or three crashes of workers
of the wanted version, end the wait early; otherwise it lasts until the deadline.
"""

import os
from typing import Any

import aiohttp

from pulumi_runpod.provider.errors import excerpt, said
from pulumi_runpod.provider.session import Session
from runpod_rest import Client, NotFound, RateLimited, RunPodError, Unauthorized, allowed_hosts_from, check_destination

Json = dict[str, Any]
DEFAULT_PROBE: Json = {"openai_route": "/v1/models"}
_STATUS_EVERY_S = 10.0
_WORKERS_EVERY_POLLS = 5
"""Workers are looked at less often than the probe: the control plane allows few calls a minute, the job API many."""
_POLLS_PER_WAITING = 2
"""Many endpoints that wait at once look more rarely each: all of them together every other second."""
_MAX_FAILED_PROBES = 3
_MAX_CRASHES = 3
_MAX_LOST_CALLS = 10
_UNDECIDED_PROBES = 3
_LOG_LINES = 6
_LOG_LINE_LENGTH = 300


class NotReady(Exception):
    """The endpoint exists but did not answer."""

    def __init__(self, reasons: list[str]) -> None:
        self.reasons = reasons
        super().__init__("; ".join(reasons))


class Readiness:
    """One wait for one endpoint. `version` is the release that has to answer; None accepts any."""

    def __init__(
        self,
        *,
        session: Session,
        urn: str,
        endpoint_id: str,
        endpoint_type: str,
        request_urls: dict[str, str],
        probe: Json | None,
        deadline: float,
        version: int | None,
    ) -> None:
        self._session, self._urn, self._id = session, urn, endpoint_id
        self._type, self._urls = endpoint_type, request_urls
        self._probe = probe
        self._deadline, self._version = deadline, version
        self._started = session.clock()
        self._shown, self._shown_at = "", float("-inf")
        self._versions: dict[str, int | None] = {}
        self._states: dict[str, str] = {}
        self._crashed: list[str] = []
        self._lost_calls = 0
        self._looked_at = float("-inf")
        self._job: str | None = None

    async def wait(self) -> None:
        """Return when the endpoint has answered. Raises NotReady or Cancelled; leaves no probe job behind."""
        client = await self._session.client()
        self._session.waiting_until_ready += 1
        try:
            if self._type == "QUEUE":
                await self._wait_for_job(client)
            else:
                await self._wait_for_http(client)
        finally:
            self._session.waiting_until_ready -= 1
            if self._job is not None:
                await self._drop_job(client)
        seconds = self._session.clock() - self._started
        await self._session.engine.status(self._urn, f"serves (after {seconds:.0f} s)")

    async def _wait_for_job(self, client: Client) -> None:
        failed: list[str] = []
        undecided = 0
        step_s = self._session.poll_s
        while True:
            await self._look_at_workers(client)
            status = await self._probe_status(client)
            state = str(status.get("status", "")) if status else "not accepted yet"
            await self._show(f"probe job {state.lower().replace('_', ' ')}")
            if status is not None and state in ("COMPLETED", "FAILED", "CANCELLED", "TIMED_OUT"):
                self._job = None
                proof = await self._is_from_wanted_version(client, status, undecided)
                problem = _failure_of(status) if state == "FAILED" else _error_in(status.get("output"))
                if state == "COMPLETED" and proof and not problem:
                    return
                if proof is None:
                    undecided += 1
                elif proof and problem:
                    failed.append(excerpt(problem))
                    if len(failed) >= _MAX_FAILED_PROBES:
                        raise NotReady(
                            [
                                f"the ready probe failed {len(failed)} times, last: {failed[-1]}",
                                "if the worker does not know this request, set ready_probe to one it answers",
                            ]
                        )
            await self._next_look(failed, step_s)
            step_s = min(step_s * 1.3, 5 * self._session.poll_s)

    async def _wait_for_http(self, client: Client) -> None:
        """LOAD_BALANCER: a GET that has to be answered with 200. 204 means a worker is still getting ready."""
        path = str((self._probe or {}).get("path", "/ping"))
        # The address comes from an answer, so it is checked like any other before the key goes there.
        base = check_destination(
            self._urls.get("base", ""),
            setting="requestUrls.base",
            allowed_hosts=allowed_hosts_from(os.environ),
            loopback_only=self._session.settings.loopback_only,
        )
        url = f"{base}{path}"
        headers = {"Authorization": f"Bearer {self._session.settings.api_key}"}
        last = "no answer yet"
        async with aiohttp.ClientSession(headers=headers, timeout=aiohttp.ClientTimeout(total=30)) as http:
            while True:
                await self._look_at_workers(client)
                try:
                    async with http.get(url, allow_redirects=False) as answer:
                        if answer.status == 200 and await self._rollout_done(client):
                            return
                        last = f"GET {path} answered {answer.status}"
                except (aiohttp.ClientError, TimeoutError) as error:
                    last = f"GET {path}: {type(error).__name__}"
                await self._show(last)
                await self._next_look([last], 2 * self._session.poll_s)

    async def _probe_status(self, client: Client) -> Json | None:
        """Submit the probe if none is under way, else ask for it. None while neither works."""
        try:
            if self._job is None:
                left_ms = max(10_000, int((self._deadline - self._session.clock()) * 1000))
                status = await client.jobs.run(self._id, self._probe or DEFAULT_PROBE, policy={"ttl": left_ms})
                self._job = str(status["id"]) if status.get("id") else None
            else:
                status = await client.jobs.status(self._id, self._job)
            self._lost_calls = 0
            return status
        except NotFound:
            # A new endpoint may not be known to the job plane yet, and a job that expired is gone.
            self._job = None
            return None
        except Unauthorized as error:
            raise NotReady([f"the job API refuses the key: {said(error)}"]) from error
        except RunPodError as error:
            self._lost_calls += not isinstance(error, RateLimited)
            if self._lost_calls >= _MAX_LOST_CALLS:
                raise NotReady([f"the job API does not answer: {said(error)}"]) from error
            return None

    async def _is_from_wanted_version(self, client: Client, status: Json, undecided: int) -> bool | None:
        """Whether the probe was answered by the wanted release; None where that cannot be told yet."""
        if self._version is None:
            return True
        version = self._versions.get(str(status.get("workerId")))
        if version is None:
            await self._look_at_workers(client, now=True)
            version = self._versions.get(str(status.get("workerId")))
        if version is not None:
            return version >= self._version
        if await self._rollout_done(client) and undecided >= _UNDECIDED_PROBES:
            return True
        return None

    async def _rollout_done(self, client: Client) -> bool:
        if self._version is None:
            return True
        try:
            rollout = (await client.endpoint_releases(self._id)).get("rollout")
        except RunPodError:
            return False
        return isinstance(rollout, dict) and rollout.get("inProgress") is False

    async def _look_at_workers(self, client: Client, *, now: bool = False) -> None:
        since = self._session.clock() - self._looked_at
        polls = max(_WORKERS_EVERY_POLLS, _POLLS_PER_WAITING * self._session.waiting_until_ready)
        if not now and since < polls * self._session.poll_s:
            return
        self._looked_at = self._session.clock()
        try:
            # A look only makes the status line richer, and crashes known earlier: creates go first.
            answer = await client.endpoint_workers(self._id, optional=not now)
        except NotFound as error:
            raise NotReady([f"the endpoint {self._id} is gone; somebody deleted it while it was starting"]) from error
        except RunPodError:
            return  # the probe decides; a look that fails only makes the status line poorer
        seen: dict[str, str] = {}
        for worker in answer.get("workers") or []:
            worker_id, state = str(worker.get("id")), str(worker.get("status"))
            version = worker.get("version")
            self._versions[worker_id] = version if isinstance(version, int) else None
            seen[worker_id] = state
            if state == "UNHEALTHY" and self._states.get(worker_id) != "UNHEALTHY":
                await self._note_crash(worker_id, "is unhealthy")
        for worker_id, state in self._states.items():
            if worker_id not in seen and state == "INITIALIZING":
                await self._note_crash(worker_id, "was gone before it was ready")
        self._states = seen

    async def _note_crash(self, worker_id: str, what: str) -> None:
        version = self._versions.get(worker_id)
        if self._version is not None and version is not None and version < self._version:
            return  # an old release on its way out
        self._crashed.append(worker_id)
        await self._session.engine.warning(self._urn, f"worker {worker_id} {what}")
        if len(self._crashed) >= _MAX_CRASHES:
            raise NotReady([f"workers crash again and again ({len(self._crashed)} times)", *await self._log_reasons()])

    async def _next_look(self, failed: list[str], seconds: float) -> None:
        left = self._deadline - self._session.clock()
        if left <= 0:
            waited = duration(self._session.clock() - self._started)
            reasons = [f"did not answer a request within {waited}; workers: {self._summary()}"]
            if failed:
                reasons.append(f"last answer: {failed[-1]}")
            if self._version is not None:
                reasons.append(
                    f"waited for a worker of release {self._version}: "
                    "an answer by a worker of an older one does not count"
                )
            raise NotReady([*reasons, *await self._log_reasons()])
        await self._session.pause(min(seconds, max(left, 0.01)))

    async def _show(self, probe: str) -> None:
        """A status line on every change, and every ten seconds."""
        now = self._session.clock()
        text = f"workers: {self._summary()}; {probe}"
        if text == self._shown and now - self._shown_at < _STATUS_EVERY_S:
            return
        self._shown, self._shown_at = text, now
        await self._session.engine.status(self._urn, f"{text} ({now - self._started:.0f} s)")

    def _summary(self) -> str:
        counts: dict[str, int] = {}
        for worker_id, state in self._states.items():
            version = self._versions.get(worker_id)
            old = self._version is not None and version is not None and version < self._version
            label = state.lower() + (" (old release)" if old else "")
            counts[label] = counts.get(label, 0) + 1
        return ", ".join(f"{count} {label}" for label, count in sorted(counts.items())) or "none yet"

    async def _log_reasons(self) -> list[str]:
        """The last lines of the worker that crashed last, or of one that is still not ready."""
        client = await self._session.client()
        candidates = [*reversed(self._crashed), *(w for w, s in self._states.items() if s in _TROUBLED)]
        for worker_id in dict.fromkeys(candidates):
            lines = await client.worker_log_tail(self._id, worker_id, _LOG_LINES)
            if lines:
                said_last = " | ".join(line[:_LOG_LINE_LENGTH] for line in lines)
                return [f"worker {worker_id}, last log lines: {said_last}"]
        return []

    async def _drop_job(self, client: Client) -> None:
        """Take the probe out of the queue; its time to live ends it anyway."""
        job, self._job = self._job, None
        try:
            await client.jobs.cancel(self._id, str(job))
        except RunPodError:
            return


_TROUBLED = ("UNHEALTHY", "INITIALIZING", "THROTTLED")


def _error_in(output: Any) -> Any:
    """The error in a job's output, where a handler answers with one instead of failing."""
    if isinstance(output, list) and len(output) == 1:
        output = output[0]
    return output.get("error") if isinstance(output, dict) else None


def _failure_of(status: Json) -> Any:
    return status.get("error") or status.get("output") or "the job failed without a reason"


def duration(seconds: float) -> str:
    """How long something took, as people say it."""
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
