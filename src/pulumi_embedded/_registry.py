"""Provider resources: `pulumi:providers:<package>` entries of the state, and the plugins behind them.

A checked provider waits, unconfigured, under its URN until its step (same, create, update) says with which inputs it
is configured. A provider that is unchanged is configured with its OLD inputs: so a plugin that reports no difference
for a rotated key works with the old one until the next update.
"""

import asyncio
import uuid
from collections.abc import Awaitable, Callable

from pulumi_embedded._diff import DiffResult
from pulumi_embedded._errors import EngineError, NotSupported
from pulumi_embedded._provider import CheckFailure, Provider
from pulumi_embedded._state import ResourceState
from pulumi_embedded._urn import package_of, split_provider, type_of
from pulumi_embedded._values import UNKNOWN, PropertyMap, equal
from pulumi_embedded._wire import UNKNOWN_STRING

INTERNAL = "__internal"
StartProvider = Callable[[str], Awaitable[Provider]]


def visible(inputs: PropertyMap) -> PropertyMap:
    """The inputs a plugin sees: without the engine's own."""
    return {key: value for key, value in inputs.items() if key != INTERNAL}


class ProviderRegistry:
    """Every provider of one operation."""

    def __init__(self, start: StartProvider) -> None:
        self._start = start
        self._by_reference: dict[str, Provider] = {}
        self._unconfigured: dict[str, Provider] = {}
        self._aliases: dict[str, str] = {}
        self._loading: dict[str, asyncio.Lock] = {}

    def get(self, reference: str) -> Provider | None:
        """The configured provider a resource refers to."""
        return self._by_reference.get(reference)

    def _set(self, urn: str, id_: str, provider: Provider) -> Provider | None:
        old = self._by_reference.get(f"{urn}::{id_}")
        self._by_reference[f"{urn}::{id_}"] = provider
        if urn in self._aliases:
            self._by_reference[f"{self._aliases[urn]}::{id_}"] = provider
        return old if old is not provider else None

    def register_alias(self, urn: str, alias: str) -> None:
        """A provider resource was renamed: old references mean it too."""
        if urn != alias:
            self._aliases[urn] = alias

    async def _load(self, type_: str, inputs: PropertyMap) -> Provider:
        internal = inputs.get(INTERNAL)
        if isinstance(internal, dict):
            for key, what in (("parameterization", "parameterized providers"), ("envVarMappings", "envVarMappings")):
                if key in internal:
                    raise NotSupported(what)
        return await self._start(package_of(type_))

    async def check(self, urn: str, olds: PropertyMap, news: PropertyMap) -> tuple[PropertyMap, list[CheckFailure]]:
        """Check a provider's inputs; on success its plugin waits for its step."""
        provider = await self._load(type_of(urn), news)
        checked, failures = await provider.check_config(urn, visible(olds), visible(news))
        if failures:
            await provider.plugin.close()
            return checked, failures
        previous = self._unconfigured.pop(urn, None)
        if previous is not None:
            await previous.plugin.close()
        self._unconfigured[urn] = provider
        checked = dict(checked)
        if "version" in news:
            checked["version"] = news["version"]
        if INTERNAL in news:
            checked[INTERNAL] = news[INTERNAL]
        return checked, []

    async def diff(
        self, urn: str, id_: str, old_inputs: PropertyMap, old_outputs: PropertyMap, news: PropertyMap
    ) -> DiffResult:
        """What the changed inputs mean for everything the provider manages."""
        provider = self._unconfigured.get(urn) or self._by_reference.get(f"{urn}::{id_}")
        if provider is None:
            raise EngineError(f"provider {urn} was not loaded before its diff")
        result = await provider.diff_config(urn, visible(old_inputs), old_outputs, visible(news))
        if result is None:
            return DiffResult(changes=not equal(old_outputs, visible(news)))
        return result

    async def same(self, state: ResourceState, inputs: PropertyMap, from_check: bool) -> None:
        """Configure an unchanged (or, for destroy and refresh, a recorded) provider."""
        reference = f"{state.urn}::{state.id}"
        async with self._loading.setdefault(reference, asyncio.Lock()):
            if reference in self._by_reference:
                return
            provider = self._unconfigured.pop(state.urn, None) if from_check else None
            if provider is None:
                provider = await self._load(state.type, inputs)
            provider.configure(state.urn, state.id, visible(inputs))
            self._set(state.urn, state.id, provider)

    async def create(self, state: ResourceState, preview: bool) -> tuple[str | object, PropertyMap]:
        """Configure a new provider; its id is made here."""
        provider = self._unconfigured.pop(state.urn, None) or await self._load(state.type, state.inputs)
        id_ = UNKNOWN_STRING if preview else str(uuid.uuid4())
        provider.configure(state.urn, id_, visible(state.inputs))
        self._set(state.urn, id_, provider)
        return id_, visible(state.inputs)

    async def update(self, state: ResourceState, id_: str) -> PropertyMap:
        """Configure a changed provider with its new inputs."""
        provider = self._unconfigured.pop(state.urn, None) or await self._load(state.type, state.inputs)
        provider.configure(state.urn, id_, visible(state.inputs))
        old = self._set(state.urn, id_, provider)
        if old is not None:
            await old.plugin.close()
        return visible(state.inputs)

    async def ensure(self, reference: str, olds: dict[str, ResourceState]) -> Provider:
        """The provider a recorded resource needs, loaded from the state if nothing registered it."""
        found = self._by_reference.get(reference)
        if found is not None:
            return found
        urn, id_ = split_provider(reference)
        state = olds.get(urn)
        if state is None or state.id != id_:
            raise EngineError(f"could not find provider {reference} in the state")
        await self.same(state, state.inputs, from_check=False)
        return self._by_reference[reference]


__all__ = ["INTERNAL", "UNKNOWN", "ProviderRegistry", "visible"]
