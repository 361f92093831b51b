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


@dataclass
class WorkerSession:
    """One worker as the worker plane knows it. The scaler reads it; only the roster and the routes write it."""

    worker_id: str
    endpoint_id: str
    key: str = field(repr=False)
    first_poll_at: float | None = None
    """Set by the first job-take: from here on the worker is ready."""
    first_ping_at: float | None = None
    first_job_at: float | None = None
    heard_at: float | None = None
    """Last ping; before the first one, last poll."""
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
    """Its jobs in progress, and how many pings in a row left them out."""
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
