"""Runs one operation: registrations in, steps out, deletions last, the state true all along.

Steps of different registrations run side by side, those of one registration in order. After the first failure no new
step begins; what runs is let finish, and its result is kept.
"""

import asyncio
import functools
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from pulumi_embedded._apply import PartialFailure, Protected, apply_step
from pulumi_embedded._deployment_base import DeploymentBase
from pulumi_embedded._errors import Bail, EngineError
from pulumi_embedded._events import Events
from pulumi_embedded._generator import Generator
from pulumi_embedded._goal import Goal, ReadGoal, Registered
from pulumi_embedded._provider import ProviderError
from pulumi_embedded._registry import ProviderRegistry
from pulumi_embedded._snapshot import SnapshotManager
from pulumi_embedded._state import Deployment, ResourceState
from pulumi_embedded._steps import (
    IMPORT,
    IMPORT_REPLACEMENT,
    REFRESH,
    REMOVE_PENDING_REPLACE,
    REPLACE,
    Step,
    antichains,
    delete_op,
    rebuilt,
)
from pulumi_embedded._urn import STACK_TYPE
from pulumi_embedded._values import PropertyMap

_log = logging.getLogger("pulumi_embedded")


def _wake(waiting: "asyncio.Future[None]", _done: "asyncio.Future[Registered] | None" = None) -> None:
    if not waiting.done():
        waiting.set_result(None)


