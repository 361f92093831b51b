"""The way to the user's screen: the engine's Log service.

What a plugin prints goes to debug logs only, so status lines and warnings are sent here. A status line (`ephemeral`)
is shown beside the resource while it is worked on and then forgotten. Losing a line never fails an operation.
"""

import asyncio
import logging
from typing import Any, Protocol

import grpc
from pulumi.runtime.proto import engine_pb2, engine_pb2_grpc

from pulumi_runpod.provider.errors import one_line

_log = logging.getLogger("pulumi_runpod.provider")
_PATIENCE_S = 2.0
_AGAIN_SOON = (("grpc.initial_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 500))


class Engine(Protocol):
    """Who listens to progress and warnings."""

    async def status(self, urn: str, message: str) -> None: ...

    async def info(self, urn: str, message: str) -> None: ...

    async def warning(self, urn: str, message: str) -> None: ...


class GrpcEngine:
    """The engine that started us, or attached itself to us. Silent until an address is known."""

    def __init__(self) -> None:
        self._channel: grpc.aio.Channel | None = None
        self._stub: engine_pb2_grpc.EngineStub | None = None
        self._address = ""
        self._heard = False

    async def connect(self, address: str) -> None:
        if not address or address == self._address:
            return
        await self.close()
        self._channel = grpc.aio.insecure_channel(address, options=_AGAIN_SOON)
        self._stub = engine_pb2_grpc.EngineStub(self._channel)
        self._address = address
        self._heard = False

    async def close(self) -> None:
        if self._channel is not None:
            await self._channel.close(None)
        self._channel = self._stub = None
        self._address = ""

    async def gone(self) -> None:
        """Return when an engine that was there is there no more. Waits for ever where there never was one."""
        channel, was_there = self._channel, False
        if channel is None:
            await asyncio.Event().wait()
        assert channel is not None
        while True:
            state = channel.get_state(try_to_connect=True)
            if state is grpc.ChannelConnectivity.READY:
                was_there = True
            elif was_there and state is grpc.ChannelConnectivity.TRANSIENT_FAILURE:
                return  # it listened on this machine: a connection that is refused will not come back
            await channel.wait_for_state_change(state)

    async def status(self, urn: str, message: str) -> None:
        await self._send(engine_pb2.INFO, urn, message, ephemeral=True)

    async def info(self, urn: str, message: str) -> None:
        await self._send(engine_pb2.INFO, urn, message, ephemeral=False)

    async def warning(self, urn: str, message: str) -> None:
        await self._send(engine_pb2.WARNING, urn, message, ephemeral=False)

    async def _send(
        self, severity: "engine_pb2.LogSeverity.ValueType", urn: str, message: str, ephemeral: bool
    ) -> None:
        if self._stub is None:
            return
        request = engine_pb2.LogRequest(severity=severity, message=one_line(message), urn=urn, ephemeral=ephemeral)
        try:
            # The stub is generated for both kinds of channel; ours is the asynchronous one.
            # An engine may start its plugins before it listens, so a refused connection is no reason to drop a line.
            # One that listened and does so no more is not waited for: it is gone.
            call: Any = self._stub.Log(request, timeout=_PATIENCE_S, wait_for_ready=not self._heard)
            await call
            self._heard = True
        except grpc.aio.AioRpcError as error:
            _log.debug("the engine did not take a message: %s", error.code())
