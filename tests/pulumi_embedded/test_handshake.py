"""What a plugin is told when the engine meets it."""

from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from pulumi.runtime.proto import provider_pb2, provider_pb2_grpc

from pulumi_embedded._plugin import Plugin, _handshake, told_when_applying
from pulumi_embedded._state import Deployment, PendingOperation, ResourceState


class Listener(provider_pb2_grpc.ResourceProviderServicer):
    """A plugin that keeps the handshake's metadata."""

    def __init__(self) -> None:
        self.metadata: list[tuple[str, Any]] = []

    async def Handshake(self, request: Any, context: Any) -> Any:
        self.metadata = [(key, value) for key, value in context.invocation_metadata()]
        return provider_pb2.ProviderHandshakeResponse(accept_secrets=True)


@pytest.mark.parametrize("applies", [True, False])
async def test_a_run_that_is_no_preview_says_so(applies: bool) -> None:
    """In the call's metadata, where a plugin that does not care never looks."""
    told = told_when_applying(deployment()) if applies else ()
    listener, server = Listener(), grpc.aio.server()
    provider_pb2_grpc.add_ResourceProviderServicer_to_server(listener, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        no_process: Any = None
        await _handshake(Plugin("demo", no_process, channel), "127.0.0.1:1", Path(), told)
    await server.stop(None)
    assert (("pulumi-dry-run", "false") in listener.metadata) is applies
    assert (("pulumi-unrecorded-bin", b'["urn:new"]') in listener.metadata) is applies


def test_what_is_told_stays_small() -> None:
    """A thousand interrupted creations do not fit into a call's metadata: some are not told of."""
    pending = [
        PendingOperation(ResourceState(urn=f"urn:{number:04}", type="t", custom=True), "creating")
        for number in range(1000)
    ]
    told = dict(told_when_applying(Deployment(pending=pending)))
    assert 3000 < len(told["pulumi-unrecorded-bin"]) <= 4096


def deployment() -> Deployment:
    """One creation of which the state knows only that it began, one whose resource is there, one deletion."""
    there = ResourceState(urn="urn:there", type="t", custom=True)
    pending = [
        PendingOperation(ResourceState(urn="urn:new", type="t", custom=True), "creating"),
        PendingOperation(there, "creating"),
        PendingOperation(ResourceState(urn="urn:gone", type="t", custom=True), "deleting"),
    ]
    return Deployment(resources=[there], pending=pending)
