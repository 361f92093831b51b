"""The plugin process: serve the provider on a free loopback port, print the port, stay until told to go."""

import asyncio
import logging
import signal
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import grpc
from pulumi.runtime.proto import provider_pb2_grpc

from pulumi_runpod.provider.servicer import RunPodProvider
from redaction import RedactingFilter, redact

_MAX_MESSAGE = 400 * 1024 * 1024
"""The engine's own limit."""
_OPTIONS = (("grpc.max_receive_message_length", _MAX_MESSAGE), ("grpc.max_send_message_length", _MAX_MESSAGE))
VERSION = "0.1.0"
_GOODBYE_S = 3.0


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of `pulumi-resource-runpod [engine address] [flags]`; flags it does not know are ignored."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if "--version" in arguments:
        print(provider_version())  # noqa: T201 - asked for
        return 0
    _set_up_logging()
    try:
        asyncio.run(_serve(_engine_address(arguments)))
    except KeyboardInterrupt:
        return 130
    except OSError as error:
        print(redact(f"the runpod provider cannot start: {error}"), file=sys.stderr)  # noqa: T201 - shown by the engine
        return 1
    return 0


def provider_version() -> str:
    """The distribution's version; the plugin's own environment runs from the source tree and has none."""
    try:
        return version("vllm-runpod")
    except PackageNotFoundError:
        return VERSION


async def _serve(engine_address: str) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signal_number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(signal_number, stop.set)
    provider = RunPodProvider(provider_version(), project_dir=project_root(Path.cwd()))
    await provider.engine.connect(engine_address)
    server = grpc.aio.server(options=_OPTIONS)
    provider_pb2_grpc.add_ResourceProviderServicer_to_server(provider, server)
    port = server.add_insecure_port("127.0.0.1:0")
    if not port:
        raise OSError("no free port on 127.0.0.1")
    await server.start()
    # The engine reads exactly this line; nothing else may ever go to stdout.
    print(port, flush=True)  # noqa: T201
    told = asyncio.create_task(stop.wait())
    # An engine that is killed tells nobody. A provider that was attached for debugging outlives its engines.
    gone = asyncio.create_task(provider.engine.gone())
    await asyncio.wait({told, gone} if engine_address else {told}, return_when=asyncio.FIRST_COMPLETED)
    if not told.done():
        # An engine that ends in good order may close its own door first, and tell us right after.
        await asyncio.wait({told}, timeout=_GOODBYE_S)
    engine_is_gone = not told.done()
    for task in (told, gone):
        task.cancel()
    await server.stop(grace=1)
    await provider.close(engine_is_gone=engine_is_gone)


def project_root(start: Path) -> Path:
    """The folder with Pulumi.yaml. The engine starts plugins in the program's folder (`main:`), which may lie below."""
    for folder in (start, *start.parents):
        if (folder / "Pulumi.yaml").is_file() or (folder / "Pulumi.yml").is_file():
            return folder
    return start


def _engine_address(arguments: Sequence[str]) -> str:
    """The first argument that is neither a flag nor a flag's value."""
    takes_value = {"-v", "--v", "-tracing", "--tracing"}
    skip = False
    for argument in arguments:
        if skip:
            skip = False
        elif argument in takes_value:
            skip = True
        elif not argument.startswith("-"):
            return argument
    return ""


def _set_up_logging() -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(RedactingFilter())
    handler.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
