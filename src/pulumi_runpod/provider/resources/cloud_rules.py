"""The rules that need RunPod's own knowledge: its catalogue, and what the ids in a program stand for.

Only what changed since it was last accepted is asked about: a program that did not change costs no call, and a volume
that somebody deleted elsewhere is found by `refresh`, not by a Check that bars the way to it. What cannot be known now
is let pass (see `lookups`).
"""

import difflib
from collections.abc import Iterable
from typing import Any

from pulumi_runpod.provider.checking import Failure
from pulumi_runpod.provider.lookups import Lookups
from pulumi_runpod.provider.values import Properties, has_unknown, plain
from runpod_rest import NotFound

Json = dict[str, Any]


class CloudRules:
    """The rules for one Check: what is new in it, and where mistakes go."""

    def __init__(
        self, lookups: Lookups, urn: str, olds: Properties, inputs: Properties, failures: list[Failure]
    ) -> None:
        self._lookups, self._urn, self._failures = lookups, urn, failures
        self._olds: Json = plain(olds)
        self._inputs: Json = plain(inputs)

    def _fail(self, path: str, reason: str) -> None:
        """Say it, unless something else is wrong with the very value: RunPod's view of it would only confuse."""
        if all(failure.path != path for failure in self._failures):
            self._failures.append(Failure(path, reason))

    def _new(self, *keys: str) -> bool:
        return any(self._olds.get(key) != self._inputs.get(key) for key in keys)

    async def registry(self) -> None:
        """The credential exists."""
        registry = self._inputs.get("registry")
        if not isinstance(registry, str) or not registry or not self._new("registry"):
            return
        try:
            await self._lookups.registry(self._urn, registry)
        except NotFound:
            self._fail("registry", f"names the registry credential {registry}, which does not exist; give its id")

    async def gpu(self) -> None:
        """The pools exist, what is excluded is in them, and something is left."""
        gpu = self._inputs.get("gpu")
        if not isinstance(gpu, dict) or not self._new("gpu") or not _texts(gpu.get("pools")):
            return
        pools, excluded = gpu["pools"], gpu.get("excludedTypes")
        types = await self._lookups.gpu_types(self._urn)
        members = _members(types or [])
        if not members:
            return
        strangers = [index for index, pool in enumerate(pools) if pool not in members]
        pool_of = {str(kind.get("id")): kind.get("pool") for kind in types or []}
        for index in strangers:
            named = pools[index]
            if named in pool_of:
                pool = pool_of[named]
                way = f"its pool is {pool}" if pool else "it is in no pool, so serverless workers cannot have it"
                self._fail(f"gpu.pools[{index}]", f"names a GPU type, not a pool; {way}")
            else:
                self._fail(f"gpu.pools[{index}]", f"is no GPU pool: {_suggestion(named, members)}")
        if strangers or not isinstance(excluded, list) or not _texts(excluded):
            return
        there = {kind for pool in pools for kind in members[pool]}
        for index, kind in enumerate(excluded):
            if kind not in there:
                self._fail(f"gpu.excludedTypes[{index}]", f"is in none of the pools: {_suggestion(kind, there)}")
        if there <= set(excluded):
            self._fail("gpu.excludedTypes", "leaves no GPU type in the pools; exclude fewer, or add a pool")

    async def cpu(self) -> None:
        """As many vCPUs as the flavor can have. The catalogue's ids need not be those of a create, so a flavor that is
        not in it is RunPod's to judge."""
        cpu = self._inputs.get("cpu")
        if not isinstance(cpu, list) or not self._new("cpu") or has_unknown(cpu):
            return
        flavors = {str(flavor.get("id")): flavor for flavor in await self._lookups.cpu_flavors(self._urn) or []}
        for index, choice in enumerate(cpu):
            if not isinstance(choice, dict):
                continue
            limits = flavors.get(str(choice.get("id")), {}).get("vcpu")
            count = choice.get("vcpuCount")
            if not isinstance(limits, dict) or not isinstance(count, int):
                continue
            low, high = limits.get("min"), limits.get("max")
            if isinstance(low, int) and isinstance(high, int) and not low <= count <= high:
                reason = f"must be between {low} and {high} for {choice['id']}, not {count}"
                self._fail(f"cpu[{index}].vcpuCount", reason)

    async def data_centers(self) -> None:
        """Each of `dataCenterIds` exists."""
        named = self._inputs.get("dataCenterIds")
        if not isinstance(named, list) or not self._new("dataCenterIds"):
            return
        known = {str(center.get("id")) for center in await self._lookups.data_centers(self._urn) or []}
        for index, name in enumerate(named):
            if known and isinstance(name, str) and name and name not in known:
                self._fail(f"dataCenterIds[{index}]", f"is no data center: {_suggestion(name, known)}")

    async def volumes(self) -> None:
        """Each volume exists, at most one is in a data center, and none is where no worker may run."""
        named, centers = self._inputs.get("networkVolumes"), self._inputs.get("dataCenterIds")
        if not isinstance(named, list) or not self._new("networkVolumes", "dataCenterIds"):
            return
        taken: dict[str, int] = {}
        for index, volume_id in enumerate(named):
            path = f"networkVolumes[{index}]"
            if not isinstance(volume_id, str) or not volume_id:
                continue
            try:
                volume = await self._lookups.volume(self._urn, volume_id)
            except NotFound:
                self._fail(path, f"names the network volume {volume_id}, which does not exist; give its id")
                continue
            if volume is None or not volume.get("dataCenter"):
                continue
            place = str(volume["dataCenter"])
            other = taken.setdefault(place, index)
            if other != index and named[other] != volume_id:
                self._fail(
                    path, f"is in {place}, where networkVolumes[{other}] is too; a data center takes one, drop one"
                )
            if _texts(centers) and centers and place not in centers:
                self._fail(
                    path,
                    f"is in {place}, but workers may run only in {', '.join(centers)}; add {place} to dataCenterIds, "
                    "or leave the volume out",
                )

    async def volume_place(self) -> None:
        """The data center of a volume has volumes, and of this tier."""
        place, tier = self._inputs.get("dataCenter"), self._inputs.get("type")
        if not isinstance(place, str) or not place or not self._new("dataCenter", "type"):
            return
        centers = {str(center.get("id")): center for center in await self._lookups.data_centers(self._urn) or []}
        tiers = {name: center.get("networkVolumeTypes") or [] for name, center in centers.items()}
        if not any(tiers.values()):
            return
        with_volumes = sorted(name for name, offered in tiers.items() if offered)
        if place not in tiers:
            self._fail("dataCenter", f"is no data center: {_suggestion(place, with_volumes)}")
        elif not tiers[place]:
            self._fail("dataCenter", f"has no network volumes; these have: {', '.join(with_volumes)}")
        elif isinstance(tier, str) and tier not in tiers[place]:
            self._fail("type", f"is not to be had in {place}, which has {', '.join(tiers[place])}")


def _texts(value: Any) -> bool:
    """Whether `value` is a list of nothing but texts, and all of them known."""
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _members(types: list[Json]) -> dict[str, set[str]]:
    """GPU type ids by pool."""
    members: dict[str, set[str]] = {}
    for kind in types:
        if kind.get("pool"):
            members.setdefault(str(kind["pool"]), set()).add(str(kind.get("id")))
    return members


def _suggestion(name: str, known: Iterable[str]) -> str:
    names = sorted(known)
    # Ids are told apart by case, people are not.
    by_lower = {known_name.lower(): known_name for known_name in names}
    near = difflib.get_close_matches(name.lower(), list(by_lower), 1, cutoff=0.6)
    return f"did you mean {by_lower[near[0]]}?" if near else f"there are {', '.join(names)}"
