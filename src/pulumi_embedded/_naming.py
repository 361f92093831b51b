"""URNs of this run: made once each, checked against duplicates, matched with the old state through aliases."""

from collections.abc import Sequence

from pulumi_embedded._deployment_base import DeploymentBase
from pulumi_embedded._errors import Bail, EngineError
from pulumi_embedded._goal import Alias
from pulumi_embedded._state import ResourceState
from pulumi_embedded._urn import STACK_TYPE, make_urn, name_of, qualified_type, type_of


class Naming:
    """Which URNs this run has used, and under which old names their resources were found."""

    def __init__(self, deployment: DeploymentBase) -> None:
        self._deployment = deployment
        self.used: set[str] = set()
        self.new_of: dict[str, str] = {}
        """old URN -> the URN that claimed it"""
        self.old_of: dict[str, str] = {}
        """URN -> the old URN it was found under"""

    def check_parent(self, parent: str) -> None:
        """A parent must have been registered."""
        if parent and parent not in self.used:
            raise EngineError(f"could not find parent resource {parent}")

    def make(self, parent: str, type_: str, name: str) -> str:
        """A URN for a new registration."""
        urn = make_urn(self._deployment.stack, self._deployment.project, parent, type_, name)
        if urn in self.used:
            self._deployment.error(urn, f"Duplicate resource URN '{urn}'; try giving it a unique name")
            raise Bail
        self.used.add(urn)
        return urn

    def _collapse(self, name: str, type_: str, own_parent: str, alias: Alias) -> str:
        if alias.urn:
            return alias.urn
        parent = alias.parent or own_parent
        if alias.parent:
            parent = self.old_of.get(alias.parent, alias.parent)
        if alias.no_parent or (parent and qualified_type(parent) == STACK_TYPE):
            parent = ""
        stack = alias.stack or self._deployment.stack
        project = alias.project or self._deployment.project
        return make_urn(stack, project, parent, alias.type or type_, alias.name or name)

    def _below_old_parent(self, type_: str, name: str, parent_name: str, old_parent: str) -> str:
        # A child named after its parent is taken to have been renamed with it.
        if name.startswith(parent_name):
            name = name_of(old_parent) + name.removeprefix(parent_name)
        return make_urn(self._deployment.stack, self._deployment.project, old_parent, type_, name)

    def _candidates(self, name: str, type_: str, parent: str, aliases: Sequence[Alias]) -> list[str]:
        urns = [self._collapse(name, type_, parent, alias) for alias in aliases]
        old_parent = self.old_of.get(parent) if parent else None
        if old_parent is not None:
            urns.append(self._below_old_parent(type_, name, name_of(parent), old_parent))
            for alias in aliases:
                urn = self._collapse(name, type_, parent, alias)
                urns.append(self._below_old_parent(type_of(urn), name_of(urn), name_of(parent), old_parent))
        return list(dict.fromkeys(urns))

    def find_old(
        self, urn: str, name: str, type_: str, parent: str, aliases: Sequence[Alias]
    ) -> tuple[ResourceState | None, str, bool]:
        """The old entry, the alias it was found under (or empty), and whether the claim is a legal one."""
        valid = True
        deployment = self._deployment
        if urn in self.new_of:
            deployment.error(
                urn, f"Duplicate resource URN '{urn}' conflicting with alias on resource with URN '{self.new_of[urn]}'"
            )
            valid = False
        for candidate in (urn, *self._candidates(name, type_, parent, aliases)):
            old = deployment.olds.get(candidate)
            if old is None:
                continue
            if candidate == urn:
                return old, "", valid
            claimed_by = urn if candidate in self.used else self.new_of.get(candidate)
            if claimed_by is not None:
                deployment.error(
                    urn,
                    f"Duplicate resource alias '{candidate}' applied to resource with URN '{urn}' "
                    f"conflicting with resource with URN '{claimed_by}'",
                )
                valid = False
            self.new_of[candidate] = urn
            self.old_of[urn] = candidate
            deployment.registry.register_alias(urn, candidate)
            return old, candidate, valid
        return None, "", valid
