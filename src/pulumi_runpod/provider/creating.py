"""Creating exactly once, although RunPod knows no idempotency key.

Two things may get in the way of a create, and both leave something behind that nobody knows:

The answer is lost. Then the collection is searched for what the lost create would have made: the same name, the same
content, and not there before. Only when nothing is found is the create sent again. Two creates of the same kind and
name never run at the same time here, so that neither can take the other's result for its own.

The provider or the engine is killed before the engine has written the answer into the state. Then the next run finds
a note of it (`journal`), and looks for the leftover before it makes anything: by its id where RunPod had answered,
else as above. What it finds is brought in line with the program and taken over.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol

from pulumi_runpod.provider.errors import Code, ProviderError, one_line
from pulumi_runpod.provider.journal import Note
from pulumi_runpod.provider.session import Session
from pulumi_runpod.provider.values import Secret
from runpod_rest import Client, NotFound, RunPodError

Json = dict[str, Any]
_TRIES = 3
_LOOKS = (0.5, 2.0)
"""Pauses before each look after a lost answer: the server may still be at it."""
_LEFTOVER_LOOKS = (0.0, 0.5, 1.0, 2.0, 4.0)
STILL_AT_IT_S = 10.0
"""For so long after a create left, RunPod may still be busy with it although we were killed."""
_HOLDS_DATA = frozenset({"network volume"})


class Creatable(Protocol):
    """The part of a REST collection that is needed here."""

    async def list(self) -> list[Json]: ...

    async def get(self, resource_id: str) -> Json: ...

    async def create(self, body: Json, *, on_send: Callable[[], None] | None = None) -> Json: ...

    async def delete(self, resource_id: str) -> None: ...


@dataclass(frozen=True)
class Order:
    """One create: what for, and with what."""

    urn: str
    kind: str
    """In messages: `network volume`."""
    collection: Creatable
    body: Json
    hidden: frozenset[str]
    """Members of `body` that are secret, and must not be written down."""
    made_by: Callable[[Json, Json], bool]
    """Whether a listed item could be the result of a body."""
    bring_in_line: Callable[[Json], Awaitable[Json | None]]
    """Make an item of ours what `body` says; None where only a new one can be."""

    @property
    def name(self) -> str:
        return str(self.body.get("name", ""))


async def create_once(session: Session, order: Order) -> Json:
    """Make what `order` says, or take over what an interrupted create of the same resource made."""
    # An engine that goes away cancels the call. What is under way is finished all the same, so that the note knows
    # what was made; the plugin ends after that.
    return await session.finish(_create_once(session, order))


async def _create_once(session: Session, order: Order) -> Json:
    async with session.create_locks[(order.kind, order.name)]:
        before = await _before(session, order)
        leftover = await _leftover(session, order)
        made = None if leftover is None else await _take_over(session, order, leftover)
        if made is None:
            made = await _post(session, order, before)
        resource_id = str(made["id"])
        before[resource_id] = made
        session.seen_ids.add(resource_id)
        session.journal.made(order.urn, resource_id)
        return made


async def _before(session: Session, order: Order) -> dict[str, Json]:
    """By id: what existed before our first create of this kind, and what we made since."""
    known = session.known_items.get(order.kind)
    if known is None:
        listed = {str(item.get("id")): item for item in await order.collection.list()}
        known = session.known_items.setdefault(order.kind, listed)
    return known


async def _post(session: Session, order: Order, before: dict[str, Json]) -> Json:
    same_name = [key for key, item in before.items() if item.get("name") == order.name]
    replaces = order.urn in session.urns_in_state

    def note() -> None:
        session.journal.begin(order.urn, order.kind, order.body, order.hidden, same_name, replaces=replaces)

    for attempt in range(1, _TRIES + 1):
        try:
            return await order.collection.create(order.body, on_send=note)
        except RunPodError as error:
            if not error.ambiguous:
                session.journal.forget(order.urn)
                raise
            found = await _find_lost(session, order, set(before), error)
            if found is not None:
                return found
            if attempt == _TRIES:
                raise
        except ProviderError:
            # Cancelled while it waited: nothing left.
            session.journal.forget(order.urn)
            raise
    raise AssertionError("the last attempt returns or raises")


async def _find_lost(session: Session, order: Order, known: set[str], lost: RunPodError) -> Json | None:
    for seconds in _LOOKS:
        # Not `session.pause`: a cancelled run has to know all the same what it made.
        await asyncio.sleep(seconds * session.poll_s)
        try:
            items = await order.collection.list()
        except RunPodError as error:
            raise ProviderError(
                f"the answer to the create was lost ({one_line(str(lost))}), and RunPod cannot be asked whether it "
                f"happened ({one_line(str(error))}); run again: what was made is found then and taken over",
                Code.UNAVAILABLE,
            ) from error
        candidates = [item for item in items if str(item.get("id")) not in known and order.made_by(item, order.body)]
        if len(candidates) > 1:
            raise _several(order, candidates)
        if candidates:
            return candidates[0]
    return None


async def _leftover(session: Session, order: Order) -> Json | None:
    """What an interrupted create of this resource made, if there was one and it made something."""
    note = session.journal.find(order.urn)
    if note is None or note.kind != order.kind:
        return None
    if note.id:
        if note.id in session.seen_ids:
            return None
        try:
            return await order.collection.get(note.id)
        except NotFound:
            return None
    for seconds in _LEFTOVER_LOOKS:
        await asyncio.sleep(seconds * session.poll_s)
        candidates = [item for item in await order.collection.list() if may_be(note, item, session, order.made_by)]
        if len(candidates) > 1:
            raise _several(order, candidates)
        if candidates:
            return candidates[0]
        if time.time() - note.at > STILL_AT_IT_S * session.poll_s:
            break
    return None


def may_be(note: Note, item: Json, session: Session, made_by: Callable[[Json, Json], bool]) -> bool:
    """Whether an item can be what the noted create made: new since then, of that name and content, nobody else's."""
    item_id = str(item.get("id"))
    if item.get("name") != note.name or item_id in note.before or item_id in session.seen_ids:
        return False
    # What was secret stands in no note, so it cannot tell one from another.
    return made_by(item, {**note.body, **{key: item.get(key) for key in note.hidden}})


