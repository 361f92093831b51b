"""What each kind of step does: the provider's call, and what the entry looks like afterwards.

In a preview deletes are not called, creates and updates are called as previews, reads are real.
"""

from collections.abc import Awaitable, Callable

from pulumi_embedded._deployment_base import DeploymentBase
from pulumi_embedded._diff import DiffResult
from pulumi_embedded._errors import EngineError
from pulumi_embedded._ignore import with_ignored_changes
from pulumi_embedded._provider import InitError, Provider, ReadResult
from pulumi_embedded._state import ResourceState, now
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
    REFRESH,
    REMOVE_PENDING_REPLACE,
    REPLACE,
    SAME,
    UPDATE,
    Step,
)
from pulumi_embedded._values import UNKNOWN, Secret, equal, keep_secret


class PartialFailure(EngineError):
    """The step failed, and what there is now is to be kept."""


class Protected(EngineError):
    """A protected resource is not deleted; other deletions go on."""

    def __init__(self, urn: str) -> None:
        super().__init__(
            f'resource "{urn}" cannot be deleted\nbecause it is protected. To unprotect the resource, either remove '
            f"the `protect` flag from the resource in your program and run `up`, or use the command:\n"
            f"`pulumi state unprotect '{urn}'`"
        )


def _init_failed(state: ResourceState, error: InitError) -> PartialFailure:
    state.init_errors = error.reasons
    reasons = "\n".join(f"* {reason}" for reason in error.reasons)
    count = len(error.reasons)
    return PartialFailure(f"{count} error{'s' if count != 1 else ''} occurred:\n\t{reasons}")


async def _same(deployment: DeploymentBase, step: Step) -> None:
    old, new = step.old, step.new
    assert old is not None
    assert new is not None
    new.id, new.outputs = old.id, old.outputs
    if new.is_provider:
        await deployment.registry.same(new, old.inputs, from_check=True)


async def _create(deployment: DeploymentBase, step: Step) -> None:
    new = step.new
    assert new is not None
    failure: PartialFailure | None = None
    if new.is_provider:
        new.id, new.outputs = await deployment.registry.create(new, deployment.preview)
    elif new.custom:
        provider = deployment.provider_of(new)
        try:
            new.id, new.outputs = await provider.create(
                new.urn, new.inputs, new.custom_timeouts.get("create", 0.0), deployment.preview
            )
        except InitError as error:
            if not error.id and not deployment.preview:
                raise EngineError(f"plugin returned empty resource.ID from create '{new.urn}'") from error
            failure = _init_failed(new, error)
            new.id, new.outputs = error.id, error.outputs or {}
    new.created = new.modified = now()
    if step.pending_delete:
        assert step.old is not None
        step.old.delete = True
    if failure:
        raise failure


async def _update(deployment: DeploymentBase, step: Step) -> None:
    old, new = step.old, step.new
    assert old is not None
    assert new is not None
    new.id, new.created, new.modified = old.id, old.created, old.modified
    if not new.custom:
        return
    failure: PartialFailure | None = None
    if new.is_provider:
        new.outputs = await deployment.registry.update(new, old.id)
    else:
        provider = deployment.provider_of(new)
        try:
            new.outputs = await provider.update(
                new.urn, old.id, old.inputs, old.outputs, new.inputs, new.ignore_changes,
                new.custom_timeouts.get("update", 0.0), deployment.preview,
            )  # fmt: skip
        except InitError as error:
            failure = _init_failed(new, error)
            new.outputs = error.outputs or {}
    new.modified = now()
    if failure:
        # What came back answers the new inputs: where those are secret it is, whatever the old ones were.
        _mark_secret_outputs(deployment, new)
        # The cloud may hold a mixture; keeping the old inputs makes the next update try again.
        new.inputs = old.inputs
        raise failure


async def _delete(deployment: DeploymentBase, step: Step) -> None:
    old = step.old
    assert old is not None
    if step.op == DELETE and old.protect:
        raise Protected(old.urn)
    with_another = bool(old.deleted_with) and bool(step.other_deletions.get(old.deleted_with))
    not_called = deployment.preview or not old.custom or old.is_provider or old.external or old.retain_on_delete
    if not (not_called or with_another):
        provider = await deployment.provider_for_old(old)
        await provider.delete(old.urn, old.id, old.inputs, old.outputs, old.custom_timeouts.get("delete", 0.0))
    if step.pending_replacement:
        old.pending_replacement = True


async def _read(deployment: DeploymentBase, step: Step) -> None:
    old, new = step.old, step.new
    assert new is not None
    failure: PartialFailure | None = None
    if new.id is UNKNOWN or new.id == "":
        new.outputs = {}
    else:
        provider = deployment.provider_of(new)
        try:
            result = await provider.read(new.urn, new.id, new.inputs, new.inputs, new.custom_timeouts.get("read", 0.0))
        except InitError as error:
            failure = _init_failed(new, error)
            result = ReadResult(error.id, error.outputs, error.inputs)
        if result.outputs is None:
            raise EngineError(f"resource '{new.id}' does not exist")
        new.outputs = result.outputs
        new.id = result.id or new.id
    if step.op == READ_REPLACEMENT:
        assert old is not None
        old.delete = True
    if old is not None:
        new.created, new.modified = old.created, old.modified
        if not equal(new.inputs, old.inputs) or not equal(new.outputs, old.outputs):
            new.modified = now()
    if failure:
        raise failure


