"""The job book: every job of every endpoint, its state and its way through the queue.

What is true here: SQLite is the truth, so that a queued job is still queued after kill -9 of the emulator; only the
pieces of a running stream live in memory until the job ends. All calls are synchronous and happen on one event loop.
Whoever wants to hear of changes (the scaler, the roster of workers, webhooks) observes; the book knows none of them.
"""

import json
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from runpod_emulator.jobs._model import Demand, Job, JobCounts, JobStatus, Submission
from runpod_emulator.jobs._table import COLUMNS, SCHEMA, job_from
from runpod_emulator.store import Store
from runpod_emulator.waiting import Signal

LOST_JOB_RETRIES = 1
"""How often a job is given to another worker when its worker is lost. RunPod does not document the number; a status
observed live said "job timed out after 1 retries" (runpod-api-live.md §3). Our assumption."""


class JobObserver(Protocol):
    """Hears of changes at once, inside the call that makes them; must not block and must not call back."""

    def queue_changed(self, endpoint_id: str) -> None:
        """A job was queued, started or finished."""

    def job_released(self, worker_id: str, job_id: str, *, stop: bool) -> None:
        """The job is no longer the worker's; with `stop` the worker still runs it and has to be told."""

    def job_finished(self, job: Job) -> None:
        """The job reached a final state."""