async def _take_over(session: Session, order: Order, leftover: Json) -> Json | None:
    """The leftover as the program wants it now, or None after it was removed because it cannot become that."""
    resource_id = str(leftover["id"])
    session.journal.made(order.urn, resource_id)
    made = await order.bring_in_line(leftover)
    if made is not None:
        session.taken_over.add((order.urn, resource_id))
        await session.engine.info(order.urn, f"took over the {order.kind} {resource_id}, made by an interrupted run")
        return made
    if order.kind in _HOLDS_DATA and await _may_hold_data(session, order, resource_id):
        raise ProviderError(
            f"an interrupted run made the {order.kind} {resource_id}, which cannot become what the program says now; "
            f"delete it at RunPod, or import it, then run again",
            Code.FAILED_PRECONDITION,
        )
    await order.collection.delete(resource_id)
    await session.engine.info(order.urn, f"removed the {order.kind} {resource_id}, left behind by an interrupted run")
    return None


async def _may_hold_data(session: Session, order: Order, resource_id: str) -> bool:
    """Whether anybody can have used a volume that an interrupted run made: somebody was told its id, or mounts it."""
    note = session.journal.find(order.urn)
    return note is None or note.answered or await is_mounted(await session.client(), order.kind, resource_id)


async def is_mounted(client: Client, kind: str, resource_id: str) -> bool:
    """Whether an endpoint mounts this network volume; nothing else can be mounted."""
    if kind not in _HOLDS_DATA:
        return False
    return any(resource_id in (endpoint.get("networkVolumes") or ()) for endpoint in await client.endpoints.list())


def _several(order: Order, candidates: list[Json]) -> ProviderError:
    ids = ", ".join(str(item["id"]) for item in candidates)
    return ProviderError(
        f"the answer to the create was lost, and RunPod has several new {order.kind}s named {order.name!r} with this "
        f"content ({ids}); import the right one or delete them, then run again",
        Code.ALREADY_EXISTS,
    )


def holds_secret(value: Any) -> bool:
    """Whether there is anything in a checked value that must not be written down."""
    if isinstance(value, dict):
        return any(holds_secret(item) for item in value.values())
    if isinstance(value, list):
        return any(holds_secret(item) for item in value)
    return isinstance(value, Secret)
