"""The job book under a clock that only the test moves."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from runpod_emulator.jobs import LOST_JOB_RETRIES, Job, JobBook, JobStatus, Submission
from runpod_emulator.store import Store

ENDPOINT = "endpoint000000"


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store.connect(tmp_path / "db.sqlite3")
    yield opened
    opened.close()


@pytest.fixture
def book(store: Store, clock: Clock) -> JobBook:
    return JobBook(store, clock)


def submission(**changes: Any) -> Submission:
    return Submission(**{"kind": "run", "input": {"n": 1}, "ttl_s": 3600.0, "retention_s": 60.0, **changes})


def take(book: JobBook, worker: str = "w1", limit: int = 1) -> list[Job]:
    return book.take(ENDPOINT, worker, limit, endpoint_timeout_s=300.0)


def status(book: JobBook, job: Job) -> JobStatus | None:
    found = book.get(ENDPOINT, job.id)
    return found.status if found else None


def test_jobs_are_taken_in_the_order_they_came(book: JobBook) -> None:
    """First in, first out, and nobody gets a job twice."""
    jobs = [book.submit(ENDPOINT, submission()) for _ in range(3)]
    assert [job.id for job in take(book, limit=2)] == [jobs[0].id, jobs[1].id]
    assert [job.id for job in take(book, "w2", limit=9)] == [jobs[2].id]
    assert take(book, "w3") == []


def test_times_are_milliseconds_between_the_states(book: JobBook, clock: Clock) -> None:
    """delayTime is the wait in the queue, executionTime the work."""
    job = book.submit(ENDPOINT, submission())
    clock.now += 1.5
    take(book)
    clock.now += 2.25
    assert book.finish("w1", job.id, output='{"a":1}', error=None)
    found = book.get(ENDPOINT, job.id)
    assert found is not None
    assert found.for_caller() == {
        "id": job.id, "status": "COMPLETED", "delayTime": 1500, "executionTime": 2250, "output": {"a": 1},
        "workerId": "w1",
    }  # fmt: skip


def test_a_worker_cannot_finish_what_it_was_not_given(book: JobBook) -> None:
    """Neither another worker's job nor one that was taken from it."""
    job = book.submit(ENDPOINT, submission())
    take(book)
    assert not book.finish("w2", job.id, output="1", error=None)
    book.cancel(ENDPOINT, job.id)
    assert not book.finish("w1", job.id, output="1", error=None)
    assert status(book, job) is JobStatus.CANCELLED


def test_results_are_kept_for_their_time_and_then_gone(book: JobBook, clock: Clock) -> None:
    """After the retention a caller finds nothing, and the row is swept away."""
    job = book.submit(ENDPOINT, submission())
    take(book)
    book.finish("w1", job.id, output="1", error=None)
    clock.now += 59.9
    assert status(book, job) is JobStatus.COMPLETED
    clock.now += 0.1
    assert status(book, job) is None
    book.sweep()
    assert book.retry(ENDPOINT, job.id) is None


def test_the_ttl_ends_a_job_in_any_state(book: JobBook, clock: Clock) -> None:
    """A hard limit from submission: even a running job vanishes, and its worker is told to stop."""
    told = Told()
    book.observe(told)
    queued = book.submit(ENDPOINT, submission(ttl_s=20.0))
    running = book.submit(ENDPOINT, submission(ttl_s=20.0, execution_timeout_s=500.0))
    clock.now += 1
    assert take(book)[0].id == queued.id
    clock.now += 19
    assert take(book, "w2") == []
    book.sweep()
    assert status(book, queued) is None
    assert status(book, running) is None
    assert told.stopped == [("w1", queued.id)]


