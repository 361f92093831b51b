"""Replacing a resource, in either order, and finding what must go down with it."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pulumi_embedded._diff import DiffResult, apply_replace_on_changes
from pulumi_embedded._errors import Bail, EngineError
from pulumi_embedded._goal import Goal
from pulumi_embedded._state import ResourceState
from pulumi_embedded._steps import CREATE_REPLACEMENT, REPLACE, Step, delete_op
from pulumi_embedded._urn import split_provider
from pulumi_embedded._values import UNKNOWN, PropertyMap

if TYPE_CHECKING:
    from pulumi_embedded._generator import Generator


class Replacing:
    """The replacement rules of one operation."""

    def __init__(self, generator: "Generator") -> None:
        self._generator = generator
        self.keys_of: dict[str, Sequence[str]] = {}
        self.deleted_early: set[ResourceState] = set()

    async def steps(self, goal: Goal, old: ResourceState, new: ResourceState, diff: DiffResult) -> list[Step]:
        """The steps that replace `old` by `new`."""
        generator, deployment = self._generator, self._generator.deployment
        if new.protect and old.protect:
            deployment.error(
                new.urn,
                f'unable to replace resource "{new.urn}"\nas it is currently marked for protection. To unprotect the '
                f"resource, remove the `protect` flag from the resource in your Pulumi program and run `pulumi up`",
            )
            if not deployment.preview:
                raise Bail
        if goal.import_id:
            message = (
                "previously-imported resources that still specify an ID may not be replaced; "
                "please remove the `import` declaration from your program"
            )
            if not deployment.preview:
                raise EngineError(message)
            deployment.warn(new.urn, message)
        generator.replaces.add(new.urn)
        # Defaults that Check carried over from the old resource no longer hold.
        if goal.custom and not old.taint and not await generator.check(new, {}, goal.properties):
            raise Bail
        delete_first = diff.delete_before_replace if goal.delete_before_replace is None else goal.delete_before_replace
        why = {"keys": diff.replace_keys, "diffs": diff.changed_keys, "detailed": diff.detailed}
        if delete_first:
            steps = await self._delete_dependents(old)
            await deployment.ensure_provider(old)
            if not old.pending_replacement:
                generator.deletes[old.urn] = True
                steps.append(self._delete(old))
            return [*steps, Step(REPLACE, old, new, **why), Step(CREATE_REPLACEMENT, old, new, goal, **why)]  # type: ignore[arg-type]
        return [
            Step(CREATE_REPLACEMENT, old, new, goal, pending_delete=True, **why),  # type: ignore[arg-type]
            Step(REPLACE, old, new, pending_delete=True, **why),  # type: ignore[arg-type]
        ]

    def _delete(self, state: ResourceState) -> Step:
        return Step(
            delete_op(state, True), state, None, pending_replacement=True, other_deletions=self._generator.deletes
        )

    async def _delete_dependents(self, root: ResourceState) -> list[Step]:
        generator, deployment = self._generator, self._generator.deployment
        found: list[tuple[ResourceState, Sequence[str]]] = []
        if root in deployment.graph:
            found = await self._dependents(root)
        known = {state.urn for state, _ in found}
        found += [(state, ()) for state in self._bound_to(root.urn) if state.urn not in known]
        steps = []
        for state, keys in reversed(found):
            if state in self.deleted_early:
                continue
            self.keys_of[state.urn] = keys
            if state.delete:
                steps.append(Step(delete_op(state, False), state, None, other_deletions=generator.deletes))
            else:
                if state.protect:
                    deployment.error(
                        root.urn,
                        f'unable to replace resource "{state.urn}" as part of replacing "{root.urn}" as it is '
                        f"currently marked for protection. To unprotect the resource, remove the `protect` flag from "
                        f"the resource in your Pulumi program and run `pulumi up`",
                    )
                    raise Bail
                steps.append(self._delete(state))
            generator.deletes[state.urn] = True
            self.deleted_early.add(state)
        return steps

    def _bound_to(self, urn: str) -> list[ResourceState]:
        """Resources that are to be replaced with, or deleted with, the one of that URN."""
        deployment = self._generator.deployment
        found: dict[str, ResourceState] = {}
        for states in (deployment.news, deployment.olds):
            for state in states.values():
                if urn in state.replace_with or state.deleted_with == urn:
                    found.setdefault(state.urn, state)
        return list(found.values())

    async def _dependents(self, root: ResourceState) -> list[tuple[ResourceState, Sequence[str]]]:
        """Dependents that a change of `root` would replace, in dependency order."""
        generator = self._generator
        groups = (
            generator.reads,
            generator.creates,
            generator.sames,
            generator.updates,
            generator.deletes,
            generator.replaces,
        )
        replaced = {root.urn}
        result: list[tuple[ResourceState, Sequence[str]]] = []
        for state in generator.deployment.graph.dependents(root, lambda urn: any(urn in group for group in groups)):
            keys = await self._must_go(state, replaced)
            if keys is not None:
                result.append((state, keys))
                replaced.add(state.urn)
        return result

    async def _must_go(self, state: ResourceState, replaced: set[str]) -> Sequence[str] | None:
        """The keys for which the dependent must be replaced as well; None if it need not be."""
        deployment = self._generator.deployment
        if not state.custom or state.external:
            return None
        if state.provider and split_provider(state.provider)[0] in replaced:
            await deployment.ensure_provider(state)
            return ()
        if state.deleted_with in replaced:
            return ()
        inputs: PropertyMap = {}
        touched = False
        for key, value in state.inputs.items():
            hit = any(urn in replaced for urn in state.property_dependencies.get(key, ()))
            touched = touched or hit
            inputs[key] = UNKNOWN if hit else value
        if not touched:
            return None
        if state.is_provider:
            await deployment.registry.same(state, state.inputs, from_check=False)
            diff = await deployment.registry.diff(state.urn, state.id, state.inputs, state.outputs, inputs)
        else:
            provider = await deployment.provider_for_old(state)
            diff = await deployment.diff_resource(
                provider, state.urn, state.id, state.inputs, state.outputs, inputs, state.ignore_changes
            )
        diff = apply_replace_on_changes(diff, state.replace_on_changes, False)
        return diff.replace_keys if diff.replaces else None
