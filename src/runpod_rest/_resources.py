"""The collections of the control plane: lists that are walked to their end, and one verb per route."""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from redaction import register_secret
from runpod_rest._address import segment
from runpod_rest._errors import UnreadableAnswer
from runpod_rest._shared_reads import SharedReads

if TYPE_CHECKING:
    from runpod_rest._client import Client

Json = dict[str, Any]
Items = list[Json]


class Collection:
    """One kind of resource: list, get, create, delete.

    `list` and `get` always ask RunPod. `read` and `look_up` share one list where many items are asked for at once; see
    `runpod_rest._shared_reads` for how old their answers may be.
    """

    def __init__(self, client: "Client", path: str, key: str) -> None:
        self._client = client
        self._path = path
        self._key = key
        self._shared = SharedReads(client.clock, self.list, self.get)

    async def list(self) -> Items:
        """Every item, page after page."""
        return await listing(self._client, self._path, self._key)

    async def find_by_name(self, name: str) -> Items:
        """Every item with exactly this name. This is how to look after a create whose answer was lost."""
        return [item for item in await self.list() if item.get("name") == name]

    async def get(self, resource_id: str) -> Json:
        """One item, or NotFound."""
        return await self._client.document("GET", self._item(resource_id))

    async def read(self, resource_id: str) -> Json:
        """One item as it is now, or NotFound; from a list shared with others that are read at about the same time."""
        return await self._shared.read(resource_id)

    async def look_up(self, resource_id: str) -> Json:
        """As `read`, for what many others refer to: the same answer may serve again for half a minute."""
        return await self._shared.look_up(resource_id)

    async def create(self, body: Json, *, on_send: Callable[[], None] | None = None) -> Json:
        """Create. Never repeated after a lost answer: on an `ambiguous` error look with `find_by_name` first.

        `on_send` is called right before the call leaves: from then on there may be something at RunPod.
        """
        with self._shared.writing():
            created = await self._client.document("POST", self._path, json=body, on_send=on_send)
        if not isinstance(created.get("id"), str) or not created["id"]:
            raise UnreadableAnswer(f"POST {self._path}: the answer has no id", status=201, ambiguous=True)
        return created

    async def delete(self, resource_id: str) -> None:
        """Delete. NotFound if it was gone already before our first try."""
        with self._shared.writing():
            await self._client.request("DELETE", self._item(resource_id))

    def _item(self, resource_id: str) -> str:
        return f"{self._path}/{segment(resource_id)}"


class UpdatableCollection(Collection):
    """A collection whose items can be changed in place."""

    async def update(self, resource_id: str, body: Json) -> Json:
        """Change the given fields only; maps and lists replace the old ones whole. Returns the whole item."""
        with self._shared.writing():
            return await self._client.document("PATCH", self._item(resource_id), json=body)


class Registries(Collection):
    """Registry credentials. The API cannot change one, and never shows user name or password again."""

    def __init__(self, client: "Client", touches: Sequence[Collection] = ()) -> None:
        super().__init__(client, "/v2/registries", "registries")
        self._touches = touches

    async def delete(self, resource_id: str) -> None:
        """Delete. What refers to it changes too: RunPod empties their `registry`."""
        with contextlib.ExitStack() as stack:
            for other in self._touches:
                stack.enter_context(other._shared.writing())
            await super().delete(resource_id)

    async def create(self, body: Json, *, on_send: Callable[[], None] | None = None) -> Json:
        """Create; the password is hidden from then on in everything that goes through `redact`."""
        password = body.get("password")
        register_secret(password if isinstance(password, str) else None)
        return await super().create(body, on_send=on_send)


async def listing(client: "Client", path: str, key: str, params: Mapping[str, object] | None = None) -> Items:
    """Every item of a list route.

    Walks the cursor where the answer has one; older builds of the API, and unpaged lists, have no `pagination`.
    A page may be empty while more follow (runpod-api-live.md §2.1): only `hasNextPage` ends the walk.
    """
    items: Items = []
    seen: set[str] = set()
    cursor: str | None = None
    while True:
        page = await client.document("GET", path, params={**(params or {}), "cursor": cursor})
        entries = page.get(key)
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise UnreadableAnswer(f"GET {path}: the answer has no list `{key}`", status=200, ambiguous=False)
        items += entries
        pagination = page.get("pagination")
        pagination = pagination if isinstance(pagination, dict) else {}
        cursor = pagination.get("nextCursor")
        if not pagination.get("hasNextPage") or not cursor:
            return items
        if not isinstance(cursor, str) or cursor in seen:
            raise UnreadableAnswer(f"GET {path}: the pages run in a circle", status=200, ambiguous=False)
        seen.add(cursor)
