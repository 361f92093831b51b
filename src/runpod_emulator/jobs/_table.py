"""The job plane's tables and how a row becomes a `Job`. `seq` is the order of the queue."""

from runpod_emulator.jobs._model import Job, JobStatus
from runpod_emulator.store import Row

SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    endpoint_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    status TEXT NOT NULL,
    input TEXT NOT NULL,
    s3_config TEXT,
    webhook TEXT,
    webhook_tries INTEGER NOT NULL DEFAULT 0,
    webhook_done INTEGER NOT NULL DEFAULT 0,
    low_priority INTEGER NOT NULL,
    submitted_at REAL NOT NULL,
    queued_at REAL NOT NULL,
    ttl_at REAL NOT NULL,
    expires_at REAL NOT NULL,
    retention_s REAL NOT NULL,
    execution_timeout_s REAL,
    started_at REAL,
    deadline_at REAL,
    finished_at REAL,
    worker_id TEXT,
    lost INTEGER NOT NULL DEFAULT 0,
    output TEXT,
    error TEXT,
    chunks TEXT
);
CREATE INDEX IF NOT EXISTS jobs_by_queue ON jobs (endpoint_id, status, seq);
CREATE INDEX IF NOT EXISTS jobs_by_worker ON jobs (worker_id, status);
CREATE INDEX IF NOT EXISTS jobs_by_deadline ON jobs (status, deadline_at);
CREATE INDEX IF NOT EXISTS jobs_by_expiry ON jobs (expires_at);
CREATE TABLE IF NOT EXISTS job_counts (
    endpoint_id TEXT PRIMARY KEY,
    completed INTEGER NOT NULL DEFAULT 0,
    failed INTEGER NOT NULL DEFAULT 0,
    retried INTEGER NOT NULL DEFAULT 0
);
"""

COLUMNS = (
    "id, endpoint_id, kind, status, input, s3_config, webhook, low_priority, submitted_at, ttl_at, expires_at, "
    "retention_s, execution_timeout_s, started_at, deadline_at, finished_at, worker_id, lost, output, error"
)


def job_from(row: Row) -> Job:
    values = {name: row[name] for name in COLUMNS.split(", ")}
    values["status"] = JobStatus(values["status"])
    values["low_priority"] = bool(values["low_priority"])
    return Job(**values)