def test_a_job_that_runs_too_long_times_out(book: JobBook, clock: Clock) -> None:
    """Its own executionTimeout, else the endpoint's; the worker is told to stop."""
    told = Told()
    book.observe(told)
    own = book.submit(ENDPOINT, submission(execution_timeout_s=5.0))
    endpoints = book.submit(ENDPOINT, submission())
    take(book, limit=2)
    clock.now += 5
    book.sweep()
    assert status(book, own) is JobStatus.TIMED_OUT
    assert status(book, endpoints) is JobStatus.IN_PROGRESS
    clock.now += 295
    book.sweep()
    assert status(book, endpoints) is JobStatus.TIMED_OUT
    assert told.stopped == [("w1", own.id), ("w1", endpoints.id)]


def test_a_lost_workers_job_is_retried_up_to_the_limit(book: JobBook) -> None:
    """It keeps its place at the head of the queue; then it fails, saying how often it was tried."""
    job = book.submit(ENDPOINT, submission())
    book.submit(ENDPOINT, submission())
    for number in range(LOST_JOB_RETRIES):
        assert take(book, f"w{number}")[0].id == job.id
        book.worker_lost(f"w{number}")
        assert status(book, job) is JobStatus.IN_QUEUE
    take(book, "last")
    book.worker_lost("last")
    found = book.get(ENDPOINT, job.id)
    assert found is not None
    assert (found.status, found.error) == (JobStatus.FAILED, f"job timed out after {LOST_JOB_RETRIES} retries")
    assert book.counts(ENDPOINT).retried == LOST_JOB_RETRIES


def test_retry_takes_failed_and_timed_out_jobs_only(book: JobBook, clock: Clock) -> None:
    """The same id goes back to the queue and can complete."""
    job = book.submit(ENDPOINT, submission())
    take(book)
    book.finish("w1", job.id, output=None, error="broken")
    retried = book.retry(ENDPOINT, job.id)
    assert retried is not None
    assert (retried.status, retried.error) == (JobStatus.IN_QUEUE, None)
    take(book)
    book.finish("w1", job.id, output="1", error=None)
    done = book.retry(ENDPOINT, job.id)
    assert done is not None
    assert done.status is JobStatus.COMPLETED


def test_streamed_pieces_are_handed_out_once(book: JobBook) -> None:
    """Also the ones that came before the end was known."""
    job = book.submit(ENDPOINT, submission())
    take(book)
    book.add_chunk("w1", job.id, "a")
    assert book.drain(job.id) == ["a"]
    book.add_chunk("w1", job.id, "b")
    book.finish("w1", job.id, output="[]", error=None)
    assert book.drain(job.id) == ["b"]
    assert book.drain(job.id) == []


def test_what_was_streamed_and_not_fetched_survives_a_restart(book: JobBook, store: Store, clock: Clock) -> None:
    """A finished job's pieces are in the database until somebody fetches them."""
    job = book.submit(ENDPOINT, submission())
    take(book)
    book.add_chunk("w1", job.id, {"x": "\ud83d"})
    book.finish("w1", job.id, output="[]", error=None)
    reopened = JobBook(store, clock)
    assert reopened.drain(job.id) == [{"x": "\ud83d"}]
    assert JobBook(store, clock).drain(job.id) == []


def test_after_a_restart_queued_jobs_are_queued_and_running_ones_too(book: JobBook, store: Store, clock: Clock) -> None:
    """No retry is counted for the emulator's own end; a job of the OpenAI route is cancelled, its client is gone."""
    running = book.submit(ENDPOINT, submission())
    queued = book.submit(ENDPOINT, submission())
    chat = book.submit(ENDPOINT, submission(kind="openai"))
    take(book)
    reopened = JobBook(store, clock)
    assert reopened.recover() == 1
    assert status(reopened, chat) is JobStatus.CANCELLED
    assert [job.id for job in take(reopened, "w2", limit=9)] == [running.id, queued.id]
    assert reopened.counts(ENDPOINT).retried == 0


def test_low_priority_jobs_are_no_demand(book: JobBook, clock: Clock) -> None:
    """They wait for a worker that is there anyway; once running they count."""
    book.submit(ENDPOINT, submission(low_priority=True))
    clock.now += 100
    demand = book.demand(ENDPOINT, 4.0)
    assert (demand.in_queue, demand.in_progress, demand.overdue) == (0, 0, 0)
    take(book)
    assert book.demand(ENDPOINT, 4.0).in_progress == 1


