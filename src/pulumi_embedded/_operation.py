"""One operation from its beginning to its end: services up, program run, deletions, everything down again."""

import asyncio
import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import grpc.aio
from pulumi.runtime.proto import engine_pb2_grpc, resource_pb2_grpc

from pulumi_embedded._config import ConfigValue
from pulumi_embedded._deployment import RunningDeployment
from pulumi_embedded._early import Early
from pulumi_embedded._engine_service import EngineService
from pulumi_embedded._errors import EngineError
from pulumi_embedded._events import Events
from pulumi_embedded._monitor import Monitor
from pulumi_embedded._plugin import Plugin, start_plugin, told_when_applying
from pulumi_embedded._program import Program
from pulumi_embedded._project import Project
from pulumi_embedded._protos import GRPC_OPTIONS
from pulumi_embedded._provider import Provider
from pulumi_embedded._registry import ProviderRegistry
from pulumi_embedded._snapshot import SnapshotManager
from pulumi_embedded._state import Deployment

DEFAULT_PARALLEL = 64


@dataclass(frozen=True)
class Options:
    """What is asked for beyond the program."""

    parallel: int = DEFAULT_PARALLEL
    continue_on_error: bool = False
    refresh: bool = False
    run_program: bool = True
    debug: bool = True
    """Whether anybody will see the program's debug messages (the SDK has many to say)."""
    delete: bool = True
    """Delete what the program did not ask for (all of it, when there is no program)."""


@dataclass
class Result:
    """How it went."""

    ok: bool
    killed: bool
    """Ctrl-C came twice: what ran was killed."""
    outputs: Mapping[str, Any] = field(default_factory=dict)
    maybe_corrupt: bool = False


class Operation:
    """Runs once. `cancel` may be called at any time: once lets steps finish, twice kills."""

    def __init__(
        self, project: Project, stack: str, base: Deployment, config: Mapping[str, ConfigValue],
        events: Events, snapshot: SnapshotManager | None, options: Options, early: Early,
    ) -> None:  # fmt: skip
        self._project = project
        self._begun = early
        self._config = config
        self._events = events
        self._options = options
        self._plugins: list[Plugin] = []
        self._early: dict[str, asyncio.Future[Plugin]] = {}
        self._address = early.address
        self._engine = EngineService()
        registry = ProviderRegistry(self._start_provider)
        self.deployment = RunningDeployment(
            project.name, stack, base, registry, events, snapshot, options.parallel, options.continue_on_error
        )
        self._engine.deployment = self.deployment
        self._snapshot = snapshot
        self._program: Program | None = None
        self._cancels = 0
        self._killed = asyncio.Event()

    async def _start_provider(self, package: str) -> Provider:
        early = self._early.pop(package, None)
        if early is not None:
            return Provider(await early)
        return Provider(await self._start_plugin(package))

    async def _start_plugin(self, package: str) -> Plugin:
        applies = not self.deployment.preview and self._options.delete
        told = told_when_applying(self.deployment.base) if applies else ()
        plugin = await start_plugin(self._project, package, self._address, self._begun.plugin(package), told)
        self._plugins.append(plugin)
        return plugin

    def _follow_early_plugins(self) -> None:
        """Take over the plugins that are loading beside the program.

        One that fails to start is an error only for whoever needs it.
        """
        for package in self._begun.plugins():
            task = self._early[package] = asyncio.ensure_future(self._start_plugin(package))
            task.add_done_callback(lambda done: done.cancelled() or done.exception())

    async def _drop_early_plugins(self) -> None:
        for task in self._early.values():
            task.cancel()
        await asyncio.gather(*self._early.values(), return_exceptions=True)

    def cancel(self) -> None:
        """Ctrl-C: the first asks the plugins to give up what they do; the second kills them."""
        self._cancels += 1
        self.deployment.cancelled = True
        self.deployment.stop()
        if self._cancels == 1:
            self._events.diagnostic(
                "warning", "", "cancelling: running steps are let finish (Ctrl-C again to kill them)"
            )
            self._cancelling = asyncio.ensure_future(self._cancel_plugins())
        else:
            self._killed.set()
            if self._snapshot is not None:
                self._snapshot.killed = True
            for plugin in self._plugins:
                plugin.child.send(9)

    async def _cancel_plugins(self) -> None:
        await asyncio.gather(*(plugin.cancel() for plugin in self._plugins))

    async def run(self) -> Result:
        """Do it. Failures are reported as events and in the result; only what prevents a start is raised."""
        deployment, options = self.deployment, self._options
        server = grpc.aio.server(options=GRPC_OPTIONS)
        monitor = Monitor(deployment, self._config)
        resource_pb2_grpc.add_ResourceMonitorServicer_to_server(monitor, server)
        engine_pb2_grpc.add_EngineServicer_to_server(self._engine, server)
        server.add_insecure_port(self._address)
        closing: asyncio.Future[None] | None = None
        try:
            await server.start()
            self._begun.listening()
            if options.run_program:
                self._program = await Program.start(self._project, self._events.program_output, self._begun.program())
            self._follow_early_plugins()
            if options.refresh:
                await deployment.refresh()
                if deployment.errored:
                    deployment.stop()
            if self._program is not None and not deployment.stopping.is_set():
                await self._program.run(
                    deployment.stack, self._address, self._config, options.parallel, deployment.preview, options.debug
                )
                await self._follow_program(monitor)
            if options.delete and not deployment.stopping.is_set():
                await deployment.delete_unwanted()
            await deployment.finish()
            monitor.released.set()
            closing = asyncio.ensure_future(self._close_plugins())  # while the program comes to its end
            if self._program is not None and not deployment.errored and not deployment.stopping.is_set():
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._program.wait(), 10.0)
        finally:
            self._engine.muted = True
            if self._program is not None:
                await self._program.end()
            monitor.released.set()
            await (closing or self._close_plugins())
            await server.stop(None)
        ok = not deployment.errored and not self._cancels
        return Result(ok, self._cancels > 1, deployment.stack_outputs, deployment.maybe_corrupt)

    async def _close_plugins(self) -> None:
        await self._drop_early_plugins()
        results = await asyncio.gather(*(plugin.close() for plugin in self._plugins), return_exceptions=True)
        for error in results:
            if isinstance(error, BaseException) and not isinstance(error, EngineError):
                self._events.diagnostic("debug", "", f"closing a plugin: {error!r}")

    async def _follow_program(self, monitor: Monitor) -> None:
        """Until the program has registered everything, has ended, or must not go on."""
        assert self._program is not None
        deployment = self.deployment
        ended = asyncio.ensure_future(self._program.wait())
        finished = asyncio.ensure_future(monitor.finished.wait())
        stopping = asyncio.ensure_future(deployment.stopping.wait())
        try:
            await asyncio.wait({ended, finished, stopping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            finished.cancel()
            stopping.cancel()
        if deployment.stopping.is_set():
            self._engine.muted = True
            await self._program.end()
        elif ended.done() and not monitor.finished.is_set():
            code = ended.result()
            if code not in (0, 32):
                deployment.error("", f"the program exited with non-zero exit code: {code}")
            if code != 0:
                deployment.errored = True
                deployment.stop()
        if not ended.done():
            ended.cancel()
