"""The job plane: `/v2/<endpoint>/{run,runsync,status,stream,cancel,retry,purge-queue,health,openai/v1/…}`.

True here: every job is a row in SQLite before its caller hears of it, so kill -9 of the emulator loses no queued job;
a job changes state only in `JobBook`. May import the emulator's context, config, store, model and ports, and the leaf
`redaction`; nothing of the worker plane or the scaler, which observe the book.
"""

from runpod_emulator.jobs._access import admit, still_connected
from runpod_emulator.jobs._book import LOST_JOB_RETRIES, JobBook, JobObserver
from runpod_emulator.jobs._model import Demand, Job, JobCounts, JobStatus, Submission
from runpod_emulator.jobs._request import SYNC_LIMIT, JobRequestError, parse_json, read_limited
from runpod_emulator.jobs._routes import add_routes
from runpod_emulator.jobs._webhooks import Webhooks

__all__ = [
    "LOST_JOB_RETRIES",
    "SYNC_LIMIT",
    "Demand",
    "Job",
    "JobBook",
    "JobCounts",
    "JobObserver",
    "JobRequestError",
    "JobStatus",
    "Submission",
    "Webhooks",
    "add_routes",
    "admit",
    "parse_json",
    "read_limited",
    "still_connected",
]