def test_jobs_are_overdue_after_the_queue_delay(book: JobBook, clock: Clock) -> None:
    """Only the ones that waited long enough count."""
    book.submit(ENDPOINT, submission())
    clock.now += 3
    book.submit(ENDPOINT, submission())
    clock.now += 1
    assert book.demand(ENDPOINT, 4.0).overdue == 1


class Told:
    def __init__(self) -> None:
        self.stopped: list[tuple[str, str]] = []

    def queue_changed(self, endpoint_id: str) -> None: ...

    def job_released(self, worker_id: str, job_id: str, *, stop: bool) -> None:
        if stop:
            self.stopped.append((worker_id, job_id))

    def job_finished(self, job: Job) -> None: ...


class Queue(RuleBasedStateMachine):
    """Any order of calls by callers and workers, against a plain model of who has what."""

    @initialize()
    def open(self) -> None:
        import sqlite3

        connection = sqlite3.connect(":memory:", isolation_level=None)
        connection.row_factory = sqlite3.Row
        self.clock = Clock()
        self.book = JobBook(Store(connection, Path(":memory:")), self.clock)
        self.connection = connection
        self.jobs: list[str] = []
        self.final: dict[str, JobStatus] = {}

    def teardown(self) -> None:
        if hasattr(self, "connection"):
            self.connection.close()

    def some(self, number: int) -> str | None:
        return self.jobs[number % len(self.jobs)] if self.jobs else None

    @rule()
    def submit(self) -> None:
        self.jobs.append(self.book.submit(ENDPOINT, submission(ttl_s=1e9, retention_s=1e9)).id)

    @rule(worker=st.sampled_from("abc"), limit=st.integers(1, 3))
    def take(self, worker: str, limit: int) -> None:
        for job in self.book.take(ENDPOINT, worker, limit, 1e9):
            assert job.worker_id == worker
            assert job.id not in self.final

    @rule(worker=st.sampled_from("abc"), number=st.integers(0), failed=st.booleans())
    def finish(self, worker: str, number: int, failed: bool) -> None:
        job_id = self.some(number)
        if job_id is not None and self.book.finish(worker, job_id, output="1", error="no" if failed else None):
            assert job_id not in self.final

    @rule(worker=st.sampled_from("abc"))
    def lose(self, worker: str) -> None:
        self.book.worker_lost(worker)
        assert self.book.jobs_of(worker) == []

    @rule(number=st.integers(0))
    def cancel(self, number: int) -> None:
        job_id = self.some(number)
        if job_id is not None:
            self.book.cancel(ENDPOINT, job_id)

    @rule(number=st.integers(0))
    def retry(self, number: int) -> None:
        job_id = self.some(number)
        if job_id is not None and self.final.get(job_id) is JobStatus.FAILED:
            del self.final[job_id]
            self.book.retry(ENDPOINT, job_id)

    @rule()
    def purge(self) -> None:
        waiting = self.book.counts(ENDPOINT).in_queue
        assert self.book.purge(ENDPOINT) == waiting

    @invariant()
    def nothing_is_lost_and_what_is_final_stays(self) -> None:
        if not hasattr(self, "book"):
            return
        counts = self.book.counts(ENDPOINT)
        for job_id in self.jobs:
            job = self.book.get(ENDPOINT, job_id)
            assert job is not None
            assert self.final.get(job_id, job.status) is job.status
            if job.status.final:
                self.final[job_id] = job.status
        assert counts.in_queue + counts.in_progress + len(self.final) == len(self.jobs)
        assert sum(len(self.book.jobs_of(worker)) for worker in "abc") == counts.in_progress


Queue.TestCase.settings = settings(max_examples=30, stateful_step_count=25, deadline=None)
TestQueue = Queue.TestCase