class JobBook:
    """See the module's docstring. Create one per store; `recover()` once before the first worker starts."""

    def __init__(self, store: Store, clock: Callable[[], float]) -> None:
        self._store = store
        self._clock = clock
        self._observers: list[JobObserver] = []
        self._streams: dict[str, list[str]] = {}
        self._queue_signals: defaultdict[str, Signal] = defaultdict(Signal)
        self._job_signals: dict[str, Signal] = {}
        store.register_schema(SCHEMA)

    def observe(self, observer: JobObserver) -> None:
        self._observers.append(observer)

    def queue_signal(self, endpoint_id: str) -> Signal:
        """Fires when a job may be there to take."""
        return self._queue_signals[endpoint_id]

    def job_signal(self, job_id: str) -> Signal:
        """Fires when the job's state, progress or stream changed."""
        return self._job_signals.setdefault(job_id, Signal())

    # --- what a caller does -----------------------------------------------------------------------------------------

    def submit(self, endpoint_id: str, submission: Submission) -> Job:
        now = self._clock()
        job_id = submission.new_id()
        s3_config = None if submission.s3_config is None else _json(submission.s3_config)
        self._store.execute(
            "INSERT INTO jobs (id, endpoint_id, kind, status, input, s3_config, webhook, low_priority, submitted_at, "
            "queued_at, ttl_at, expires_at, retention_s, execution_timeout_s) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                job_id, endpoint_id, submission.kind, JobStatus.IN_QUEUE, _json(submission.input), s3_config,
                submission.webhook, submission.low_priority, now, now, now + submission.ttl_s, now + submission.ttl_s,
                submission.retention_s, submission.execution_timeout_s,
            ),
        )  # fmt: skip
        self._queued(endpoint_id)
        return self._require(job_id)

    def get(self, endpoint_id: str, job_id: str) -> Job | None:
        """The job as a caller may see it; None once it has expired."""
        job = self._find(job_id)
        if job is None or job.endpoint_id != endpoint_id or job.expires_at <= self._clock():
            return None
        return job

    def cancel(self, endpoint_id: str, job_id: str) -> Job | None:
        """CANCELLED from queue or worker. A job that is over keeps its state (our assumption)."""
        job = self.get(endpoint_id, job_id)
        if job is None or job.status.final:
            return job
        return self._end(job, JobStatus.CANCELLED, stop=job.status is JobStatus.IN_PROGRESS)

    def retry(self, endpoint_id: str, job_id: str) -> Job | None:
        """Queue a FAILED or TIMED_OUT job again under its id (runpod-api.md §2.8). Others come back unchanged."""
        job = self.get(endpoint_id, job_id)
        if job is None or job.status not in (JobStatus.FAILED, JobStatus.TIMED_OUT):
            return job
        self._requeue(job, lost=0)
        return self._require(job_id)

    def purge(self, endpoint_id: str) -> int:
        """Take every queued job out; jobs in progress go on (runpod-api.md §2.8). They end as CANCELLED, so that a
        waiting caller gets an answer (our assumption)."""
        jobs = self._select("endpoint_id = ? AND status = ?", (endpoint_id, JobStatus.IN_QUEUE))
        for job in jobs:
            self._end(job, JobStatus.CANCELLED)
        return len(jobs)

    def drop_endpoint(self, endpoint_id: str) -> None:
        """The endpoint is gone and its job history with it (runpod-api.md §1.2, Delete)."""
        for job in self._select("endpoint_id = ?", (endpoint_id,)):
            if not job.status.final:
                self._end(job, JobStatus.CANCELLED, stop=job.status is JobStatus.IN_PROGRESS)
        self._forget(self._select("endpoint_id = ?", (endpoint_id,)))
        self._store.execute("DELETE FROM job_counts WHERE endpoint_id = ?", (endpoint_id,))

    # --- what a worker does -----------------------------------------------------------------------------------------

    def take(self, endpoint_id: str, worker_id: str, limit: int, endpoint_timeout_s: float) -> list[Job]:
        """Give the worker up to `limit` of the oldest queued jobs."""
        now = self._clock()
        with self._store.transaction():
            taken = self._select(
                "endpoint_id = ? AND status = ? AND ttl_at > ? ORDER BY seq LIMIT ?",
                (endpoint_id, JobStatus.IN_QUEUE, now, limit),
            )
            for job in taken:
                limit_s = endpoint_timeout_s if job.execution_timeout_s is None else job.execution_timeout_s
                self._store.execute(
                    "UPDATE jobs SET status = ?, worker_id = ?, started_at = ?, deadline_at = ? WHERE id = ?",
                    (JobStatus.IN_PROGRESS, worker_id, now, now + limit_s, job.id),
                )
        for job in taken:
            self._fire(job.id)
        if taken:
            self._changed(endpoint_id)
        return [self._require(job.id) for job in taken]

    def give_back(self, worker_id: str, job_ids: Iterable[str]) -> None:
        """The worker never received them: back to the place they had in the queue, no retry counted."""
        for job_id in job_ids:
            job = self._running(worker_id, job_id)
            if job is not None:
                self._requeue(job, lost=job.lost)

    def add_chunk(self, worker_id: str, job_id: str, output: Any) -> bool:
        """One streamed piece. False when the job is not (or no longer) this worker's."""
        if self._running(worker_id, job_id) is None:
            return False
        self._stream(job_id).append(_json(output))
        self._fire(job_id)
        return True

    def progress(self, worker_id: str, job_id: str, output: Any) -> bool:
        """A progress update: visible as `output` while the job runs (runpod-api.md §2.8)."""
        if self._running(worker_id, job_id) is None:
            return False
        self._store.execute("UPDATE jobs SET output = ? WHERE id = ?", (_json(output), job_id))
        self._fire(job_id)
        return True

    def finish(self, worker_id: str, job_id: str, *, output: str | None, error: str | None) -> bool:
        """The worker's result: COMPLETED, or FAILED when there is an error (runpod-api.md §3.2)."""
        job = self._running(worker_id, job_id)
        if job is None:
            return False
        self._end(job, JobStatus.COMPLETED if error is None else JobStatus.FAILED, output=output, error=error)
        return True

    def worker_lost(self, worker_id: str, job_id: str | None = None) -> None:
        """The worker is gone (or has forgotten the one job): queue its jobs again, up to the limit."""
        for job in self._select("worker_id = ? AND status = ?", (worker_id, JobStatus.IN_PROGRESS)):
            if job_id is not None and job.id != job_id:
                continue
            if job.lost < LOST_JOB_RETRIES:
                self._requeue(job, lost=job.lost + 1)
            else:
                error = f"job timed out after {job.lost} retries"
                self._end(job, JobStatus.FAILED, output=None, error=error)

    def jobs_of(self, worker_id: str) -> list[str]:
        rows = self._store.query(
            "SELECT id FROM jobs WHERE worker_id = ? AND status = ?", (worker_id, JobStatus.IN_PROGRESS)
        )
        return [row["id"] for row in rows]

    # --- streams ----------------------------------------------------------------------------------------------------

    def drain(self, job_id: str) -> list[Any]:
        """The streamed pieces nobody has fetched yet. Each is handed out once."""
        stream = self._stream(job_id)
        pieces = [json.loads(piece) for piece in stream]
        if pieces:
            stream.clear()
            self._store.execute("UPDATE jobs SET chunks = NULL WHERE id = ? AND chunks IS NOT NULL", (job_id,))
        return pieces

    # --- time, counts and recovery ----------------------------------------------------------------------------------

    def sweep(self) -> None:
        """End what ran too long, forget what nobody can ask for any more."""
        now = self._clock()
        for job in self._select("status = ? AND deadline_at <= ?", (JobStatus.IN_PROGRESS, now)):
            ran_s = (job.deadline_at or now) - (job.started_at or now)
            error = f"job ran longer than its executionTimeout ({round(ran_s * 1000)} ms)"
            self._end(job, JobStatus.TIMED_OUT, output=None, error=error, stop=True)
        gone = self._select("expires_at <= ?", (now,))
        for job in gone:
            if job.status is JobStatus.IN_PROGRESS and job.worker_id is not None:
                self._release(job, stop=True)
        self._forget(gone)

    def demand(self, endpoint_id: str, overdue_after_s: float = 0.0) -> Demand:
        row = self._store.query_one(
            "SELECT COALESCE(SUM(status = 'IN_QUEUE'), 0) AS queued, COALESCE(SUM(status = 'IN_PROGRESS'), 0) AS busy, "
            "COALESCE(SUM(status = 'IN_QUEUE' AND queued_at <= :since), 0) AS overdue FROM jobs "
            "WHERE endpoint_id = :id AND status IN ('IN_QUEUE', 'IN_PROGRESS') AND ttl_at > :now "
            "AND NOT (low_priority AND status = 'IN_QUEUE')",
            {"id": endpoint_id, "now": self._clock(), "since": self._clock() - overdue_after_s},
        )
        assert row is not None
        return Demand(in_queue=row["queued"], in_progress=row["busy"], overdue=row["overdue"])

    def counts(self, endpoint_id: str) -> JobCounts:
        rows = self._store.query(
            "SELECT status, COUNT(*) AS n FROM jobs WHERE endpoint_id = ? AND status IN ('IN_QUEUE', 'IN_PROGRESS') "
            "GROUP BY status",
            (endpoint_id,),
        )
        now = {row["status"]: row["n"] for row in rows}
        past = self._store.query_one("SELECT * FROM job_counts WHERE endpoint_id = ?", (endpoint_id,))
        return JobCounts(
            in_queue=now.get("IN_QUEUE", 0),
            in_progress=now.get("IN_PROGRESS", 0),
            completed=past["completed"] if past else 0,
            failed=past["failed"] if past else 0,
            retried=past["retried"] if past else 0,
        )

    def recover(self) -> int:
        """After a start: no worker of an earlier life exists, so what was in progress is queued again, without
        counting as a retry. Jobs of the OpenAI route are cancelled: their connection is gone, nobody can ask for
        the answer (both our assumptions)."""
        left = self._select("status = ?", (JobStatus.IN_PROGRESS,))
        for job in left:
            self._requeue(job, lost=job.lost)
        for job in self._select("kind = 'openai' AND status = ?", (JobStatus.IN_QUEUE,)):
            self._end(job, JobStatus.CANCELLED)
        return len(left)

    def reload(self) -> int:
        """After the rows were replaced by others: forget what memory holds of the old ones, then as after a start."""
        self._streams.clear()
        left = self.recover()
        for signal in (*self._job_signals.values(), *self._queue_signals.values()):
            signal.fire()
        return left

    def pending_webhooks(self) -> list[tuple[Job, int]]:
        """Finished jobs whose webhook is not through, with the number of tries so far."""
        rows = self._store.query(
            f"SELECT {COLUMNS}, webhook_tries FROM jobs "  # noqa: S608 - no input in it
            "WHERE webhook IS NOT NULL AND webhook_done = 0 AND finished_at IS NOT NULL"
        )
        return [(job_from(row), row["webhook_tries"]) for row in rows]

    def webhook_tried(self, job_id: str, *, tries: int, done: bool) -> None:
        self._store.execute("UPDATE jobs SET webhook_tries = ?, webhook_done = ? WHERE id = ?", (tries, done, job_id))

    # --- inside -----------------------------------------------------------------------------------------------------

    def _end(
        self, job: Job, status: JobStatus, *, output: str | None = None, error: str | None = None, stop: bool = False
    ) -> Job:
        chunks = self._streams.get(job.id)
        now = self._clock()
        with self._store.transaction():
            self._store.execute(
                "UPDATE jobs SET status = ?, finished_at = ?, expires_at = ?, output = ?, error = ?, chunks = ? "
                "WHERE id = ?",
                (
                    status, now, min(job.ttl_at, now + job.retention_s), output, error,
                    json.dumps(chunks) if chunks else None, job.id,
                ),
            )  # fmt: skip
            if status is JobStatus.COMPLETED:
                self._count(job.endpoint_id, "completed")
            elif status in (JobStatus.FAILED, JobStatus.TIMED_OUT):
                self._count(job.endpoint_id, "failed")
        ended = self._require(job.id)
        if job.status is JobStatus.IN_PROGRESS:
            self._release(job, stop=stop)
        self._fire(job.id)
        self._changed(job.endpoint_id)
        for observer in self._observers:
            observer.job_finished(ended)
        return ended

    def _requeue(self, job: Job, *, lost: int) -> None:
        counted = lost > job.lost or job.status.final
        with self._store.transaction():
            self._store.execute(
                "UPDATE jobs SET status = ?, worker_id = NULL, started_at = NULL, deadline_at = NULL, "
                "finished_at = NULL, expires_at = ttl_at, queued_at = ?, lost = ?, output = NULL, error = NULL, "
                "chunks = NULL, webhook_tries = 0, webhook_done = 0 WHERE id = ?",
                (JobStatus.IN_QUEUE, self._clock(), lost, job.id),
            )
            if counted:
                self._count(job.endpoint_id, "retried")
        self._streams.pop(job.id, None)
        if job.status is JobStatus.IN_PROGRESS:
            self._release(job, stop=False)
        self._fire(job.id)
        self._queued(job.endpoint_id)

    def _release(self, job: Job, *, stop: bool) -> None:
        if job.worker_id is not None:
            for observer in self._observers:
                observer.job_released(job.worker_id, job.id, stop=stop)

    def _forget(self, jobs: Iterable[Job]) -> None:
        for job in jobs:
            self._store.execute("DELETE FROM jobs WHERE id = ?", (job.id,))
            self._streams.pop(job.id, None)
            self._fire(job.id)
            self._job_signals.pop(job.id, None)
            if not job.status.final:
                self._changed(job.endpoint_id)

    def _count(self, endpoint_id: str, what: str) -> None:
        self._store.execute("INSERT OR IGNORE INTO job_counts (endpoint_id) VALUES (?)", (endpoint_id,))
        self._store.execute(f"UPDATE job_counts SET {what} = {what} + 1 WHERE endpoint_id = ?", (endpoint_id,))  # noqa: S608 - `what` is ours

    def _stream(self, job_id: str) -> list[str]:
        if job_id not in self._streams:
            row = self._store.query_one("SELECT chunks FROM jobs WHERE id = ?", (job_id,))
            self._streams[job_id] = json.loads(row["chunks"]) if row and row["chunks"] else []
        return self._streams[job_id]

    def _running(self, worker_id: str, job_id: str) -> Job | None:
        job = self._find(job_id)
        return job if job and job.worker_id == worker_id and job.status is JobStatus.IN_PROGRESS else None

    def _find(self, job_id: str) -> Job | None:
        found = self._select("id = ?", (job_id,))
        return found[0] if found else None

    def _require(self, job_id: str) -> Job:
        job = self._find(job_id)
        assert job is not None, job_id
        return job

    def _select(self, where: str, parameters: tuple[object, ...]) -> list[Job]:
        rows = self._store.query(f"SELECT {COLUMNS} FROM jobs WHERE {where}", parameters)  # noqa: S608 - `where` is ours
        return [job_from(row) for row in rows]

    def _queued(self, endpoint_id: str) -> None:
        self._queue_signals[endpoint_id].fire()
        self._changed(endpoint_id)

    def _changed(self, endpoint_id: str) -> None:
        for observer in self._observers:
            observer.queue_changed(endpoint_id)

    def _fire(self, job_id: str) -> None:
        signal = self._job_signals.get(job_id)
        if signal is not None:
            signal.fire()


def _json(value: Any) -> str:
    # ASCII only: a worker may send half of a surrogate pair, which UTF-8 could not hold.
    return json.dumps(value, separators=(",", ":"))
