"""Default providers: registered when the first resource or function of a package needs one, once per version."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any

from pulumi_embedded._config import ConfigValue, package_config
from pulumi_embedded._deployment import RunningDeployment
from pulumi_embedded._errors import ConfigError, EngineError
from pulumi_embedded._goal import Goal
from pulumi_embedded._registry import INTERNAL
from pulumi_embedded._urn import PROVIDER_PREFIX
from pulumi_embedded._values import Secret

_DENY_KEY = "pulumi:disable-default-providers"


class DefaultProviders:
    """The default providers of one operation; their inputs are the stack's configuration."""

    def __init__(self, deployment: RunningDeployment, config: Mapping[str, ConfigValue]) -> None:
        self._deployment = deployment
        self._config = config
        self._known: dict[tuple[str, str, str], str] = {}
        self._lock = asyncio.Lock()
        self._denied = _denied(config)

    async def get(self, package: str, version: str, url: str, wanted_by: str) -> str | None:
        """The reference of the package's default provider; None when the operation ends before there is one."""
        if "*" in self._denied or package in self._denied:
            raise EngineError(
                f"Default provider for '{package}' disabled. '{wanted_by}' must use an explicit provider."
            )
        key = (package, version, url)
        async with self._lock:
            if key not in self._known:
                reference = await self._register(package, version, url)
                if reference is None:
                    return None
                self._known[key] = reference
        return self._known[key]

    async def _register(self, package: str, version: str, url: str) -> str | None:
        inputs: dict[str, Any] = {
            key: Secret(value.text) if value.secret else value.text
            for key, value in package_config(self._config, package).items()
        }
        set_provider_options(inputs, version, url)
        goal = Goal(
            type=f"{PROVIDER_PREFIX}{package}",
            name=_name(version, url),
            custom=True,
            properties=inputs,
            done=asyncio.get_running_loop().create_future(),
        )
        await self._deployment.register(goal)
        assert goal.done is not None
        await self._deployment.first_of(goal.done)
        if not goal.done.done():
            return None
        state = goal.done.result().state
        assert state is not None
        return f"{state.urn}::{state.id}"


def set_provider_options(inputs: dict[str, Any], version: str, url: str) -> None:
    """Put a provider's version and download address where the state keeps them."""
    if version:
        inputs["version"] = version
    if version or url:
        inputs[INTERNAL] = {"pluginDownloadURL": url} if url else {}


def _name(version: str, url: str) -> str:
    parts = ["default"]
    if version:
        parts.append(version.replace(".", "_").replace("-", "_").replace("+", "_"))
    if url:
        parts.append(url.replace("://", "_").replace("/", "_").replace(".", "_"))
    return "_".join(parts)


def _denied(config: Mapping[str, ConfigValue]) -> set[str]:
    value = config.get(_DENY_KEY)
    if value is None or not value.text:
        return set()
    try:
        names = json.loads(value.text)
    except ValueError as error:
        raise ConfigError(f"{_DENY_KEY}: expected a JSON list, got {value.text}") from error
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ConfigError(f"{_DENY_KEY}: expected a list of package names")
    return {name.strip() for name in names}
