"""The routes of the levers behind the service: time, capacity, and what befalls workers."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any, Protocol, get_args, runtime_checkable

from aiohttp import web

from runpod_emulator.conditions import ANYTHING, Fate
from runpod_emulator.context import Context
from runpod_emulator.control.catalog_data import GPUS
from runpod_emulator.control.checks import integer, kind_of, nullable, one_of, record, string
from runpod_emulator.control.http import answer, checked_body, no_content
from runpod_emulator.levers._faults import up_to
from runpod_emulator.model import Json, WorkerStatus

LONGEST_SKIP_S = 366 * 86_400.0
LONGEST_WAIT_S = 86_400.0
PLACES = frozenset({ANYTHING} | {gpu.id for gpu in GPUS} | {gpu.pool for gpu in GPUS if gpu.pool is not None})


@runtime_checkable
class PlacesWorkers(Protocol):
    def capacity_changed(self) -> None:
        """Look again which workers can be placed."""


_check_clock = record({"advance_s": up_to(LONGEST_SKIP_S)}, required=("advance_s",))
_check_worker = record(
    {
        "endpoint": string(min_length=1),
        "crash_after_s": nullable(up_to(LONGEST_WAIT_S)),
        "exit_code": integer(minimum=0, maximum=255),
        "pull_seconds": nullable(up_to(LONGEST_WAIT_S)),
        "shown_as": nullable(one_of(*get_args(WorkerStatus))),
    },
    required=("endpoint",),
)


def _check_capacity(value: Any, path: str) -> Iterator[str]:
    if not isinstance(value, dict):
        yield f"{path}: got {kind_of(value)}, want object"
        return
    for place, count in value.items():
        if place not in PLACES:
            yield f"{path}: '{place}' is no GPU pool, no GPU type and not '*'; GET /v2/catalog/gpus lists them"
        yield from nullable(integer(minimum=0))(count, f"{path}.{place}")


def add_routes(app: web.Application, ctx: Context) -> None:
    conditions = ctx.conditions

    async def show_clock(_request: web.Request) -> web.Response:
        return answer({"now": ctx.clock(), "offset_s": ctx.clock.offset_s})

    async def move_clock(request: web.Request) -> web.Response:
        body = await checked_body(request, _check_clock)
        ctx.clock.advance(float(body["advance_s"]))
        return await show_clock(request)

    async def show_capacity(_request: web.Request) -> web.Response:
        return answer(dict(sorted(conditions.capacity.items())))

    async def set_capacity(request: web.Request) -> web.Response:
        """What is named is changed, null takes a limit away, the rest stays."""
        for place, count in (await checked_body(request, _check_capacity)).items():
            if count is None:
                conditions.capacity.pop(place, None)
            else:
                conditions.capacity[place] = int(count)
        if isinstance(ctx.fleet, PlacesWorkers):
            ctx.fleet.capacity_changed()
        return await show_capacity(request)

    async def show_fates(_request: web.Request) -> web.Response:
        return answer({"workers": [_fate(key, fate) for key, fate in sorted(conditions.fates.items())]})

    async def set_fate(request: web.Request) -> web.Response:
        """Replaces the rule of the same endpoint; one that asks for nothing removes it."""
        body = await checked_body(request, _check_worker)
        key = body.pop("endpoint")
        fate = Fate(**{**body, "exit_code": int(body.get("exit_code", 1))})
        if fate == Fate():
            conditions.fates.pop(key, None)
        else:
            conditions.fates[key] = fate
        return answer(_fate(key, fate))

    async def clear_fates(_request: web.Request) -> web.Response:
        conditions.fates.clear()
        return no_content()

    router = app.router
    router.add_get("/_emulator/clock", show_clock, allow_head=False)
    router.add_post("/_emulator/clock", move_clock)
    router.add_get("/_emulator/capacity", show_capacity, allow_head=False)
    router.add_put("/_emulator/capacity", set_capacity)
    router.add_get("/_emulator/workers", show_fates, allow_head=False)
    router.add_put("/_emulator/workers", set_fate)
    router.add_delete("/_emulator/workers", clear_fates)


def _fate(endpoint: str, fate: Fate) -> Json:
    return {"endpoint": endpoint, **asdict(fate)}
