"""What steps and the step generator share: the old state, the providers, and where messages go."""

from collections.abc import Sequence
from typing import Protocol

from pulumi_embedded._diff import DiffResult, structural_diff
from pulumi_embedded._errors import EngineError
from pulumi_embedded._events import Events
from pulumi_embedded._goal import Goal
from pulumi_embedded._ignore import with_ignored_changes
from pulumi_embedded._provider import Provider
from pulumi_embedded._registry import ProviderRegistry
from pulumi_embedded._state import Deployment, ResourceState
from pulumi_embedded._steps import Graph
from pulumi_embedded._urn import is_provider_type
from pulumi_embedded._values import PropertyMap


class ConfigDiffer(Protocol):
    """Anything with a provider's diff."""

    async def diff(
        self,
        urn: str,
        id_: str,
        old_inputs: PropertyMap,
        old_outputs: PropertyMap,
        news: PropertyMap,
        ignore: Sequence[str],
    ) -> DiffResult | None: ...


class DeploymentBase:
    """One operation on one stack."""

    def __init__(
        self, project: str, stack: str, base: Deployment, registry: ProviderRegistry, events: Events, preview: bool
    ) -> None:
        self.project = project
        self.stack = stack
        self.base = base
        self.registry = registry
        self.events = events
        self.preview = preview
        self.errored = False
        self.news: dict[str, ResourceState] = {}
        self.goals: dict[str, Goal] = {}
        self.rebase(base.resources)

    def rebase(self, resources: list[ResourceState]) -> None:
        """Take `resources` as the old state (they are, after a refresh)."""
        self.base.resources = resources
        self.olds = {state.urn: state for state in resources if not state.delete}
        self.graph = Graph(resources)

    def error(self, urn: str, message: str) -> None:
        """Report what makes the operation fail."""
        self.errored = True
        self.events.diagnostic("error", urn, message)

    def warn(self, urn: str, message: str) -> None:
        """Report what a user should know."""
        self.events.diagnostic("warning", urn, message)

    def info(self, urn: str, message: str) -> None:
        """Report what a user may like to know."""
        self.events.diagnostic("info", urn, message)

    def provider_of(self, state: ResourceState) -> Provider:
        """The provider a resource of this run refers to."""
        provider = self.registry.get(state.provider)
        if provider is None:
            raise EngineError(f"unknown provider '{state.provider}' for resource '{state.urn}'")
        return provider

    async def provider_for_old(self, state: ResourceState) -> Provider:
        """The provider of a recorded resource; loaded from the state if this run has not registered it."""
        return await self.registry.ensure(state.provider, self.olds)

    async def ensure_provider(self, state: ResourceState) -> None:
        """Load what will be needed to delete or read a recorded resource."""
        if state.provider and state.custom and not is_provider_type(state.type):
            await self.registry.ensure(state.provider, self.olds)

    async def diff_resource(
        self, provider: ConfigDiffer, urn: str, id_: str, old_inputs: PropertyMap, old_outputs: PropertyMap,
        news: PropertyMap, ignore: Sequence[str],
    ) -> DiffResult:  # fmt: skip
        """The provider's diff, or our own of the inputs where it leaves that to us."""
        result = await provider.diff(urn, id_, old_inputs, old_outputs, news, ignore)
        if result is None:
            return structural_diff(old_inputs, with_ignored_changes(news, old_inputs, ignore, urn, self.info))
        return result
