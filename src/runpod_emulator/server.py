"""Assembly and life of the emulator: one aiohttp application out of the planes, and the context they share.

`build_app` takes planes and context as arguments, so that a test can run any part of the emulator with fakes of
`ports.Fleet` and `ports.Host`; `serve` is the whole, real thing.
"""

import asyncio
import errno
import ipaddress
import signal
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, closing
from typing import Protocol, runtime_checkable

from aiohttp import web

from runpod_emulator import control, guard, levers, state
from runpod_emulator.clock import Clock
from runpod_emulator.config import Config
from runpod_emulator.context import CONTEXT, Context
from runpod_emulator.errors import EmulatorError, PortInUse
from runpod_emulator.store import Store

Plane = Callable[[web.Application, Context], None]
"""A plane registers its routes on the application; it must not touch `ctx.fleet` while doing so."""

LARGEST_BODY = 32 * 1024 * 1024
"""No plane reads more than this; each has a smaller limit of its own (§2.7: 20 MB for /runsync)."""
PATIENCE_S = 2.0
"""How long a shutdown waits for requests that are still being answered."""


@runtime_checkable
class Running(Protocol):
    """A fleet that has to be started and stopped; a test's fake need not be."""

    async def start(self) -> None: ...

    async def stop(self) -> None: ...


def real_planes() -> Sequence[Plane]:
    """Control plane, job and worker plane, load balancer. Imported here so that each can be tested without others."""
    from runpod_emulator import balancer, jobs, pods, workers

    return (pods.add_routes, control.add_routes, jobs.add_routes, workers.add_routes, balancer.add_routes)


def build_app(ctx: Context, *, planes: Sequence[Plane] | None = None) -> web.Application:
    """The application for `ctx`. `planes` defaults to all of them, the control plane before the job plane: its first
    path segments are reserved, and what comes first wins."""
    app = web.Application(client_max_size=LARGEST_BODY)
    app[CONTEXT] = ctx
    guard.install(app, ctx.config, between=levers.MIDDLEWARES)
    levers.add_routes(app, ctx)
    app.on_startup.append(_start)  # what the planes start comes after it: the look for left-overs ends all it finds
    for add_routes in planes if planes is not None else real_planes():
        add_routes(app, ctx)
    # On shutdown, not on cleanup: workers hold long polls open, and a stopped fleet lets go of them.
    app.on_shutdown.append(_stop)
    return app


async def _start(app: web.Application) -> None:
    """First end what an earlier emulator left running, then let the fleet start workers of its own."""
    ctx = app[CONTEXT]
    await ctx.host.reap()
    if isinstance(ctx.fleet, Running):
        await ctx.fleet.start()


async def _stop(app: web.Application) -> None:
    fleet = app[CONTEXT].fleet
    if isinstance(fleet, Running):
        await fleet.stop()


def assemble(config: Config, store: Store) -> Context:
    """The real context: records in the database, workers as processes of this machine."""
    from runpod_emulator.host import LocalHost
    from runpod_emulator.scaler import Scaler

    clock = Clock()
    ctx = Context(
        config=config,
        store=store,
        endpoints=control.Records(store),
        host=LocalHost(config, clock=clock),
        clock=clock,
        api_key=state.api_key(config),
    )
    ctx.fleet = Scaler(ctx)
    return ctx


@asynccontextmanager
async def running(
    config: Config,
    *,
    assemble: Callable[[Config, Store], Context] = assemble,
    planes: Sequence[Plane] | None = None,
) -> AsyncIterator[Context]:
    """A live emulator for the length of the block: owns the state directory and answers on the port.

    Raises EmulatorError in one line. The port is bound before any worker starts, so that a port in use changes nothing.
    """
    with state.owned(config), closing(_listen(config)) as listener, closing(Store.connect(config.database)) as store:
        ctx = assemble(config, store)
        host, port = listener.getsockname()[:2]
        ctx.base_url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        runner = web.AppRunner(
            build_app(ctx, planes=planes), access_log=None, handle_signals=False, shutdown_timeout=PATIENCE_S
        )
        try:
            await runner.setup()
            await web.SockSite(runner, listener).start()
            yield ctx
        finally:
            await runner.cleanup()


def _listen(config: Config) -> socket.socket:
    try:
        address = ipaddress.ip_address("127.0.0.1" if config.host == "localhost" else config.host)
    except ValueError:
        address = None
    if address is None or not address.is_loopback:
        raise EmulatorError(f"host {config.host} is not a loopback address; the emulator serves this machine only")
    listener = socket.socket(socket.AF_INET6 if address.version == 6 else socket.AF_INET, socket.SOCK_STREAM)
    try:
        # Allows a restart at once; a port that somebody listens on is refused all the same.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((str(address), config.port))
        listener.listen(128)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise PortInUse(config.host, config.port) from error
        why = error.strerror or str(error)
        raise EmulatorError(
            f"cannot listen on {config.host} port {config.port}: {why}; choose another --port"
        ) from error
    return listener


async def serve(
    config: Config,
    *,
    on_ready: Callable[[Context], None] | None = None,
    assemble: Callable[[Config, Store], Context] = assemble,
    planes: Sequence[Plane] | None = None,
) -> None:
    """Run the emulator until SIGTERM or SIGINT, then stop its workers and return. A second signal ends it at once."""
    loop = asyncio.get_running_loop()
    asked_to_stop = asyncio.Event()
    signals = (signal.SIGTERM, signal.SIGINT)

    def stop() -> None:
        for number in signals:
            loop.remove_signal_handler(number)
        asked_to_stop.set()

    for number in signals:
        loop.add_signal_handler(number, stop)
    try:
        async with running(config, assemble=assemble, planes=planes) as ctx:
            if on_ready is not None:
                on_ready(ctx)
            await asked_to_stop.wait()
    finally:
        for number in signals:
            loop.remove_signal_handler(number)
