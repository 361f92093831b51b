"""`pulumi-resource-bench`: a resource plugin that does next to nothing, so that the engines around it are measured.

It stands alone, on the servicer of the SDK. Check and Read give back what they were given, Diff compares, Create makes
an id of the name. It keeps nothing, so its part grows with the calls and with nothing else. Of the SDK it loads the
generated modules alone: whatever a plugin takes to start, it takes on both sides.
"""

# ruff: noqa: ARG002, N802 - the signatures and names are the protocol's

import asyncio
import importlib.util
import signal
import sys
from pathlib import Path
from types import ModuleType
from typing import Any


def _generated_modules_only() -> None:
    """Stand bare packages in for `pulumi` and `pulumi.runtime`: what they would load is for programs."""
    found = importlib.util.find_spec("pulumi")
    if found is None or not found.submodule_search_locations:
        sys.exit("bench: the pulumi SDK is not installed in the plugin's environment; run `make setup`")
    root = Path(next(iter(found.submodule_search_locations)))
    for name in ("pulumi", "pulumi.runtime"):
        module = ModuleType(name)
        module.__path__ = [str(root.joinpath(*name.split(".")[1:]))]
        sys.modules[name] = module


_generated_modules_only()

import grpc.aio  # noqa: E402
from google.protobuf.empty_pb2 import Empty  # noqa: E402
from pulumi.runtime.proto import plugin_pb2, provider_pb2, provider_pb2_grpc  # noqa: E402

_SOME, _NONE = provider_pb2.DiffResponse.DIFF_SOME, provider_pb2.DiffResponse.DIFF_NONE
_UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"


class Bench(provider_pb2_grpc.ResourceProviderServicer):
    """The plugin."""

    async def Handshake(self, request: Any, context: Any) -> Any:
        return provider_pb2.ProviderHandshakeResponse(accept_secrets=True, accept_resources=True, accept_outputs=False)

    async def GetPluginInfo(self, request: Any, context: Any) -> Any:
        return plugin_pb2.PluginInfo(version="1.0.0")

    async def GetSchema(self, request: Any, context: Any) -> Any:
        return provider_pb2.GetSchemaResponse(schema='{"name": "bench", "version": "1.0.0"}')

    async def CheckConfig(self, request: Any, context: Any) -> Any:
        return provider_pb2.CheckResponse(inputs=request.news)

    async def DiffConfig(self, request: Any, context: Any) -> Any:
        return provider_pb2.DiffResponse(changes=_SOME if request.old_inputs != request.news else _NONE)

    async def Configure(self, request: Any, context: Any) -> Any:
        return provider_pb2.ConfigureResponse(
            acceptSecrets=True, supportsPreview=True, acceptResources=True, acceptOutputs=False
        )

    async def Cancel(self, request: Any, context: Any) -> Any:
        return Empty()

    async def Check(self, request: Any, context: Any) -> Any:
        return provider_pb2.CheckResponse(inputs=request.news)

    async def Diff(self, request: Any, context: Any) -> Any:
        return provider_pb2.DiffResponse(
            changes=_SOME if request.old_inputs != request.news else _NONE, hasDetailedDiff=True
        )

    async def Create(self, request: Any, context: Any) -> Any:
        id_ = "" if request.preview else f"id-{request.name}"
        answer = provider_pb2.CreateResponse(id=id_, properties=request.properties)
        answer.properties.fields["url"].string_value = f"bench://{id_}" if id_ else _UNKNOWN
        return answer

    async def Update(self, request: Any, context: Any) -> Any:
        answer = provider_pb2.UpdateResponse(properties=request.news)
        answer.properties.fields["url"].string_value = f"bench://{request.id}"
        return answer

    async def Read(self, request: Any, context: Any) -> Any:
        return provider_pb2.ReadResponse(id=request.id, properties=request.properties, inputs=request.inputs)

    async def Delete(self, request: Any, context: Any) -> Any:
        return Empty()


async def main() -> None:
    """Serve on a loopback port, print it, and stay until interrupted."""
    server = grpc.aio.server(options=[("grpc.max_receive_message_length", 400 * 1024 * 1024)])
    provider_pb2_grpc.add_ResourceProviderServicer_to_server(Bench(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    sys.stdout.write(f"{port}\n")
    sys.stdout.flush()
    stop = asyncio.Event()
    for name in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(name, stop.set)
    await stop.wait()
    await server.stop(None)


if __name__ == "__main__":
    asyncio.run(main())
