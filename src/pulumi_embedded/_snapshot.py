"""The state file while an operation runs: what is done, in the order it was done, then what is not yet done.

Before a step touches the cloud, a pending operation is on disk; before its result goes to the program, the result is.
So a kill at any moment leaves a state from which the next run can tell what happened. Writes that wait at the same
time share one file (a thousand parallel creations need not write a thousand files each).
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Container

from pulumi_embedded._backend import Backend
from pulumi_embedded._checkpoint import checkpoint_bytes
from pulumi_embedded._errors import IntegrityError
from pulumi_embedded._state import Deployment, Entry, IntegrityCheck, PendingOperation, ResourceState
from pulumi_embedded._statejson import Sealer
from pulumi_embedded._steps import (
    CREATE,
    CREATE_REPLACEMENT,
    DELETE,
    DELETE_REPLACED,
    DISCARD,
    DISCARD_REPLACED,
    IMPORT,
    IMPORT_REPLACEMENT,
    READ,
    READ_REPLACEMENT,
    REMOVE_PENDING_REPLACE,
    SAME,
    UPDATE,
    Step,
)
from pulumi_embedded._urn import STACK_TYPE, make_urn, name_of, qualified_type, split_provider, stack_of, type_of
from pulumi_embedded._values import equal

_PENDING = {
    CREATE: "creating",
    CREATE_REPLACEMENT: "creating",
    UPDATE: "updating",
    DELETE: "deleting",
    DELETE_REPLACED: "deleting",
    DISCARD: "deleting",
    DISCARD_REPLACED: "deleting",
    READ: "reading",
    READ_REPLACEMENT: "reading",
    IMPORT: "importing",
    IMPORT_REPLACEMENT: "importing",
}

_LONGEST_WAIT_S = 0.1


class SnapshotManager:
    """Keeps the stack's file true. `close` writes what was not written for its own sake."""

    def __init__(
        self, backend: Backend, stack: str, base: Deployment, sealer: Sealer, secrets_state: Callable[[], str]
    ) -> None:
        self._backend = backend
        self._stack = stack
        self._base = base
        self._sealer = sealer
        self._secrets_state = secrets_state
        self._resources: list[ResourceState] = []
        self._done: set[ResourceState] = set()
        self._pending: dict[ResourceState, PendingOperation] = {}
        self._kept_creates = [p for p in base.pending if p.type == "creating"]
        self.killed = False
        """What ran was killed: a step that now fails may have happened all the same, so it stays pending."""
        self._elided = True
        self._waiting: list[asyncio.Future[None]] = []
        self._writer: asyncio.Task[None] | None = None
        self._active = 0
        self._all_wait = asyncio.Event()
        self._write_s = 0.0
        self._left_of_base = 0
        self._sound = IntegrityCheck()
        self._sound_entries: list[Entry | None] = []

    # What steps do to the state

    async def begin(self, step: Step) -> None:
        """Record that the step is about to touch the cloud."""
        operation = _PENDING.get(step.op)
        if operation is None:
            return
        state = step.old if operation == "deleting" else step.new
        assert state is not None
        self._pending[state] = PendingOperation(state, operation)
        self._active += 1
        await self._write()

    async def end(self, step: Step, successful: bool) -> None:
        """Record the step's result; `successful` also for one that failed and left something to keep."""
        op, old, new = step.op, step.old, step.new
        if op not in _PENDING:
            await self._end(op, old, new, successful)
            return
        state = old if _PENDING[op] == "deleting" else new
        assert state is not None
        if successful or not self.killed:
            self._pending.pop(state, None)
        try:
            await self._end(op, old, new, successful)
        finally:
            self._active -= 1

    async def _end(self, op: str, old: ResourceState | None, new: ResourceState | None, successful: bool) -> None:
        if successful:
            self._record(op, old, new)
        if op == SAME and successful:
            assert old is not None
            assert new is not None
            if not _must_write(old, new):
                self._elided = True
                return
        elif op not in _PENDING and op != REMOVE_PENDING_REPLACE:
            return
        await self._write()

    def _record(self, op: str, old: ResourceState | None, new: ResourceState | None) -> None:
        if op in (SAME, UPDATE, READ, READ_REPLACEMENT):
            if old is not None:
                self._done.add(old)
            assert new is not None
            self._resources.append(new)
        elif op in (CREATE, CREATE_REPLACEMENT):
            assert new is not None
            self._resources.append(new)
            if old is not None and old.pending_replacement:
                self._done.add(old)
        elif op in (IMPORT, IMPORT_REPLACEMENT):
            assert new is not None
            self._resources.append(new)
        elif op in (DELETE, DELETE_REPLACED, DISCARD, DISCARD_REPLACED):
            assert old is not None
            if not old.pending_replacement:
                self._done.add(old)
        elif op == REMOVE_PENDING_REPLACE:
            assert old is not None
            self._done.add(old)

    async def outputs_registered(self, step: Step) -> None:
        """Write a component's outputs, if they changed."""
        if step.old is not None and step.new is not None and equal(step.old.outputs, step.new.outputs):
            self._elided = True
            return
        await self._write()

    def drop_pending_creates(self, urns: Container[str]) -> None:
        """Forget creations that never happened, as somebody found out (`refresh --clear-pending-creates`)."""
        self._kept_creates = [p for p in self._kept_creates if p.resource.urn not in urns]

    # Writing

    def deployment(self) -> Deployment:
        """The state as it would be written now."""
        resources = [state for state in self._resources if state not in self._done]
        kept = [state for state in self._base.resources if state not in self._done]
        self._left_of_base = len(kept)
        resources += kept
        pending = [*self._pending.values(), *self._kept_creates]
        return Deployment(
            resources=_with_new_names(resources),
            pending=pending,
            secrets_state=self._base.secrets_state,
            metadata=self._base.metadata,
            extra=self._base.extra,
        )

    async def _write(self) -> None:
        self._elided = False
        written = asyncio.get_running_loop().create_future()
        self._waiting.append(written)
        if len(self._waiting) >= self._active:
            self._all_wait.set()
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write_all())
        await written

    async def _write_all(self) -> None:
        while self._waiting:
            await self._let_others_join()
            waiting, self._waiting = self._waiting, []
            try:
                started = time.monotonic()
                await self._write_now()
                self._write_s = time.monotonic() - started
            except Exception as error:  # noqa: BLE001 - handed to everyone who waits for this write
                for future in waiting:
                    if not future.done():
                        future.set_exception(error)
            else:
                for future in waiting:
                    if not future.done():
                        future.set_result(None)

    async def _let_others_join(self) -> None:
        """Wait for the steps under way to come to their next write, for as long as a write takes, and no longer.

        Writing a large state for every single step is what would make a deployment's time grow with its square.
        """
        if len(self._waiting) < self._active:
            self._all_wait.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._all_wait.wait(), min(self._write_s, _LONGEST_WAIT_S))

    async def _write_now(self) -> None:
        deployment = self.deployment()
        stack = self._backend.qualified(self._stack)
        data = checkpoint_bytes(stack, deployment, self._sealer)
        if self._sealer.used and not deployment.secrets_state:
            # The first secret of this stack: the salt exists now.
            self._base.secrets_state = deployment.secrets_state = self._secrets_state()
            data = checkpoint_bytes(stack, deployment, self._sealer)
        broken: IntegrityError | None = None
        try:
            self._verify(deployment.resources)
        except IntegrityError as error:
            broken = error
        # In a thread: a slow disk must not hold up the steps that run meanwhile.
        await asyncio.to_thread(self._backend.write, self._stack, data)
        if broken is not None:
            raise broken

    def _verify(self, resources: list[ResourceState]) -> None:
        """Raise IntegrityError unless the list is sound. What this run added stands first, and is checked once."""
        count = len(self._sound_entries)
        if [state.entry for state in resources[:count]] != self._sound_entries:
            self._sound, self._sound_entries, count = IntegrityCheck(), [], 0
        added = max(len(resources) - self._left_of_base, count)
        for state in resources[count:added]:
            self._sound.add(state)
            self._sound_entries.append(state.entry)
        if added < len(resources):
            check = self._sound.copy()
            for state in resources[added:]:
                check.add(state)

    async def close(self) -> None:
        """Write once more if anything was left unwritten."""
        if self._elided:
            await self._write()


