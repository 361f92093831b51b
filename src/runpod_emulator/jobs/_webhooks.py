"""Webhooks: the finished job is posted to the URL its caller named (runpod-api.md §2.7).

200 is expected; otherwise two more tries, ten seconds apart. What was not delivered when the emulator ended is tried
again by the next one, with the tries that are left.
"""

import asyncio
import io
import json
import logging

import aiohttp

from redaction import redact
from runpod_emulator.clock import Clock
from runpod_emulator.jobs._book import JobBook
from runpod_emulator.jobs._model import Job

TRIES = 3
ANSWER_WITHIN_S = 30.0
_log = logging.getLogger(__name__)


class Webhooks:
    """Observes a book. `start()` inside the event loop; `stop()` ends what is under way."""

    def __init__(self, book: JobBook, retry_s: float, clock: Clock) -> None:
        self._book, self._retry_s, self._clock = book, retry_s, clock
        self._session: aiohttp.ClientSession | None = None
        self._running: set[asyncio.Task[None]] = set()
        book.observe(self)

    async def start(self) -> None:
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=ANSWER_WITHIN_S))
        for job, tries in self._book.pending_webhooks():
            self._begin(job, tries)

    async def stop(self) -> None:
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        if self._session is not None:
            await self._session.close()
            self._session = None

    def queue_changed(self, endpoint_id: str) -> None: ...

    def job_released(self, worker_id: str, job_id: str, *, stop: bool) -> None: ...

    def job_finished(self, job: Job) -> None:
        if job.webhook is not None and self._session is not None:
            self._begin(job, 0)

    def _begin(self, job: Job, tries: int) -> None:
        task = asyncio.get_running_loop().create_task(self._deliver(job, tries))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _deliver(self, job: Job, tries: int) -> None:
        while tries < TRIES:
            ok = await self._post(job)
            tries += 1
            self._book.webhook_tried(job.id, tries=tries, done=ok or tries == TRIES)
            if ok:
                return
            if tries < TRIES:
                await self._clock.sleep(self._retry_s)

    async def _post(self, job: Job) -> bool:
        assert self._session is not None
        assert job.webhook is not None
        try:
            # No redirects: they could lead off this machine.
            async with self._session.post(
                job.webhook,
                data=io.BytesIO(json.dumps(job.for_caller()).encode()),  # a large output is sent in pieces
                headers={"Content-Type": "application/json"},
                allow_redirects=False,
            ) as answer:
                if answer.status == 200:
                    return True
                why = f"answered {answer.status}"
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            why = str(error) or type(error).__name__
        _log.warning("webhook of job %s: %s", job.id, redact(f"{job.webhook} {why}"))
        return False
