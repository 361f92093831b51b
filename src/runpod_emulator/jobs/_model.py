"""A job as the emulator keeps it: plain frozen data, the documented states, and what a caller is shown of it."""

import json
import uuid
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal

from runpod_emulator.model import Json

JobKind = Literal["run", "runsync", "openai"]


class JobStatus(StrEnum):
    """The states of a job (runpod-api.md §2.7). `RUNNING` is listed there but never sent, so it does not exist here."""

    IN_QUEUE = "IN_QUEUE"
    IN_PROGRESS = "IN_PROGRESS"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    TIMED_OUT = "TIMED_OUT"

    @property
    def final(self) -> bool:
        return self not in (JobStatus.IN_QUEUE, JobStatus.IN_PROGRESS)


@dataclass(frozen=True)
class Submission:
    """What a caller asked for, already checked."""

    kind: JobKind
    input: Any
    """Handed to the worker as it came; any JSON value."""
    ttl_s: float
    retention_s: float
    execution_timeout_s: float | None = None
    """None: the endpoint's own limit, as it is when a worker takes the job."""
    low_priority: bool = False
    webhook: str | None = None
    s3_config: Json | None = None

    def new_id(self) -> str:
        """`<uuid>-u1`, with `sync-` in front where the caller waits for the answer (runpod-api.md §2.8)."""
        return f"{'' if self.kind == 'run' else 'sync-'}{uuid.uuid4()}-u1"


@dataclass(frozen=True)
class Job:
    """One row of the job table. Times are seconds since the epoch."""

    id: str
    endpoint_id: str
    kind: JobKind
    status: JobStatus
    input: str
    """JSON text, as the worker gets it."""
    s3_config: str | None
    webhook: str | None
    low_priority: bool
    submitted_at: float
    ttl_at: float
    """A hard limit counted from submission, whatever the job's state (runpod-api.md §2.3)."""
    expires_at: float
    """From here on nobody finds the job: the TTL, or earlier the end of the time its result is kept."""
    retention_s: float
    execution_timeout_s: float | None
    started_at: float | None
    deadline_at: float | None
    finished_at: float | None
    worker_id: str | None
    lost: int
    """How many workers were lost while they had this job."""
    output: str | None
    """JSON text: the result, or the newest progress while the job runs."""
    error: str | None

    def for_worker(self) -> Json:
        """The job as job-take answers it: the SDK needs `id` and `input` (runpod-api.md §3.2 row 1)."""
        body: Json = {"id": self.id, "input": json.loads(self.input)}
        if self.s3_config is not None:
            body["s3Config"] = json.loads(self.s3_config)
        return body

    def for_caller(self) -> Json:
        """The job as run, runsync, status and webhooks show it (runpod-api.md §2.8)."""
        body: Json = {"id": self.id, "status": self.status.value}
        if self.started_at is not None:
            body["delayTime"] = _milliseconds(self.started_at - self.submitted_at)
            if self.finished_at is not None:
                body["executionTime"] = _milliseconds(self.finished_at - self.started_at)
        if self.output is not None:
            body["output"] = json.loads(self.output)
        if self.error is not None:
            body["error"] = self.error
        if self.worker_id is not None:
            body["workerId"] = self.worker_id
        return body


@dataclass(frozen=True)
class Demand:
    """What the scaler needs to know about one endpoint's queue. Low-priority jobs in the queue do not count: they
    never start a worker (runpod-api.md §2.7, policy)."""

    in_queue: int
    in_progress: int
    overdue: int = 0
    """Queued jobs that waited longer than the endpoint's queue delay."""


@dataclass(frozen=True)
class JobCounts:
    """The `jobs` half of /health (runpod-api.md §2.8). The three finals count since the endpoint exists
    (our assumption)."""

    in_queue: int
    in_progress: int
    completed: int
    failed: int
    retried: int


def _milliseconds(seconds: float) -> int:
    return max(0, round(seconds * 1000))