def _must_write(old: ResourceState, new: ResourceState) -> bool:
    """Whether an unchanged resource still changed something the next run reads."""
    plain = ("urn", "type", "custom", "custom_timeouts", "retain_on_delete", "provider", "parent", "deleted_with",
             "replace_with", "protect")  # fmt: skip
    return (
        any(getattr(old, name) != getattr(new, name) for name in plain)
        or not equal(old.inputs, new.inputs)
        or not equal(old.outputs, new.outputs)
        or sorted(old.dependencies) != sorted(new.dependencies)
        or not equal(old.replacement_trigger, new.replacement_trigger)
    )


def _with_new_names(resources: list[ResourceState]) -> list[ResourceState]:
    """Rewrite references to renamed resources; what was found under an alias is known by its new name alone."""
    if not any([state.aliases for state in resources]):  # noqa: C419 - it comes with every write, and is faster
        return resources
    renamed: dict[str, str] = {}
    for state in resources:
        for alias in state.aliases:
            renamed[alias] = state.urn
        parent = renamed.get(state.parent)
        if parent is not None and qualified_type(parent) != STACK_TYPE:
            project = state.urn.split("::", 3)[1]
            renamed[state.urn] = make_urn(stack_of(state.urn), project, parent, type_of(state.urn), name_of(state.urn))

    def fix(urn: str) -> str:
        return renamed.get(urn, urn)

    result = []
    for state in resources:
        new = state.copy()
        new.urn, new.aliases = fix(state.urn), []
        new.parent = fix(state.parent)
        new.dependencies = [fix(urn) for urn in state.dependencies]
        by_property = {key: [fix(urn) for urn in urns] for key, urns in state.property_dependencies.items()}
        if by_property != state.property_dependencies:
            # As the CLI does: once it rewrites the map, properties that depend on nothing are left out of it.
            by_property = {key: urns for key, urns in by_property.items() if urns}
        new.property_dependencies = by_property
        new.deleted_with = fix(state.deleted_with)
        new.replace_with = [fix(urn) for urn in state.replace_with]
        if state.provider:
            urn, id_ = split_provider(state.provider)
            new.provider = f"{fix(urn)}::{id_}"
        result.append(new)
    return result
