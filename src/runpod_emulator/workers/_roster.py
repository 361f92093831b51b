"""The roster: which workers may speak on the worker plane, and what each said last.

In memory only, on purpose: a worker dies with the emulator that started it, so nothing here outlives the process.
The roster watches the job book: a job taken away from a worker becomes a stop signal for it.
"""

import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field

from redaction import register_secret
from runpod_emulator.jobs import Job, JobBook, JobStatus
from runpod_emulator.waiting import Signal

MISSED_PINGS = 3
"""A job that a worker's pings leave out this often in a row is forgotten by it; a stopped job that they name this often
was not stopped (both our assumptions)."""


HEALTHY, INITIALIZING = 200, 204
"""What a load balancer's worker says at its health check; anything else takes it out of the routing (§2.2)."""


@dataclass(frozen=True)
class HttpPorts:
    """Where on this machine a load balancer's worker answers."""

    app: int
    health: int


@dataclass
class WorkerSession:
    """One worker as the worker plane knows it. The scaler reads it; only the roster and the routes write it."""

    worker_id: str
    endpoint_id: str
    key: str = field(repr=False)
    http: HttpPorts | None = None
    """A load balancer's worker has ports and is asked for its health, instead of polling and pinging."""
    first_poll_at: float | None = None
    """Set by the first job-take, or the first healthy answer: from here on the worker is ready."""
    first_ping_at: float | None = None
    """First heartbeat, or first answer to a health check that is one of a worker."""
    first_job_at: float | None = None
    heard_at: float | None = None
    """Last ping, before the first one last poll; last good health check once it was healthy."""
    health: int | None = None
    """Status of the last health check, None where nobody answered."""
    out: str | None = None
    """Why it gets no requests just now although it was healthy before."""
    idle_since: float | None = None
    draining: bool = False
    """Gets no more jobs."""
    stopping: bool = False
    """Its polls are answered at once, so that it can exit."""
    restart_asked: bool = False
    """It said `stopPod` (refresh_worker): to be ended when its jobs are done."""
    unhealthy: str | None = None
    """Why it has to be replaced, in its own or our words."""
    jobs_done: int = 0
    jobs: dict[str, int] = field(default_factory=dict)
    """Its jobs in progress, and how many pings in a row left them out; of a load balancer its requests."""
    known_jobs: set[str] = field(default_factory=set)
    """Every job it was ever given: late posts about them are ignored, posts about others refused."""
    stops: list[str] = field(default_factory=list)
    stopped: dict[str, int] = field(default_factory=dict)
    """Jobs it was told to stop, and how many pings named them since."""
    signal: Signal = field(default_factory=Signal)

    @property
    def ready(self) -> bool:
        return self.first_poll_at is not None

    def drain(self) -> None:
        self.draining = True

    def release(self) -> None:
        """Answer its held polls now, and every later one at once: on SIGTERM the SDK waits for them (§3.3)."""
        self.draining = self.stopping = True
        self.signal.fire()


