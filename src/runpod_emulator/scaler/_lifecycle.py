"""Starting, watching and ending worker processes. Decides nothing about numbers: the scaler does.

Each worker has one task that starts its process and waits for its end; whatever ends it, `ended` is reached exactly
once, the worker's key is void then, and its jobs are back in the queue.
"""

import asyncio
import logging
import signal
from collections.abc import Callable

from redaction import redact
from runpod_emulator.balancer import watched
from runpod_emulator.context import Context
from runpod_emulator.errors import EmulatorError
from runpod_emulator.jobs import JobBook
from runpod_emulator.model import Endpoint
from runpod_emulator.ports import Container
from runpod_emulator.scaler._launch import container_spec
from runpod_emulator.scaler._worker import Phase, Worker
from runpod_emulator.workers import Roster

_log = logging.getLogger(__name__)


class Lifecycle:
    def __init__(self, ctx: Context, book: JobBook, roster: Roster, ended: Callable[[Worker], None]) -> None:
        self._ctx, self._book, self._roster, self._ended = ctx, book, roster, ended
        self._stops: set[asyncio.Task[None]] = set()

    def start(self, worker: Worker, endpoint: Endpoint) -> None:
        worker.phase = Phase.STARTING
        worker.fate = self._ctx.conditions.fate(endpoint)
        worker.task = asyncio.get_running_loop().create_task(self._run(worker, endpoint), name=f"worker {worker.id}")
        # A task that is cancelled before its first step never enters its own `finally`.
        worker.task.add_done_callback(lambda _task: self._conclude(worker, None, expected=False))

    def stop(self, worker: Worker, reason: str) -> None:
        """End it on purpose. Its polls are released, it gets SIGTERM, and SIGKILL after the grace time."""
        self._finish(worker, Phase.STOPPING, reason)

    def fail(self, worker: Worker, reason: str) -> None:
        """End it because it is unhealthy: from now on nothing it says counts, its jobs go to others."""
        self._finish(worker, Phase.FAILING, reason)
        self._roster.dismiss(worker.id)

    def _finish(self, worker: Worker, phase: Phase, reason: str) -> None:
        if worker.phase not in (Phase.STARTING, Phase.ALIVE):
            return
        worker.phase, worker.reason = phase, reason
        self._note(worker, f"{'unhealthy' if phase is Phase.FAILING else 'stopping'}: {reason}")
        if worker.container is None:
            assert worker.task is not None
            worker.task.cancel()
        else:
            task = asyncio.get_running_loop().create_task(self._end_process(worker, worker.container))
            self._stops.add(task)
            task.add_done_callback(self._stops.discard)

    async def wait_ended(self, workers: list[Worker]) -> None:
        tasks = [worker.task for worker in workers if worker.task is not None]
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _end_process(self, worker: Worker, container: Container) -> None:
        stopping = asyncio.ensure_future(container.stop(self._ctx.config.timing.stop_grace_s))
        # The signal is on its way once the call has begun; polls released before it would only be renewed.
        await asyncio.sleep(0)
        worker.session.release()
        await stopping

    async def _run(self, worker: Worker, endpoint: Endpoint) -> None:
        reason: str | None = None
        expected = False
        try:
            if worker.fate.pull_seconds:
                self._note(worker, f"the image takes {worker.fate.pull_seconds:g} s more, asked for by a lever")
                await self._ctx.clock.sleep(worker.fate.pull_seconds)
            worker.container = await self._ctx.host.start(
                container_spec(endpoint, worker.session, worker.placement, self._ctx)
            )
            worker.started_at = self._ctx.clock()
            worker.image_ready_at = getattr(worker.container, "image_ready_at", None)
            if worker.phase is Phase.STARTING:
                worker.phase = Phase.ALIVE
            async with watched(worker.session, self._roster, self._ctx):
                code = await self._exit_code(worker, worker.container)
            # Its children may have outlived it; nothing is left when this returns.
            await worker.container.stop(self._ctx.config.timing.stop_grace_s if _ending(worker) else 0.0)
            expected = worker.session.restart_asked or (code == 0 and worker.session.ready)
            reason = None if expected else _describe(code)
        except asyncio.CancelledError:
            reason = worker.reason or "the emulator is stopping"
            if worker.container is not None:
                await worker.container.stop(0.0)
        except (EmulatorError, OSError) as error:
            reason = redact(str(error)) or type(error).__name__
            _log.warning("worker %s of endpoint %s did not start: %s", worker.id, endpoint.id, reason)
        except Exception:  # noqa: BLE001 - the outermost edge of this worker: it fails, the emulator goes on
            reason = "the emulator failed to start or watch it; this is a fault of the emulator, please report it"
            _log.exception("worker %s of endpoint %s", worker.id, endpoint.id)
        finally:
            self._conclude(worker, reason, expected=expected)

    async def _exit_code(self, worker: Worker, container: Container) -> int:
        """Of the process when it ends, or the one that a lever lets it crash with."""
        if worker.fate.crash_after_s is None:
            return await container.wait()
        ending = asyncio.ensure_future(container.wait())
        try:
            if await self._ctx.clock.finished(ending, worker.fate.crash_after_s):
                return ending.result()
            await container.stop(0.0)
            return worker.fate.exit_code
        finally:
            ending.cancel()
            await asyncio.gather(ending, return_exceptions=True)

    def _conclude(self, worker: Worker, reason: str | None, *, expected: bool) -> None:
        if worker.ended_at is not None:
            return
        worker.ended_at = self._ctx.clock()
        if worker.phase is Phase.STOPPING or expected:
            # We ended it, or it left in order: its jobs keep their place and no retry is counted.
            self._book.give_back(worker.id, self._book.jobs_of(worker.id))
            worker.phase = Phase.STOPPING
        else:
            worker.phase = Phase.FAILED
            worker.reason = worker.reason or reason
            self._note(worker, f"unhealthy: {worker.reason}")
        self._roster.dismiss(worker.id)
        self._ended(worker)

    def _note(self, worker: Worker, line: str) -> None:
        self._ctx.host.logs(worker.id).append("system", redact(line))


def _ending(worker: Worker) -> bool:
    return worker.phase in (Phase.STOPPING, Phase.FAILING)


def _describe(code: int) -> str:
    if code >= 0:
        return f"the worker exited with code {code} {'before it was ready' if code == 0 else ''}".rstrip()
    try:
        return f"the worker was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"the worker was killed by signal {-code}"
