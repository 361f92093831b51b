"""Assembly: one aiohttp application out of the planes, and the context they share.

`build_app` takes planes and context as arguments, so that a test can run any part of the emulator with fakes of
`ports.Fleet` and `ports.Host`; `assemble` is what `serve` uses: everything real.
"""

from collections.abc import AsyncIterator, Callable, Sequence

from aiohttp import web

from runpod_emulator.context import CONTEXT, Context

Plane = Callable[[web.Application, Context], None]
"""A plane registers its routes on the application; it must not touch `ctx.fleet` while doing so."""


def real_planes() -> Sequence[Plane]:
    """Control, job and worker plane. Imported here so that each plane can be tested without the others."""
    from runpod_emulator import control, jobs, workers

    return (control.add_routes, jobs.add_routes, workers.add_routes)


def build_app(ctx: Context, *, planes: Sequence[Plane] | None = None) -> web.Application:
    """The application for `ctx`. `planes` defaults to all of them, the control plane first: its first path segments
    are reserved, and what comes first wins."""
    app = web.Application()
    app[CONTEXT] = ctx
    for add_routes in planes if planes is not None else real_planes():
        add_routes(app, ctx)
    app.cleanup_ctx.append(_reap_what_was_left)
    return app


async def _reap_what_was_left(app: web.Application) -> AsyncIterator[None]:
    ctx = app[CONTEXT]
    await ctx.host.reap()
    yield