async def _read_tolerantly(
    deployment: DeploymentBase, provider: Provider, state: ResourceState
) -> tuple[ReadResult, list[str]]:
    try:
        timeout = state.custom_timeouts.get("read", 0.0)
        return await provider.read(state.urn, state.id, state.inputs, state.outputs, timeout), []
    except InitError as error:
        reasons = "\n* ".join(error.reasons)
        deployment.warn(state.urn, f"Refreshed resource is in an unhealthy state:\n* {reasons}")
        return ReadResult(error.id, error.outputs, error.inputs), error.reasons


async def _refresh(deployment: DeploymentBase, step: Step) -> None:
    old = step.old
    assert old is not None
    if not old.custom or old.is_provider or old.pending_replacement:
        return
    provider = await deployment.provider_for_old(old)
    result, init_errors = await _read_tolerantly(deployment, provider, old)
    if not result.id or result.outputs is None:
        step.refresh_deleted = True
        step.new = None
        return
    new = step.new = old.copy()
    new.id, new.init_errors = result.id, init_errors
    # A plugin that forgets to mark secrets when it reads must not put them into the state in clear.
    new.inputs = old.inputs if result.inputs is None else keep_secret(result.inputs, old.inputs)
    new.outputs = keep_secret(result.outputs, old.outputs)
    if not equal(new.inputs, old.inputs) or not equal(new.outputs, old.outputs):
        new.modified = now()
    if old.external:
        step.refresh_diff = DiffResult(changes=not equal(old.outputs, new.outputs))
        return
    # Backwards: "what would bring the found state to what was asked for", then turned around for showing.
    found = await deployment.diff_resource(
        provider, new.urn, new.id, new.inputs, new.outputs, old.inputs, old.ignore_changes
    )
    step.refresh_diff = found.inverted()


async def _import(deployment: DeploymentBase, step: Step) -> None:
    new = step.new
    assert new is not None
    provider = deployment.provider_of(new)
    try:
        result = await provider.read(new.urn, new.import_id, None, None, new.custom_timeouts.get("read", 0.0))
    except InitError as error:
        new.init_errors = error.reasons
        result = ReadResult(error.id, error.outputs, error.inputs)
    if result.outputs is None:
        raise EngineError(f"resource '{new.import_id}' does not exist")
    if result.inputs is None:
        package = new.type.split(":", 1)[0]
        raise EngineError(f"provider does not support importing resources; please try updating the '{package}' plugin")
    new.id = result.id or new.import_id
    new.inputs, new.outputs = result.inputs, result.outputs
    imported = new.copy()
    imported.additional_secret_outputs, imported.aliases = [], []
    imported.created = imported.modified = ""
    step.old = imported
    new.created = new.modified = now()
    new.inputs = with_ignored_changes(new.inputs, imported.inputs, new.ignore_changes, new.urn, deployment.info)
    if step.op == IMPORT_REPLACEMENT:
        assert step.original is not None
        step.original.delete = True


async def _nothing(deployment: DeploymentBase, step: Step) -> None:
    """`replace` and `remove-pending-replace` are book-keeping."""


_APPLY: dict[str, Callable[[DeploymentBase, Step], Awaitable[None]]] = {
    SAME: _same,
    CREATE: _create,
    CREATE_REPLACEMENT: _create,
    UPDATE: _update,
    DELETE: _delete,
    DELETE_REPLACED: _delete,
    DISCARD: _delete,
    DISCARD_REPLACED: _delete,
    READ: _read,
    READ_REPLACEMENT: _read,
    REFRESH: _refresh,
    IMPORT: _import,
    IMPORT_REPLACEMENT: _import,
    REPLACE: _nothing,
    REMOVE_PENDING_REPLACE: _nothing,
}


async def apply_step(deployment: DeploymentBase, step: Step) -> None:
    """Do it. On PartialFailure `step.new` is to be kept; on any other error it is not."""
    failed_update = False
    try:
        await _APPLY[step.op](deployment, step)
    except PartialFailure:
        failed_update = step.op == UPDATE
        raise
    finally:
        if step.new is not None and step.op != REPLACE and not failed_update:
            _mark_secret_outputs(deployment, step.new)


def _mark_secret_outputs(deployment: DeploymentBase, state: ResourceState) -> None:
    """Outputs are secret when asked for by name, and when the input of the same name is."""
    outputs = state.outputs
    wanted = [key for key in state.additional_secret_outputs if key in outputs]
    wanted += [key for key, value in state.inputs.items() if isinstance(value, Secret) and key in outputs]
    if "id" in state.additional_secret_outputs:
        deployment.warn(state.urn, "The 'id' property cannot be made secret.")
    marked = {key: Secret(outputs[key]) for key in wanted if not isinstance(outputs[key], Secret)}
    if marked:
        state.outputs = {**outputs, **marked}
