"""Our own routes below /_emulator/, apart from the cloud's: its state, and levers that make things go wrong.

True here: every lever works from memory, so a restart puts all of them back; a body is refused with the name of the
field that is wrong; `status` needs no key, so that a script can ask who listens on a port, everything else does.
docs/emulator-levers.md shows each.
"""

from aiohttp import web

from runpod_emulator.context import Context
from runpod_emulator.levers import _calls, _dump, _life, _network, _strike, _world
from runpod_emulator.levers._calls import CallCounter
from runpod_emulator.levers._faults import FaultBook

__all__ = ["MIDDLEWARES", "add_routes"]

MIDDLEWARES = (_calls.count, _strike.strike)
"""For `guard.install`: they stand where the network does."""


def add_routes(app: web.Application, ctx: Context) -> None:
    """Register the levers; after `guard.install`, whose rate limiter they move."""
    app[_strike.FAULTS] = FaultBook()
    app[_calls.CALLS] = CallCounter()
    app.on_response_prepare.append(_strike.before_answering)
    _life.add_routes(app, ctx)
    _network.add_routes(app, ctx)
    _world.add_routes(app, ctx)
    _dump.add_routes(app, ctx)
