"""The routes of the levers between a client and the service: faults, chance, the account's budget, counters."""

from aiohttp import web

from runpod_emulator.context import Context
from runpod_emulator.control.checks import integer, nullable, record
from runpod_emulator.control.http import answer, checked_body, no_content
from runpod_emulator.control.problem import not_found
from runpod_emulator.levers._calls import CALLS
from runpod_emulator.levers._faults import check_rule, check_seed
from runpod_emulator.levers._strike import FAULTS
from runpod_emulator.limits import LIMITER, RateLimiter
from runpod_emulator.model import Json

_check_limits = record({"requests_per_minute": nullable(integer(minimum=0))}, required=("requests_per_minute",))


def add_routes(app: web.Application, ctx: Context) -> None:
    faults, calls, limiter = app[FAULTS], app[CALLS], app[LIMITER]

    async def add_fault(request: web.Request) -> web.Response:
        return answer(faults.add(await checked_body(request, check_rule)).as_json(), 201)

    async def show_faults(_request: web.Request) -> web.Response:
        return answer({"faults": [rule.as_json() for rule in faults.rules]})

    async def clear_faults(_request: web.Request) -> web.Response:
        faults.rules.clear()
        return no_content()

    async def remove_fault(request: web.Request) -> web.Response:
        if not faults.remove(request.match_info["id"]):
            raise not_found("fault")
        return no_content()

    async def seed(request: web.Request) -> web.Response:
        body = await checked_body(request, check_seed)
        faults.seed(int(body["seed"]))
        return answer({"seed": int(body["seed"])})

    async def show_limits(_request: web.Request) -> web.Response:
        return answer(_limits(limiter))

    async def set_limits(request: web.Request) -> web.Response:
        quota = (await checked_body(request, _check_limits))["requests_per_minute"]
        limiter.set_per_minute(None if quota is None else int(quota), ctx.config)
        return answer(_limits(limiter))

    async def show_calls(_request: web.Request) -> web.Response:
        return answer(dict(sorted(calls.items())))

    async def clear_calls(_request: web.Request) -> web.Response:
        calls.clear()
        return no_content()

    router = app.router
    router.add_post("/_emulator/faults", add_fault)
    router.add_get("/_emulator/faults", show_faults, allow_head=False)
    router.add_delete("/_emulator/faults", clear_faults)
    router.add_delete("/_emulator/faults/{id}", remove_fault)
    router.add_post("/_emulator/seed", seed)
    router.add_get("/_emulator/limits", show_limits, allow_head=False)
    router.add_put("/_emulator/limits", set_limits)
    router.add_get("/_emulator/requests", show_calls, allow_head=False)
    router.add_delete("/_emulator/requests", clear_calls)


def _limits(limiter: RateLimiter) -> Json:
    windows = [{"name": window.name, "quota": window.quota, "seconds": window.seconds} for window in limiter.windows]
    return {"requests_per_minute": limiter.per_minute, "enforced": limiter.enforced, "windows": windows}
