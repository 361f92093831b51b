"""What every handler of every plane can reach. Built once by `runpod_emulator.server.assemble`."""

from dataclasses import dataclass, field
from typing import NoReturn

from aiohttp import web

from runpod_emulator.clock import Clock
from runpod_emulator.conditions import Conditions
from runpod_emulator.config import Config
from runpod_emulator.model import WorkerView
from runpod_emulator.ports import Endpoints, Fleet, Host
from runpod_emulator.store import Store


class _NotAssembled:
    """Stands in for the fleet until assembly sets it; using it is a mistake of ours, not of the user."""

    def _refuse(self, wanted: str) -> NoReturn:
        raise RuntimeError(f"no fleet to ask for {wanted} yet: use it from handlers and tasks, not during assembly")

    def workers(self, endpoint_id: str) -> list[WorkerView]:
        self._refuse(endpoint_id)

    def endpoint_changed(self, endpoint_id: str) -> None:
        self._refuse(endpoint_id)

    async def endpoint_deleted(self, endpoint_id: str) -> None:
        self._refuse(endpoint_id)


@dataclass
class Context:
    """Mutable only during assembly: the fleet needs the context, so it is set after it."""

    config: Config
    store: Store
    endpoints: Endpoints
    host: Host
    fleet: Fleet = field(default_factory=_NotAssembled)
    clock: Clock = field(default_factory=Clock)
    """Seconds since the epoch; the one source of time for all that the emulated cloud does."""
    conditions: Conditions = field(default_factory=Conditions)
    """Capacity and fates of workers, as the levers set them."""
    api_key: str = field(default="", repr=False)
    """The caller's key. Workers have keys of their own, which open nothing but their own worker-plane routes."""
    base_url: str = ""
    """`http://127.0.0.1:<port>`, known once the socket is bound: request URLs and the workers' webhooks begin so."""


CONTEXT: web.AppKey[Context] = web.AppKey("runpod_emulator.context", Context)
"""`request.app[CONTEXT]` inside a handler."""

PEEKED: web.RequestKey[bytes] = web.RequestKey("runpod_emulator.peeked", bytes)
"""The whole body, where a fault had to read it first; `read_limited` of each plane looks here before it reads."""
