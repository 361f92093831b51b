"""The scaler: keeps every endpoint at the number of workers its rules ask for. Implements `ports.Fleet`.

`step()` looks once at everything and starts or ends workers; it never waits. A loop calls it after every event and at
least once per tick, a test calls it by hand under a clock of its own.
"""

import asyncio
import logging
from collections.abc import Iterable

from runpod_emulator.balancer import PortTaken, Traffic, choose_ports
from runpod_emulator.context import Context
from runpod_emulator.jobs import Demand, JobBook, Webhooks
from runpod_emulator.model import Endpoint, Json, WorkerView
from runpod_emulator.scaler import _rules as rules
from runpod_emulator.scaler._launch import Placement, place
from runpod_emulator.scaler._lifecycle import Lifecycle
from runpod_emulator.scaler._worker import OCCUPYING, Backoff, Phase, Worker, is_stale, new_worker_id
from runpod_emulator.waiting import Signal
from runpod_emulator.workers import Roster

_log = logging.getLogger(__name__)


class Scaler:
    """Owns the job book, the roster and all worker processes. `start()` once the app's socket is bound."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self._timing = ctx.config.timing
        self.book = JobBook(ctx.store, lambda: ctx.clock())
        self.roster = Roster(self.book, lambda: ctx.clock())
        self.roster.changed = lambda _endpoint_id: self._wake.fire()
        self.traffic = Traffic(self.roster)
        self._webhooks = Webhooks(self.book, self._timing.webhook_retry_s, ctx.clock)
        self._lifecycle = Lifecycle(ctx, self.book, self.roster, self._ended)
        self._wake = Signal()
        self._workers: dict[str, list[Worker]] = {}
        self._backoffs: dict[str, Backoff] = {}
        self._deleted: set[str] = set()
        self._no_capacity: set[str] = set()
        self._loop: asyncio.Task[None] | None = None
        self._stopping = False
        self._last_step: float | None = None
        ctx.clock.observe(self._time_was_skipped)

    # --- life -------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Queue again what an earlier life left in progress, then keep the endpoints at their numbers."""
        self._stopping = False
        self.book.recover()
        await self._webhooks.start()
        self._loop = asyncio.get_running_loop().create_task(self._run(), name="scaler")

    async def stop(self) -> None:
        """End all workers: SIGTERM, then SIGKILL. Their jobs stay queued for the next life."""
        self._stopping = True
        if self._loop is not None:
            self._loop.cancel()
            await asyncio.gather(self._loop, return_exceptions=True)
            self._loop = None
        everyone = list(self._all())
        for worker in everyone:
            self._lifecycle.stop(worker, "the emulator is stopping")
        await self._lifecycle.wait_ended(everyone)
        self._workers.clear()
        await self._webhooks.stop()

    async def _run(self) -> None:
        while True:
            try:
                self.step()
            except Exception:  # noqa: BLE001 - outermost edge: one endpoint's trouble must not stop the others
                _log.exception("the scaler's look at the endpoints failed; it looks again")
            await self._wake.wait(self._timing.scaler_tick_s)

    # --- ports.Fleet ------------------------------------------------------------------------------------------------

    def workers(self, endpoint_id: str) -> list[WorkerView]:
        views = (worker.view() for worker in self._of(endpoint_id))
        return [view for view in views if view is not None]

    def endpoint_changed(self, endpoint_id: str) -> None:
        endpoint = self._ctx.endpoints.endpoint(endpoint_id)
        if endpoint is not None:
            # At once, not at the next look: no job that comes after the change may reach the old release.
            for worker in self._of(endpoint_id):
                if is_stale(worker, endpoint):
                    worker.session.drain()
        self._wake.fire()

    async def endpoint_deleted(self, endpoint_id: str) -> None:
        self._deleted.add(endpoint_id)
        self.book.drop_endpoint(endpoint_id)
        gone = list(self._of(endpoint_id))
        for worker in gone:
            worker.session.drain()
            self._lifecycle.stop(worker, "the endpoint was deleted")
        await self._lifecycle.wait_ended(gone)
        for worker in gone:
            self._discard(worker)
        self._backoffs.pop(endpoint_id, None)

    async def state_replaced(self) -> None:
        """Endpoints and jobs in the database are others now: all workers end, new ones start by the new rules."""
        self.book.reload()
        self._deleted.clear()
        gone = list(self._all())
        for worker in gone:
            self._remove(worker, "the emulator's state was replaced")
        await self._webhooks.stop()
        await self._lifecycle.wait_ended(gone)
        for worker in gone:
            self._discard(worker)
        self._backoffs.clear()
        await self._webhooks.start()
        self._wake.fire()

    # --- levers -----------------------------------------------------------------------------------------------------

    def worker_details(self, endpoint_id: str) -> list[Json]:
        return [worker.details() for worker in self._of(endpoint_id)]

    def throttle(self, endpoint_id: str, on: bool) -> None:
        (self._no_capacity.add if on else self._no_capacity.discard)(endpoint_id)
        self._wake.fire()

    def capacity_changed(self) -> None:
        self._wake.fire()

    def _time_was_skipped(self, seconds: float) -> None:
        # Workers live by the system's clock: they could not ping meanwhile.
        self.roster.time_stood_still(seconds)
        if self._last_step is not None:
            self._last_step += seconds
        self._wake.fire()

    # --- one look ---------------------------------------------------------------------------------------------------

    def step(self) -> None:
        now = self._ctx.clock()
        if self._last_step is not None and now - self._last_step > self._timing.lost_after_s / 2:
            self.roster.time_stood_still(now - self._last_step)
        self._last_step = now
        self.book.sweep()
        known = [e for e in self._ctx.endpoints.endpoints() if e.id not in self._deleted]
        for endpoint_id in self._workers.keys() - {endpoint.id for endpoint in known}:
            for worker in list(self._of(endpoint_id)):
                self._remove(worker, "its endpoint does not exist any more")
        if not self._stopping:
            for endpoint in known:
                self._scale(endpoint, now)

    def _scale(self, endpoint: Endpoint, now: float) -> None:
        for worker in list(self._of(endpoint.id)):
            self._check(worker, endpoint, now)
        present = [worker for worker in self._of(endpoint.id) if worker.present]
        wish = rules.wish(
            endpoint,
            self._demand(endpoint),
            present=len(present),
            ready=sum(worker.ready for worker in present),
        )
        self._shrink(endpoint, wish, present, now)
        self._grow(endpoint, wish, now)

    def _demand(self, endpoint: Endpoint) -> Demand:
        if endpoint.type == "LOAD_BALANCER":
            return self.traffic.demand(endpoint.id)
        return self.book.demand(endpoint.id, rules.queue_delay_s(endpoint))

    def _check(self, worker: Worker, endpoint: Endpoint, now: float) -> None:
        """Let go of a worker that is outdated, broken, silent or done."""
        session = worker.session
        stale = is_stale(worker, endpoint)
        if worker.phase in (Phase.FAILED, Phase.THROTTLED):
            if stale or (worker.phase is Phase.FAILED and now >= self._backoff(endpoint).not_before):
                self._remove(worker, "replaced")
            return
        if worker.phase is Phase.STARTING and stale:
            self._lifecycle.stop(worker, f"release {endpoint.version} replaces {worker.version}")
        if worker.phase is not Phase.ALIVE:
            return
        init_s = rules.init_timeout_s(endpoint, self._timing.init_timeout_s)
        if session.unhealthy is not None:
            self._lifecycle.fail(worker, session.unhealthy)
        elif not session.ready and worker.started_at is not None and now - worker.started_at >= init_s:
            self._lifecycle.fail(worker, f"not ready {init_s:.0f} s after its start (RUNPOD_INIT_TIMEOUT)")
        elif session.heard_at is not None and now - session.heard_at > self._timing.lost_after_s:
            what = f"{session.out}, and did" if session.out else "no ping"
            self._lifecycle.fail(worker, f"{what} for more than {self._timing.lost_after_s:.0f} s")
        elif stale or session.draining:
            # Idle ones go at once, busy ones finish first (runpod-api.md §2.4).
            session.drain()
            if not worker.busy:
                why = f"release {endpoint.version} replaces {worker.version}" if stale else "drained"
                self._lifecycle.stop(worker, "it asked for a fresh start" if session.restart_asked else why)

    def _shrink(self, endpoint: Endpoint, wish: rules.Wish, present: list[Worker], now: float) -> None:
        for worker in sorted(present, key=_cheapest_first)[: max(0, len(present) - endpoint.workers_max)]:
            if worker.busy:
                worker.session.drain()
            else:
                self._remove(worker, f"workers.max is {endpoint.workers_max}")
        waiting = [worker for worker in present if worker.phase is Phase.THROTTLED]
        for worker in waiting[: max(0, len(present) - max(wish.now, wish.at_least))]:
            self._remove(worker, "not wanted any more")
        healthy = [w for w in present if w.phase in (Phase.STARTING, Phase.ALIVE) and not w.session.draining]
        timeout_s = rules.idle_timeout_s(endpoint)
        idle = [w for w in healthy if w.ready and not w.busy and now - (w.session.idle_since or now) >= timeout_s]
        idle.sort(key=lambda worker: worker.session.idle_since or now)
        for worker in idle[: max(0, len(healthy) - wish.at_least)]:
            self._lifecycle.stop(worker, f"idle for {timeout_s:.0f} s")

    def _grow(self, endpoint: Endpoint, wish: rules.Wish, now: float) -> None:
        workers = self._of(endpoint.id)
        room = endpoint.workers_max - sum(1 for worker in workers if worker.phase in OCCUPYING)
        for worker in [w for w in workers if w.phase is Phase.THROTTLED]:
            if room > 0:
                self._try_to_start(worker, endpoint)
            room -= 1
        room -= sum(1 for worker in workers if worker.phase is Phase.FAILED)
        if now < self._backoff(endpoint).not_before:
            return
        missing = wish.now - sum(worker.present for worker in workers)
        for _ in range(min(missing, room)):
            worker = self._new_worker(endpoint, now)
            self._try_to_start(worker, endpoint)
            self._workers.setdefault(endpoint.id, []).append(worker)

    def _new_worker(self, endpoint: Endpoint, now: float) -> Worker:
        return Worker(
            endpoint_id=endpoint.id,
            version=endpoint.version,
            image=endpoint.image,
            placement=self._place(endpoint),
            session=self.roster.admit(new_worker_id(), endpoint.id),
            phase=Phase.THROTTLED,
            queued_at=now,
        )

    def _try_to_start(self, worker: Worker, endpoint: Endpoint) -> None:
        """Start it where there is capacity; without any it stays THROTTLED."""
        slots = self._ctx.config.worker_slots
        used = sum(1 for other in self._all() if other.phase in OCCUPYING)
        if endpoint.id in self._no_capacity or (slots is not None and used >= slots):
            return
        placement = self._place(endpoint)
        if self._has_room(placement.pool, placement.gpu_type_id) and self._has_ports(worker, endpoint):
            worker.placement = placement
            self._lifecycle.start(worker, endpoint)

    def _has_ports(self, worker: Worker, endpoint: Endpoint) -> bool:
        """All workers share this machine's ports: one whose port is in use waits as for any other capacity."""
        if endpoint.type != "LOAD_BALANCER":
            return True
        others = [other.session.http for other in self._all() if other.phase in OCCUPYING and other.session.http]
        try:
            worker.session.http = choose_ports(
                endpoint.env, {port for http in others for port in (http.app, http.health)}
            )
        except PortTaken as error:
            if worker.reason is None:
                _log.warning("worker %s of endpoint %s waits: %s", worker.id, endpoint.id, error)
            worker.reason = str(error)
            return False
        worker.reason = None
        return True

    def _place(self, endpoint: Endpoint) -> Placement:
        return place(endpoint, self._ctx, self._has_room)

    def _has_room(self, pool: str | None, gpu_type: str | None) -> bool:
        placed = [worker.placement for worker in self._all() if worker.phase in OCCUPYING]
        return self._ctx.conditions.has_room(
            total=len(placed),
            in_pool=sum(other.pool == pool for other in placed),
            on_type=sum(other.gpu_type_id == gpu_type for other in placed),
            pool=pool,
            gpu_type=gpu_type,
        )

    # --- inside -----------------------------------------------------------------------------------------------------

    def _remove(self, worker: Worker, reason: str) -> None:
        if worker.phase in (Phase.THROTTLED, Phase.FAILED):
            self.roster.dismiss(worker.id)
            self._discard(worker)
        else:
            worker.session.drain()
            self._lifecycle.stop(worker, reason)

    def _ended(self, worker: Worker) -> None:
        """A process is gone for good."""
        if worker.phase is Phase.FAILED:
            endpoint = self._ctx.endpoints.endpoint(worker.endpoint_id)
            if endpoint is not None and not is_stale(worker, endpoint):
                row = self._backoff(endpoint)
                row.failures = 1 if worker.session.jobs_done else row.failures + 1
                pause_s = rules.backoff_s(self._timing.restart_backoff_s, row.failures)
                row.not_before = self._ctx.clock() + pause_s
                _log.warning(
                    "worker %s of endpoint %s: %s; the next one starts in %.0f s",
                    worker.id, worker.endpoint_id, worker.reason, pause_s,
                )  # fmt: skip
        else:
            self._discard(worker)
        self._wake.fire()

    def _backoff(self, endpoint: Endpoint) -> Backoff:
        row = self._backoffs.get(endpoint.id)
        if row is None or row.version != endpoint.version:  # a new release starts with a clean slate
            row = self._backoffs[endpoint.id] = Backoff(endpoint.version)
        return row

    def _discard(self, worker: Worker) -> None:
        workers = self._workers.get(worker.endpoint_id, [])
        if worker in workers:
            workers.remove(worker)
        if not workers:
            self._workers.pop(worker.endpoint_id, None)

    def _of(self, endpoint_id: str) -> list[Worker]:
        return self._workers.get(endpoint_id, [])

    def _all(self) -> Iterable[Worker]:
        return (worker for workers in self._workers.values() for worker in workers)


def _cheapest_first(worker: Worker) -> tuple[int, float]:
    """Which worker to give up first: one that is not there, one that starts, the longest idle, a busy one."""
    order = {Phase.FAILED: 0, Phase.FAILING: 0, Phase.THROTTLED: 1, Phase.STARTING: 2}
    if worker.phase in order:
        return order[worker.phase], 0.0
    if not worker.session.ready:
        return 3, 0.0
    return (5, 0.0) if worker.busy else (4, worker.session.idle_since or 0.0)
