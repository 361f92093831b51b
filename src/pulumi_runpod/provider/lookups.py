"""What Check has to ask RunPod: which pools, CPU flavours and data centres there are, and what an id stands for.

Each question is asked once in a provider's life, and only where a property changed since it was last accepted, so a
program without changes asks nothing. Without a key, and after a question that got no answer, the rules that need it
are left to RunPod, which checks them when `up` runs; the user is told so once. What RunPod answers with "there is no
such thing" is a mistake of the program.
"""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable
from typing import Any

from pulumi_runpod.provider.errors import said
from pulumi_runpod.provider.session import Session
from runpod_rest import Client, NetworkError, NotFound, RunPodError

Json = dict[str, Any]
Ask = Callable[[Client], Awaitable[list[Json]]]


class Lookups:
    """Answers, remembered. None stands for "cannot be known now"."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._lists: dict[str, list[Json] | None] = {}
        self._items: dict[tuple[str, str], Json] = {}
        self._asking: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        """By question: the same one waits for the answer, others go together, so that the client can share a list."""
        self._unreachable = False
        self._told: set[str] = set()

    async def gpu_types(self, urn: str) -> list[Json] | None:
        """Every GPU type with the pool it is in."""
        return await self._list(urn, "GPU pools", lambda client: client.gpus())

    async def cpu_flavors(self, urn: str) -> list[Json] | None:
        async def ask(client: Client) -> list[Json]:
            document = await client.document("GET", "/v2/catalog/cpus")
            return [item for item in document.get("cpus", []) if isinstance(item, dict)]

        return await self._list(urn, "CPU flavors", ask)

    async def data_centers(self, urn: str) -> list[Json] | None:
        return await self._list(urn, "data centers", lambda client: client.data_centers())

    async def volume(self, urn: str, volume_id: str) -> Json | None:
        """A network volume. Raises NotFound where there is none of this id."""
        return await self._item(
            urn, "network volumes", volume_id, lambda client: client.network_volumes.look_up(volume_id)
        )

    async def registry(self, urn: str, registry_id: str) -> Json | None:
        """A registry credential. Raises NotFound where there is none of this id."""
        ask: Callable[[Client], Awaitable[Json]] = lambda client: client.registries.look_up(registry_id)  # noqa: E731
        return await self._item(urn, "registry credentials", registry_id, ask)

    async def _list(self, urn: str, what: str, ask: Ask) -> list[Json] | None:
        async with self._asking[what]:
            if what not in self._lists:
                try:
                    self._lists[what] = await self._answer(urn, what, ask)
                except NotFound as error:
                    # A catalogue route that is not there says nothing about the program.
                    self._lists[what] = None
                    await self._tell(urn, what, said(error))
            return self._lists[what]

    async def _item(self, urn: str, what: str, item_id: str, ask: Callable[[Client], Awaitable[Json]]) -> Json | None:
        key = (what, item_id)
        async with self._asking[f"{what} {item_id}"]:
            if key not in self._items:
                found = await self._answer(urn, what, ask)
                if found is None:
                    return None
                # Only what was found is remembered: what is missing now may be made a moment later.
                self._items[key] = found
            return self._items[key]

    async def _answer(self, urn: str, what: str, ask: Callable[[Client], Awaitable[Any]]) -> Any:
        if not self._session.has_key or self._unreachable:
            # Every command that reaches RunPod says by itself that the key is missing or nobody answers.
            return None
        try:
            return await ask(await self._session.client())
        except NotFound:
            raise
        except RunPodError as error:
            self._unreachable = self._unreachable or isinstance(error, NetworkError)
            await self._tell(urn, what, said(error))
            return None

    async def _tell(self, urn: str, what: str, why: str) -> None:
        if what not in self._told:
            self._told.add(what)
            await self._session.engine.warning(urn, f"{what} are not checked before RunPod does it: {why}")
