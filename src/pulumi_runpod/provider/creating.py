"""Creating exactly once, although RunPod knows no idempotency key.

After a lost answer the collection is searched for what the lost create would have made: the same name, the same
content, and not there before. Only when nothing is found is the create sent again. Two creates of the same kind and
name never run at the same time here, so that neither can take the other's result for its own.
"""

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

from pulumi_runpod.provider.errors import Code, ProviderError, one_line
from pulumi_runpod.provider.session import Session
from runpod_rest import RunPodError

Json = dict[str, Any]
_TRIES = 3
_LOOKS = (0.5, 2.0)
"""Pauses before each look after a lost answer: the server may still be at it."""


class Creatable(Protocol):
    """The part of a REST collection that is needed here."""

    async def list(self) -> list[Json]: ...

    async def create(self, body: Json) -> Json: ...


async def create_once(
    session: Session, kind: str, collection: Creatable, body: Json, matches: Callable[[Json], bool]
) -> Json:
    """POST `body` and return what was made. `matches` says whether a listed item could be the result of `body`."""
    name = str(body.get("name", ""))
    async with session.create_locks[(kind, name)]:
        known = session.known_ids.get(kind)
        if known is None:
            known = session.known_ids.setdefault(kind, {str(item.get("id")) for item in await collection.list()})
        for attempt in range(1, _TRIES + 1):
            try:
                made = await collection.create(body)
                break
            except RunPodError as error:
                if not error.ambiguous:
                    raise
                found = await _find_lost(session, collection, known, matches, kind, name, error)
                if found is not None:
                    made = found
                    break
                if attempt == _TRIES:
                    raise
        known.add(str(made["id"]))
        return made


async def _find_lost(
    session: Session,
    collection: Creatable,
    known: set[str],
    matches: Callable[[Json], bool],
    kind: str,
    name: str,
    lost: RunPodError,
) -> Json | None:
    for seconds in _LOOKS:
        # Not `session.pause`: a cancelled run has to know all the same what it made.
        await asyncio.sleep(seconds * session.poll_s)
        try:
            items = await collection.list()
        except RunPodError as error:
            raise ProviderError(
                f"the answer to the create was lost ({one_line(str(lost))}), and RunPod cannot be asked whether it "
                f"happened ({one_line(str(error))}); look for a {kind} named {name!r}, import or delete it, then run "
                f"again",
                Code.UNAVAILABLE,
            ) from error
        candidates = [item for item in items if str(item.get("id")) not in known and matches(item)]
        if len(candidates) > 1:
            ids = ", ".join(str(item["id"]) for item in candidates)
            raise ProviderError(
                f"the answer to the create was lost, and RunPod has several new {kind}s named {name!r} with this "
                f"content ({ids}); import the right one or delete them, then run again",
                Code.ALREADY_EXISTS,
            )
        if candidates:
            return candidates[0]
    return None
