"""Who waits for a worker, and which worker a request goes to."""

import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from runpod_emulator.jobs import Demand
from runpod_emulator.workers import HEALTHY, Roster, WorkerSession


@dataclass(frozen=True)
class Affinity:
    """The worker that a request asks for by its X-Runpod-Worker-Id header."""

    worker_id: str = ""
    mode: Literal["none", "soft", "strict"] = "none"

    @classmethod
    def parse(cls, header: str) -> "Affinity":
        """`<id>`, `strict <id>` or `strict-resume <id>` (runpod-api.md §2.2). A worker that has ended never comes
        back here, so that there is nothing to resume (our assumption)."""
        words = header.split()
        if len(words) == 2 and words[0].lower() in ("strict", "strict-resume"):
            return cls(words[1], "strict")
        return cls(words[0], "soft") if len(words) == 1 else cls()


class Carried:
    """One request at a worker; `answered` is set when its answer went out in full."""

    answered = False


class Traffic:
    """Requests of all load balancers. In memory only: a request does not outlive its connection."""

    def __init__(self, roster: Roster) -> None:
        self._roster = roster
        self._waiting: Counter[str] = Counter()

    def demand(self, endpoint_id: str) -> Demand:
        in_progress = sum(len(session.jobs) for session in self._roster.sessions(endpoint_id))
        return Demand(in_queue=self._waiting[endpoint_id], in_progress=in_progress)

    @contextmanager
    def waiting(self, endpoint_id: str) -> Iterator[None]:
        """A request counts for the scaler while it waits."""
        self._waiting[endpoint_id] += 1
        self._roster.changed(endpoint_id)
        try:
            yield
        finally:
            self._waiting[endpoint_id] -= 1
            if not self._waiting[endpoint_id]:
                del self._waiting[endpoint_id]

    @contextmanager
    def carried(self, session: WorkerSession) -> Iterator[Carried]:
        """The request is this worker's while the block runs."""
        request_id, carried = uuid.uuid4().hex, Carried()
        self._roster.request_began(session, request_id)
        try:
            yield carried
        finally:
            self._roster.request_ended(session, request_id, answered=carried.answered)

    def pick(self, endpoint_id: str, affinity: Affinity) -> WorkerSession | None:
        """The healthy worker with the fewest requests (our assumption), or the one that is asked for."""
        able = [session for session in self._roster.sessions(endpoint_id) if _takes_requests(session)]
        wanted = next((session for session in able if session.worker_id == affinity.worker_id), None)
        if wanted is not None or affinity.mode == "strict":
            return wanted
        return min(able, key=lambda session: len(session.jobs), default=None)

    def is_gone(self, endpoint_id: str, affinity: Affinity) -> bool:
        """Whether the worker that a request insists on is none of this endpoint's, or about to leave."""
        if affinity.mode != "strict":
            return False
        session = self._roster.session(affinity.worker_id)
        return session is None or session.endpoint_id != endpoint_id or session.draining


def _takes_requests(session: WorkerSession) -> bool:
    return session.http is not None and session.health == HEALTHY and not session.draining
