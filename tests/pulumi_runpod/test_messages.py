"""What the provider says reaches the engine, also one that begins to listen after the plugin was started."""

import asyncio
import socket
import time
from typing import Any

import grpc
from google.protobuf import empty_pb2
from pulumi.runtime.proto import engine_pb2, engine_pb2_grpc

from pulumi_runpod.provider.engine import GrpcEngine


class Listening(engine_pb2_grpc.EngineServicer):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    async def Log(self, request: engine_pb2.LogRequest, context: Any) -> empty_pb2.Empty:
        self.told.append(request.message)
        return empty_pb2.Empty()


async def test_an_engine_that_listens_late_loses_no_message() -> None:
    """The embedded engine starts plugins before its own server; a first refused connection must not cost a line."""
    with socket.socket() as place:
        place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        place.bind(("127.0.0.1", 0))
        port = place.getsockname()[1]
        engine = GrpcEngine()
        await engine.connect(f"127.0.0.1:{port}")
        waiting = asyncio.create_task(engine.gone())
        await asyncio.sleep(0.3)  # refused by now
        service, server = Listening(), grpc.aio.server()
        engine_pb2_grpc.add_EngineServicer_to_server(service, server)
        server.add_insecure_port(f"127.0.0.1:{port}")
        await server.start()
        await engine.info("urn", "first")
        await engine.status("urn", "second")
        assert service.told == ["first", "second"]
        assert not waiting.done()
        waiting.cancel()
        await engine.close()
        await server.stop(None)


async def test_an_engine_that_is_gone_costs_little_time() -> None:
    """A line that nobody takes is lost, and the operation goes on."""
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        engine = GrpcEngine()
        await engine.connect(f"127.0.0.1:{place.getsockname()[1]}")
        begun = time.monotonic()
        await engine.info("urn", "lost")
        assert time.monotonic() - begun < 5
        await engine.close()
