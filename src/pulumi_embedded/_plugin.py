"""Resource plugins: found, started, connected to, stopped.

A plugin is the folder that Pulumi.yaml's plugins.providers names (PulumiPlugin.yaml says with which environment it
runs), else `pulumi-resource-<name>` on PATH. It prints its port; everything else it prints goes to the debug log, and
is shown when it does not start.
"""

import asyncio
import contextlib
import logging
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import yaml
from google.protobuf.empty_pb2 import Empty
from pulumi.runtime.proto import provider_pb2, provider_pb2_grpc

from pulumi_embedded._errors import NotSupported, PluginError, ProjectError
from pulumi_embedded._process import Child, without_passphrase
from pulumi_embedded._project import Project, interpreter_of
from pulumi_embedded._protos import GRPC_OPTIONS
from pulumi_embedded._wire import Peer

_log = logging.getLogger("pulumi_embedded.plugin")
_START_TIMEOUT_S = 30.0


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


def _command(project: Project, name: str) -> tuple[list[str], Path]:
    """The command that starts the plugin, and the folder it is told it lives in."""
    folder = project.plugin_paths.get(name)
    if folder is None:
        found = shutil.which(f"pulumi-resource-{name}")
        if found is None:
            raise PluginError(
                f"no resource plugin 'pulumi-resource-{name}' found: name its folder in Pulumi.yaml "
                f"(plugins.providers), or put it on PATH (pulumi_embedded downloads no plugins)"
            )
        return [found], Path(found).parent
    if folder.is_file() and os.access(folder, os.X_OK):
        return [str(folder)], folder.parent
    executable = folder / f"pulumi-resource-{name}"
    if executable.is_file():
        return [str(executable)], folder
    manifest = folder / "PulumiPlugin.yaml"
    if not manifest.is_file():
        raise ProjectError(f"Pulumi.yaml: plugins.providers: {folder} holds no PulumiPlugin.yaml")
    return _python_command(manifest), folder


def _python_command(manifest: Path) -> list[str]:
    try:
        data = yaml.safe_load(manifest.read_text())
        runtime = data["runtime"]
    except (OSError, yaml.YAMLError, KeyError, TypeError) as error:
        raise ProjectError(f"{manifest} cannot be used: no readable `runtime` in it") from error
    runtime_name, options = (runtime, {}) if isinstance(runtime, str) else (runtime.get("name"), runtime.get("options"))
    if runtime_name != "python":
        raise NotSupported(f"plugins with the runtime `{runtime_name}` ({manifest})")
    options = options or {}
    if options.get("toolchain", "pip") != "pip":
        raise NotSupported(f"the toolchain `{options['toolchain']}` ({manifest})")
    if not (manifest.parent / "__main__.py").is_file():
        raise NotSupported(f"plugins without a __main__.py ({manifest.parent})")
    # The language host assumes `venv` beside the manifest when it names none.
    environment = manifest.parent / str(options.get("virtualenv") or "venv")
    return [str(interpreter_of(environment, f"{manifest}: runtime.options.virtualenv")), "-u", str(manifest.parent)]


async def _call(method: Any, request: Any, **options: Any) -> Any:
    # The stubs are typed for synchronous channels; on an asynchronous one every call is awaited.
    return await method(request, **options)


async def start_plugin(project: Project, name: str, engine_address: str, extra_env: Mapping[str, str]) -> Plugin:
    """Start the plugin and shake hands. PluginError carries what it wrote before it failed."""
    command, folder = _command(project, name)
    port: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def on_stdout(line: str) -> None:
        if not port.done() and line.strip().isdigit():
            port.set_result(int(line))
        else:
            _log.debug("%s: %s", name, line)

    child = await Child.start(
        name,
        [*command, engine_address],
        cwd=project.program if project.program.is_dir() else project.program.parent,
        env={**without_passphrase(os.environ), "PULUMI_PROJECT": project.name, **extra_env},
        on_stdout=on_stdout,
        on_stderr=lambda line: _log.debug("%s: %s", name, line),
    )
    ended = asyncio.create_task(child.wait())
    try:
        await asyncio.wait({port, ended}, timeout=_START_TIMEOUT_S, return_when=asyncio.FIRST_COMPLETED)
        if not port.done():
            why = f"ended with code {child.returncode}" if ended.done() else f"gave no port in {_START_TIMEOUT_S:.0f} s"
            raise PluginError(_with_tail(f"the plugin '{name}' did not start: it {why}", child))
        channel = grpc.aio.insecure_channel(f"127.0.0.1:{port.result()}", options=GRPC_OPTIONS)
        plugin = Plugin(name, child, channel)
        await _handshake(plugin, engine_address, folder)
    except BaseException:
        port.cancel()
        await child.stop(grace_s=0.5)
        raise
    finally:
        ended.cancel()
    return plugin


async def _handshake(plugin: Plugin, engine_address: str, folder: Path) -> None:
    request = provider_pb2.ProviderHandshakeRequest(
        engine_address=engine_address,
        root_directory=str(folder),
        program_directory=str(folder),
        configure_with_urn=True,
        invoke_with_preview=True,
    )
    try:
        answer: Any = await asyncio.wait_for(
            _call(plugin.stub.Handshake, request, wait_for_ready=True), _START_TIMEOUT_S
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
