"""Resource plugins: connected to, stopped.

A plugin prints its port; everything else it prints goes to the debug log, and is shown when it does not start.
"""

import asyncio
import contextlib
import json
import logging
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
from google.protobuf.empty_pb2 import Empty
from pulumi.runtime.proto import provider_pb2, provider_pb2_grpc

from pulumi_embedded._errors import PluginError
from pulumi_embedded._plugin_command import plugin_command, spawn_plugin
from pulumi_embedded._process import Child
from pulumi_embedded._project import Project
from pulumi_embedded._protos import GRPC_OPTIONS
from pulumi_embedded._spawn import Spawned
from pulumi_embedded._state import Deployment
from pulumi_embedded._wire import Peer

_log = logging.getLogger("pulumi_embedded.plugin")
_START_TIMEOUT_S = 120.0
"""Long, since the CLI waits without an end: on a machine that is very busy a start has taken more than 30 s."""
_MOST_TOLD_BYTES = 4096
"""Metadata have to stay small; a creation that is left out is only not told of."""

Metadata = tuple[tuple[str, str | bytes], ...]


class Plugin:
    """A running plugin, its stub, and what it understands."""

    def __init__(self, name: str, child: Child, channel: grpc.aio.Channel) -> None:
        self.name = name
        self.child = child
        self._channel = channel
        self.stub = provider_pb2_grpc.ResourceProviderStub(channel)
        self.peer: Peer | None = None
        self.supports_preview = False
        self.cancelled = False

    async def cancel(self) -> None:
        """Ask it to abandon what it is doing; a plugin without that call, or without life, is left alone."""
        if self.cancelled:
            return
        self.cancelled = True
        with contextlib.suppress(grpc.aio.AioRpcError, asyncio.TimeoutError):
            await asyncio.wait_for(_call(self.stub.Cancel, Empty()), 1.0)

    async def close(self) -> None:
        """Cancel, close the channel, interrupt, and after five seconds kill."""
        if self.child.returncode is None:
            await self.cancel()
        await self._channel.close(None)
        await self.child.stop()


def told_when_applying(base: Deployment) -> Metadata:
    """That this is no preview, and which interrupted creations left nothing in the state but the note that they began.

    Whatever those made, nobody knows of it: the plugin may have answered, the answer was never written down.
    """
    there = {state.urn for state in base.resources}
    began = sorted({p.resource.urn for p in base.pending if p.type == "creating"} - there)
    while len(unrecorded := json.dumps(began).encode()) > _MOST_TOLD_BYTES:
        began.pop()
    return (("pulumi-dry-run", "false"), ("pulumi-unrecorded-bin", unrecorded))


async def _call(method: Any, request: Any, **options: Any) -> Any:
    # The stubs are typed for synchronous channels; on an asynchronous one every call is awaited.
    return await method(request, **options)


async def start_plugin(
    project: Project, name: str, engine_address: str, spawned: Spawned | None = None, told: Metadata = ()
) -> Plugin:
    """Start the plugin, unless that has been done, and shake hands.

    `told` goes with the handshake, as metadata, to a plugin that cares (`told_when_applying`).

    PluginError carries what it wrote before it failed.
    """
    folder = plugin_command(project, name)[1]
    port: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def on_stdout(line: str) -> None:
        if not port.done() and line.strip().isdigit():
            port.set_result(int(line))
        else:
            _log.debug("%s: %s", name, line)

    child = await Child.follow(
        spawned or spawn_plugin(project, name, engine_address),
        on_stdout=on_stdout,
        on_stderr=lambda line: _log.debug("%s: %s", name, line),
    )
    ended = asyncio.create_task(child.wait())
    try:
        await asyncio.wait({port, ended}, timeout=_START_TIMEOUT_S, return_when=asyncio.FIRST_COMPLETED)
        if not port.done():
            silent = f"named no port to reach it at within {_START_TIMEOUT_S:.0f} s; if the machine was busy, try again"
            why = f"ended with code {child.returncode}" if ended.done() else silent
            raise PluginError(_with_tail(f"the plugin '{name}' did not start: it {why}", child))
        channel = grpc.aio.insecure_channel(f"127.0.0.1:{port.result()}", options=GRPC_OPTIONS)
        plugin = Plugin(name, child, channel)
        await _handshake(plugin, engine_address, folder, told)
    except BaseException:
        port.cancel()
        await child.stop(grace_s=0.5)
        raise
    finally:
        ended.cancel()
    return plugin


async def _handshake(plugin: Plugin, engine_address: str, folder: Path, told: Metadata) -> None:
    request = provider_pb2.ProviderHandshakeRequest(
        engine_address=engine_address,
        root_directory=str(folder),
        program_directory=str(folder),
        configure_with_urn=True,
        invoke_with_preview=True,
    )
    try:
        answer: Any = await asyncio.wait_for(
            _call(plugin.stub.Handshake, request, wait_for_ready=True, metadata=told),
            _START_TIMEOUT_S,
        )
    except TimeoutError as error:
        raise PluginError(
            _with_tail(f"the plugin '{plugin.name}' did not answer the handshake", plugin.child)
        ) from error
    except grpc.aio.AioRpcError as error:
        if error.code() == grpc.StatusCode.UNIMPLEMENTED:
            return
        message = f"the plugin '{plugin.name}' failed the handshake: {error.details()}"
        raise PluginError(_with_tail(message, plugin.child)) from error
    plugin.peer = Peer(secrets=answer.accept_secrets, resources=answer.accept_resources)
    plugin.supports_preview = True


def _with_tail(message: str, child: Child) -> str:
    lines = [line for line in child.tail if line.strip()]
    return message + "".join(f"\n  {line}" for line in lines[-15:])