class Roster:
    """All sessions. `changed` is called with an endpoint id whenever the scaler should look again."""

    def __init__(self, book: JobBook, clock: Callable[[], float]) -> None:
        self._book, self._clock = book, clock
        self._sessions: dict[str, WorkerSession] = {}
        self.changed: Callable[[str], None] = lambda _endpoint_id: None
        self.routing = Signal()
        """Fires when a load balancer's worker came or went."""
        book.observe(self)

    def admit(self, worker_id: str, endpoint_id: str) -> WorkerSession:
        """A new worker with a key of its own, valid on its own routes only."""
        session = WorkerSession(worker_id, endpoint_id, key=secrets.token_urlsafe(32))
        register_secret(session.key)
        self._sessions[worker_id] = session
        return session

    def dismiss(self, worker_id: str) -> None:
        """The worker is gone: its key is void, its polls end, its jobs go back to the queue."""
        session = self._sessions.pop(worker_id, None)
        if session is not None:
            session.release()
            self._book.worker_lost(worker_id)
            self.routing.fire()

    def session(self, worker_id: str) -> WorkerSession | None:
        return self._sessions.get(worker_id)

    def authorize(self, endpoint_id: str, worker_id: str, authorization: str) -> WorkerSession | None:
        """The session, if the key is this worker's (sent raw, without "Bearer": runpod-api.md §3.1)."""
        session = self._sessions.get(worker_id)
        known = session.key if session else secrets.token_urlsafe(32)
        same = hmac.compare_digest(known.encode(), authorization.encode("utf-8", "replace"))
        return session if same and session is not None and session.endpoint_id == endpoint_id else None

    def polled(self, session: WorkerSession) -> None:
        """The worker asks for jobs."""
        now = self._clock()
        if session.first_ping_at is None:
            session.heard_at = now
        if session.first_poll_at is None:
            session.first_poll_at = session.idle_since = now
            self.changed(session.endpoint_id)

    def gave(self, session: WorkerSession, jobs: list[Job]) -> None:
        now = self._clock()
        session.first_job_at = session.first_job_at or now
        session.idle_since = None
        for job in jobs:
            session.jobs[job.id] = 0
            session.known_jobs.add(job.id)
        self.changed(session.endpoint_id)

    def pinged(self, session: WorkerSession, named: set[str], *, complete: bool = True) -> None:
        """A heartbeat with the ids of the jobs the worker has; `complete`: with all of them."""
        session.heard_at = self._clock()
        session.first_ping_at = session.first_ping_at or session.heard_at
        for job_id in list(session.jobs):
            session.jobs[job_id] = 0 if job_id in named else session.jobs[job_id] + complete
            if session.jobs[job_id] >= MISSED_PINGS:
                self._book.worker_lost(session.worker_id, job_id)
        for job_id in list(session.stopped):
            if job_id not in named:
                del session.stopped[job_id]
                continue
            session.stopped[job_id] += 1
            if session.stopped[job_id] >= MISSED_PINGS:
                self.report_unhealthy(session, f"job {job_id} went on after it was stopped")

    # A load balancer's workers

    def sessions(self, endpoint_id: str) -> list[WorkerSession]:
        return [session for session in self._sessions.values() if session.endpoint_id == endpoint_id]

    def health_checked(self, session: WorkerSession, status: int | None) -> None:
        """200 takes requests, 204 is initializing, anything else is unhealthy (runpod-api.md §2.2). Before its first
        200 a worker may answer what it likes, until its time to start is over (our assumption)."""
        now = self._clock()
        before = session.health, session.ready
        session.health = status
        if status in (HEALTHY, INITIALIZING):
            session.first_ping_at = session.first_ping_at or now
        if status == HEALTHY and session.first_poll_at is None:
            session.first_poll_at = session.idle_since = now
        if session.ready:
            said = "does not answer" if status is None else f"answers {status}"
            session.out = None if status == HEALTHY else f"its health check {said}"
            if status in (HEALTHY, INITIALIZING):
                session.heard_at = now
        if before != (session.health, session.ready):
            self.changed(session.endpoint_id)
            self.routing.fire()

    def request_began(self, session: WorkerSession, request_id: str) -> None:
        session.first_job_at = session.first_job_at or self._clock()
        session.idle_since = None
        session.jobs[request_id] = 0
        self.changed(session.endpoint_id)

    def request_ended(self, session: WorkerSession, request_id: str, *, answered: bool) -> None:
        session.jobs.pop(request_id, None)
        session.jobs_done += answered
        if not session.jobs:
            session.idle_since = self._clock()
        self.changed(session.endpoint_id)

    def report_unhealthy(self, session: WorkerSession, reason: str) -> None:
        session.unhealthy = session.unhealthy or reason
        session.drain()
        self.changed(session.endpoint_id)

    def time_stood_still(self, seconds: float) -> None:
        """This process itself was stopped for so long: the workers' silence is not theirs."""
        for session in self._sessions.values():
            if session.heard_at is not None:
                session.heard_at += seconds

    # --- JobObserver ------------------------------------------------------------------------------------------------

    def queue_changed(self, endpoint_id: str) -> None:
        self.changed(endpoint_id)

    def job_released(self, worker_id: str, job_id: str, *, stop: bool) -> None:
        session = self._sessions.get(worker_id)
        if session is None:
            return
        session.jobs.pop(job_id, None)
        if not session.jobs:
            session.idle_since = self._clock()
        if stop:
            session.stops.append(job_id)
            session.stopped[job_id] = 0
            session.signal.fire()

    def job_finished(self, job: Job) -> None:
        session = self._sessions.get(job.worker_id or "")
        if session is not None and job.status in (JobStatus.COMPLETED, JobStatus.FAILED):
            session.jobs_done += 1