class RunningDeployment(DeploymentBase):
    """The operation while it runs."""

    def __init__(
        self, project: str, stack: str, base: Deployment, registry: ProviderRegistry, events: Events,
        snapshot: SnapshotManager | None, parallel: int, continue_on_error: bool,
    ) -> None:  # fmt: skip
        super().__init__(project, stack, base, registry, events, preview=snapshot is None)
        self._snapshot = snapshot
        self._slots = asyncio.Semaphore(parallel)
        self._continue_on_error = continue_on_error
        self.generator = Generator(self)
        self._deciding = asyncio.Lock()
        self._chains: set[asyncio.Task[bool]] = set()
        self._registered: dict[str, Step] = {}
        self._failed_steps: list[Step] = []
        self._step_failed = False
        self.cancelled = False
        """Set by a Ctrl-C."""
        self._skipped: set[str] = set()
        self._stack_outputs: PropertyMap | None = None
        self._waiting: set[asyncio.Future[None]] = set()
        self.stopping = asyncio.Event()
        """Set when no new step may begin: after a failure, or a Ctrl-C."""
        self.maybe_corrupt = False

    def stop(self) -> None:
        """Begin no new step."""
        self.stopping.set()
        for waiting in self._waiting:
            _wake(waiting)

    async def first_of(self, done: "asyncio.Future[Registered]") -> None:
        """Wait until it is done, or nothing more will be."""
        if self.stopping.is_set():
            await asyncio.sleep(0)  # what is being done just now may still come to its end
            return
        # One future, and no task: every registration of the program waits here.
        waiting = asyncio.get_running_loop().create_future()
        self._waiting.add(waiting)
        wake = functools.partial(_wake, waiting)
        done.add_done_callback(wake)
        try:
            await waiting
        finally:
            done.remove_done_callback(wake)
            self._waiting.discard(waiting)

    # What the program asks for

    async def register(self, goal: Goal) -> None:
        """One RegisterResource; `goal.done` is resolved when its steps are done."""
        await self._handle(lambda: self.generator.register(goal, self._run_import))

    async def read(self, goal: ReadGoal) -> None:
        """One ReadResource."""

        async def decide() -> list[Step]:
            return self.generator.read(goal)

        await self._handle(decide)

    async def _handle(self, decide: Callable[[], Awaitable[list[Step]]]) -> None:
        async with self._deciding:
            if self.stopping.is_set():
                return
            try:
                steps = await decide()
            except Bail:
                self.errored = True
                self.stop()
                return
            except EngineError as error:
                self.error("", str(error))
                self.stop()
                return
            except Exception as bug:  # noqa: BLE001 - reported as ours
                _log.exception("a registration failed unexpectedly")
                self.error("", f"a bug in pulumi_embedded, please report it: {bug!r}")
                self.stop()
                return
            steps = self._without_skipped(steps)
            if steps:
                self._start(steps)

    def _without_skipped(self, steps: Sequence[Step]) -> list[Step]:
        """Leave out what depends on something that failed (only with continue-on-error is there such a thing)."""
        self._skipped.update(step.urn for step in self._failed_steps)
        kept = []
        for step in steps:
            if self._skipped and any(urn in self._skipped for urn in step.res.references()):
                self._skipped.add(step.urn)
                if step.goal is not None:
                    step.goal.resolve(Registered(step.new, "skipped"))
            else:
                kept.append(step)
        return kept

    async def _run_import(self, steps: Sequence[Step]) -> bool:
        return await self._run_chain(steps)

    async def register_outputs(self, urn: str, outputs: PropertyMap) -> None:
        """A component's outputs; the stack's own wait for the end."""
        if self._is_stack(urn):
            self._stack_outputs = outputs
            return
        step = self._registered.pop(urn, None)
        if step is None:
            self.error("", f"cannot complete a resource '{urn}' whose registration isn't pending")
            self.stop()
            return
        await self._set_outputs(step, outputs)

    @staticmethod
    def _is_stack(urn: str) -> bool:
        return f"::{STACK_TYPE}::" in urn

    async def _set_outputs(self, step: Step, outputs: PropertyMap) -> None:
        assert step.new is not None
        step.new.outputs = outputs
        self.events.outputs_registered(step)
        if self._snapshot is not None:
            await self._snapshot.outputs_registered(step)

    # Steps

    def _start(self, steps: Sequence[Step]) -> asyncio.Task[bool]:
        task = asyncio.create_task(self._run_chain_or_stop(steps))
        self._chains.add(task)
        task.add_done_callback(self._chains.discard)
        return task

    async def _run_chain(self, steps: Sequence[Step]) -> bool:
        async with self._slots:
            for step in steps:
                if self.stopping.is_set():
                    return False
                if not await self._run_step(step):
                    return False
        return True

    async def _run_chain_or_stop(self, steps: Sequence[Step]) -> bool:
        try:
            return await self._run_chain(steps)
        except Exception as bug:  # noqa: BLE001 - reported as ours
            # Ours: say so, and end the operation rather than leave the program waiting for an answer.
            _log.exception("a step failed unexpectedly")
            self.error(steps[0].urn, f"a bug in pulumi_embedded, please report it: {bug!r}")
            self.stop()
            return False

    async def _run_step(self, step: Step) -> bool:
        self.events.step_started(step)
        error: EngineError | None = None
        try:
            if self._snapshot is not None:
                await self._snapshot.begin(step)
            try:
                await apply_step(self, step)
            except EngineError as failure:
                error = failure
            if step.new is not None and step.op != REPLACE:
                self.news[step.new.urn] = step.new
            if error is not None:
                self._report(step, error)
            if self._snapshot is not None:
                await self._snapshot.end(step, error is None or isinstance(error, PartialFailure))
        except EngineError as failure:  # the state could not be written: nothing may go on
            self.error(step.urn, str(failure))
            self.stop()
            error = failure
        self.events.step_ended(step, str(error) if error else None)
        if error is None:
            self._finish(step)
            return True
        self._fail(step, error)
        return False

    def _report(self, step: Step, error: EngineError) -> None:
        if isinstance(error, ProviderError) and error.status_unknown:
            self.maybe_corrupt = True
        text = f"Preview failed: {error}" if self.preview else str(error)
        self.error("" if step.internal else step.urn, text)

    def _finish(self, step: Step) -> None:
        if step.logical and step.new is not None:
            self._registered[step.urn] = step
        # An import is followed by the steps that bring what was found to what is asked for.
        if step.goal is not None and step.op not in (IMPORT, IMPORT_REPLACEMENT):
            step.goal.resolve(Registered(step.new))

    def _fail(self, step: Step, error: EngineError) -> None:
        self.errored = self._step_failed = True
        if self._refreshing:
            return
        if self._continue_on_error or isinstance(error, Protected):
            if step.goal is not None:
                step.goal.resolve(Registered(step.new, "failed"))
            self._failed_steps.append(step)
        else:
            self.stop()

    async def settle(self) -> None:
        """Wait until no step runs."""
        while self._chains:
            await asyncio.gather(*self._chains, return_exceptions=False)

    # Deletions

    async def delete_unwanted(self) -> None:
        """Delete what the program did not ask for, and what replacements left; dependents first."""
        async with self._deciding:
            await self.settle()
            steps = []
            for state in list(self.base.resources):
                step = self._deletion(state)
                if step is not None:
                    try:
                        await self.ensure_provider(state)
                    except EngineError as error:
                        self.error("", f"could not load provider for resource {state.urn}: {error}")
                        self.stop()
                        return
                    steps.append(step)
            for chain in antichains(steps, self.graph):
                condemned = self._needed_by_failed()
                tasks = [self._start([step]) for step in chain if step.res not in condemned]
                await asyncio.gather(*tasks)

    def _deletion(self, state: ResourceState) -> Step | None:
        generator = self.generator
        if state.delete:
            if state in generator.replacing.deleted_early:
                return None
            generator.deletes[state.urn] = True
            return Step(delete_op(state, True), state, None, other_deletions=generator.deletes)
        if generator.operated_on(state.urn):
            return None
        generator.deletes[state.urn] = True
        if state.pending_replacement:
            return Step(REMOVE_PENDING_REPLACE, state, None)
        return Step(delete_op(state, False), state, None, other_deletions=generator.deletes)

    def _needed_by_failed(self) -> set[ResourceState]:
        needed: set[ResourceState] = set()
        for step in self._failed_steps:
            for state in (step.res, step.old):
                if state is not None and state in self.graph:
                    needed |= self.graph.transitive_dependencies(state)
        return needed

    # Refresh

    _refreshing = False

    async def refresh(self) -> None:
        """Read everything; afterwards the old state is what was found."""
        self._refreshing = True
        steps: dict[ResourceState, Step] = {}
        for state in self.base.resources:
            try:
                await self.ensure_provider(state)
            except EngineError as error:
                self.error("", f"could not load provider for resource {state.urn}: {error}")
                self.stop()
                return
            steps[state] = Step(REFRESH, state, state)
        await asyncio.gather(*(self._start([step]) for step in steps.values()))
        self.rebase(rebuilt(self.base.resources, steps))
        self._refreshing = False

    # The end

    async def finish(self) -> None:
        """Settle, write the stack's outputs, and close the state."""
        await self.settle()
        outputs = self._stack_outputs
        step = next((s for urn, s in self._registered.items() if self._is_stack(urn)), None)
        if outputs is not None and step is not None:
            if self.errored:
                old = self.olds.get(step.urn)
                outputs = {**(old.outputs if old else {}), **outputs}
            await self._set_outputs(step, outputs)
        if self._snapshot is not None:
            await self._snapshot.close()
        what = "preview" if self.preview else "update"
        if self._step_failed:
            self.error("", f"{what} failed")
        elif self.cancelled and not self.errored:
            self.error("", f"{what} canceled")

    @property
    def stack_outputs(self) -> Mapping[str, Any]:
        """What the stack exports (after `finish`)."""
        for state in (*self.news.values(), *self.base.resources):
            if state.type == STACK_TYPE:
                return state.outputs
        return {}
