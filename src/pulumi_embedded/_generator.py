"""From a registration to steps: look up what was, check, diff, decide.

Registrations are worked on one after the other (a later one may ask what an earlier one decided), while the steps they
lead to run side by side. The rules are the CLI's; `docs/design/pulumi_embedded.md` says where they were recorded.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from pulumi_embedded._deployment_base import DeploymentBase
from pulumi_embedded._diff import DiffResult, apply_replace_on_changes
from pulumi_embedded._errors import Bail, EngineError
from pulumi_embedded._goal import Goal, ReadGoal, Registered
from pulumi_embedded._ignore import with_ignored_changes
from pulumi_embedded._naming import Naming
from pulumi_embedded._provider import CheckFailure, DiffUnavailable
from pulumi_embedded._registry import visible
from pulumi_embedded._replacing import Replacing
from pulumi_embedded._state import ResourceState
from pulumi_embedded._steps import (
    CREATE,
    CREATE_REPLACEMENT,
    IMPORT,
    IMPORT_REPLACEMENT,
    READ,
    READ_REPLACEMENT,
    REPLACE,
    SAME,
    UPDATE,
    Step,
)
from pulumi_embedded._urn import is_provider_type, split_provider
from pulumi_embedded._values import PropertyMap, Unknown, equal, has_unknown, without_secrets, without_unknowns

RunChain = Callable[[Sequence[Step]], Awaitable[bool]]


class Generator:
    """Decides the steps of one operation."""

    def __init__(self, deployment: DeploymentBase) -> None:
        self.deployment = deployment
        self.naming = Naming(deployment)
        self.sames: set[str] = set()
        self.creates: set[str] = set()
        self.updates: set[str] = set()
        self.replaces: set[str] = set()
        self.reads: set[str] = set()
        self.imports: set[str] = set()
        self.deletes: dict[str, bool] = {}
        self.providers: dict[str, ResourceState] = {}
        self.replacing = Replacing(self)

    def operated_on(self, urn: str) -> bool:
        """Whether this run wanted the resource (under its present or an old name)."""
        urn = self.naming.new_of.get(urn, urn)
        return any(urn in group for group in (self.sames, self.updates, self.replaces, self.reads))

    # Registrations

    async def register(self, goal: Goal, run_import: RunChain) -> list[Step]:
        """The steps of a registration. `run_import` executes the import that must come before the decision."""
        deployment = self.deployment
        self.naming.check_parent(goal.parent)
        urn = self.naming.make(goal.parent, goal.type, goal.name)
        old, alias, valid = self.naming.find_old(urn, goal.name, goal.type, goal.parent, goal.aliases)
        deployment.goals[urn] = goal
        new = self._new_state(goal, urn, old, alias)
        if new.is_provider:
            self.providers[urn] = new
            if alias:
                self.providers[alias] = new
        self._check_provider_reference(new)
        recreating = urn in self.deletes
        recorded_id = (old.import_id or old.id) if old is not None else None
        imported = goal.custom and goal.import_id and (old is None or old.external or recorded_id != goal.import_id)
        if imported:
            steps = [Step(IMPORT if old is None or recreating else IMPORT_REPLACEMENT, None, new, goal, original=old)]
            if steps[0].op == IMPORT_REPLACEMENT:
                steps.append(Step(REPLACE, old, new, pending_delete=True))
            self.imports.add(urn)
            if not await run_import(steps):
                return []
            old, new = new, self._new_state(goal, urn, None, alias)
            new.created, new.modified = old.created, old.modified
            new.refresh_before_update = old.refresh_before_update
        return await self._decide(goal, urn, old, new, recreating, valid)

    def _new_state(self, goal: Goal, urn: str, old: ResourceState | None, alias: str) -> ResourceState:
        return ResourceState(
            urn=urn,
            type=goal.type,
            custom=goal.custom,
            inputs=goal.properties,
            parent=goal.parent,
            protect=bool(goal.protect),
            dependencies=list(goal.dependencies),
            provider=goal.provider,
            property_dependencies=dict(goal.property_dependencies),
            additional_secret_outputs=list(goal.additional_secret_outputs),
            aliases=[alias] if alias else [],
            custom_timeouts=dict(goal.custom_timeouts),
            import_id=goal.import_id,
            retain_on_delete=bool(goal.retain_on_delete),
            deleted_with=goal.deleted_with,
            replace_with=list(goal.replace_with),
            created=old.created if old else "",
            modified=old.modified if old else "",
            source_position=goal.source_position,
            ignore_changes=list(goal.ignore_changes),
            hide_diff=list(goal.hide_diff),
            replace_on_changes=list(goal.replace_on_changes),
            replacement_trigger=goal.replacement_trigger,
            refresh_before_update=old.refresh_before_update if old else False,
            extra=dict(old.extra) if old else {},
        )

    def _check_provider_reference(self, new: ResourceState) -> None:
        if new.custom and not new.is_provider and self.deployment.registry.get(new.provider) is None:
            self.deployment.error(new.urn, f"unknown provider '{new.provider}' for resource '{new.urn}'")
            raise Bail

    async def check(self, new: ResourceState, olds: PropertyMap, news: PropertyMap) -> bool:
        """Check and take over the inputs; False when there were failures (they have been reported)."""
        deployment = self.deployment
        if new.is_provider:
            inputs, failures = await deployment.registry.check(new.urn, olds, news)
        else:
            if not deployment.preview:
                # Only outputs of something that failed (continue-on-error) are unknown now; the step will be skipped.
                news = without_unknowns(news)
            inputs, failures = await deployment.provider_of(new).check(new.urn, olds, news)
        if not failures and not deployment.preview and not new.is_provider and has_unknown(inputs):
            raise EngineError(f"{new.urn}: the provider's Check returned unknown values outside a preview")
        new.inputs = inputs
        for failure in failures:
            deployment.error(new.urn, _explain(new, failure))
        return not failures

    async def _decide(
        self, goal: Goal, urn: str, old: ResourceState | None, new: ResourceState, recreating: bool, valid: bool
    ) -> list[Step]:
        deployment = self.deployment
        inputs = goal.properties
        if old is not None:
            inputs = with_ignored_changes(inputs, old.inputs, goal.ignore_changes, urn, deployment.info)
        was_external = old is not None and old.external
        if goal.custom:
            if old is None or recreating or was_external or old.taint:
                valid = await self.check(new, {}, goal.properties) and valid
            else:
                valid = await self.check(new, old.inputs, inputs) and valid
        if not valid:
            raise Bail
        if recreating:
            assert old is not None
            return self.recreate(old, new, goal)
        if was_external:
            assert old is not None
            self.creates.add(urn)
            return [
                Step(CREATE_REPLACEMENT, old, new, goal, pending_delete=True),
                Step(REPLACE, old, new, pending_delete=True),
            ]
        if old is None:
            self.creates.add(urn)
            return [Step(CREATE, None, new, goal)]
        return await self._from_diff(goal, urn, old, new)

    def recreate(self, old: ResourceState, new: ResourceState, goal: Goal) -> list[Step]:
        """Create again what was deleted earlier in this run because something it depends on was replaced."""
        self.deletes.pop(new.urn, None)
        self.replaces.add(new.urn)
        keys = self.replacing.keys_of.get(new.urn, ())
        return [Step(REPLACE, old, new), Step(CREATE_REPLACEMENT, old, new, goal, keys=keys)]

    # Existing resources

    async def _from_diff(self, goal: Goal, urn: str, old: ResourceState, new: ResourceState) -> list[Step]:
        deployment = self.deployment
        trigger = _trigger_replaces(new.replacement_trigger, old.replacement_trigger)
        if not deployment.preview and has_unknown(new.replacement_trigger):
            deployment.error(urn, f"replacement trigger contains unknowns for {urn}")
            raise Bail
        try:
            diff = DiffResult(changes=True) if trigger else await self._diff(goal, urn, old, new)
        except DiffUnavailable as unavailable:
            deployment.warn(urn, str(unavailable))
            diff = DiffResult(changes=True)
        init_errors = bool(old.init_errors)
        try:
            diff = apply_replace_on_changes(diff, goal.replace_on_changes, init_errors)
        except ValueError as error:
            raise EngineError(f"{urn}: replaceOnChanges: {error}") from error
        if (diff.changes or old.pending_replacement) and (diff.replaces or trigger or old.pending_replacement):
            return await self.replacing.steps(goal, old, new, diff)
        if diff.changes or init_errors:
            self.updates.add(urn)
            return [
                Step(UPDATE, old, new, goal, diffs=diff.changed_keys, detailed=diff.detailed, stables=diff.stable_keys)
            ]
        if urn in self.imports:
            goal.resolve(Registered(old))
            return []
        self.sames.add(urn)
        return [Step(SAME, old, new, goal)]

    async def _diff(self, goal: Goal, urn: str, old: ResourceState, new: ResourceState) -> DiffResult:
        if old.taint:
            return DiffResult(changes=True, replace_keys=("id",))
        if any(other in self.replaces for other in new.replace_with):
            return DiffResult(changes=True, replace_keys=("replaceWith",))
        if new.deleted_with in self.replaces:
            return DiffResult(changes=True, replace_keys=("deletedWith",))
        if await self._provider_changed(old, new):
            return DiffResult(changes=True, replace_keys=("provider",))
        if not new.custom:
            return DiffResult(changes=not equal(old.inputs, new.inputs))
        if new.is_provider:
            return await self.deployment.registry.diff(urn, old.id, old.inputs, old.outputs, new.inputs)
        provider = self.deployment.provider_of(new)
        return await self.deployment.diff_resource(
            provider, urn, old.id, old.inputs, old.outputs, new.inputs, goal.ignore_changes
        )

    async def _provider_changed(self, old: ResourceState, new: ResourceState) -> bool:
        if old.provider == new.provider:
            return False
        if not old.provider or not new.provider:
            return True
        old_urn, new_urn = split_provider(old.provider)[0], split_provider(new.provider)[0]
        if self.naming.new_of.get(old_urn) == new_urn:
            return False
        was, now_is = self.deployment.olds.get(old_urn), self.providers.get(new_urn)
        if was is None or now_is is None:
            raise EngineError(f"{new.urn}: the provider {old.provider} is not in the state")
        diff = await self.deployment.provider_of(new).diff_config(
            new_urn, visible(was.inputs), was.outputs, visible(now_is.inputs)
        )
        return diff is not None and diff.replaces

    # Reads

    def read(self, goal: ReadGoal) -> list[Step]:
        """The steps of a `.get`."""
        self.naming.check_parent(goal.parent)
        urn = self.naming.make(goal.parent, goal.type, goal.name)
        old, alias, _ = self.naming.find_old(urn, goal.name, goal.type, goal.parent, ())
        new = ResourceState(
            urn=urn,
            type=goal.type,
            custom=True,
            id=goal.id,
            inputs=goal.properties,
            parent=goal.parent,
            external=True,
            dependencies=list(goal.dependencies),
            provider=goal.provider,
            additional_secret_outputs=list(goal.additional_secret_outputs),
            aliases=[alias] if alias else [],
            source_position=goal.source_position,
        )
        if is_provider_type(goal.type):
            raise EngineError("provider resources may not be read")
        if goal.id == "":
            raise EngineError(f"Expected an ID for {urn}")
        if old is not None and not old.external and (isinstance(goal.id, Unknown) or old.id != goal.id):
            self.replaces.add(urn)
            return [Step(READ_REPLACEMENT, old, new, goal), Step(REPLACE, old, new, pending_delete=True)]
        self.reads.add(urn)
        return [Step(READ, old, new, goal)]


def _explain(state: ResourceState, failure: CheckFailure) -> str:
    """The CLI's sentence without the value: that may be secret, and the plugin may have left it out of its answer."""
    where = f": property {failure.property}" if failure.property else ""
    return f"{state.type} resource '{state.name}'{where} has a problem: {failure.reason}"


def _trigger_replaces(new: Any, old: Any) -> bool:
    new, old = without_secrets(new), without_secrets(old)
    if has_unknown(new) or has_unknown(old):
        return True
    return new is not None and old is not None and not equal(new, old)
