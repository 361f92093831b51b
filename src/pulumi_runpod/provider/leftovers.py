"""What an interrupted run made, and the program does not want any more: removed, once this run changes things anyway.

Only creates of which the engine surely never heard are meant (`Journal.unanswered`), so nobody can have used what they
made. A create of the same resource takes its leftover over (`creating`); this is for those that no create comes for,
because the program dropped them or everything is being destroyed. It happens at the end of a run, when the engine has
asked for all that it wants; what then fails, or takes too long, stays noted for the next run.

A preview must change nothing, and a provider is not told that it works for one. So a run counts as a real one when the
engine asked for a change that was no preview, or when its handshake said so (the embedded engine's does).
"""

import asyncio
import time
from collections.abc import Mapping
from typing import Any

from pulumi_runpod.provider.creating import STILL_AT_IT_S, is_mounted, may_be
from pulumi_runpod.provider.errors import ProviderError, one_line
from pulumi_runpod.provider.journal import Note
from pulumi_runpod.provider.resources import Controller
from pulumi_runpod.provider.session import Session
from runpod_rest import NotFound, RunPodError

Json = dict[str, Any]
_PATIENCE_S = 2.5
"""The engine gives a plugin five seconds to end."""


async def remove_unwanted(session: Session, controllers: Mapping[str, Controller]) -> None:
    """Remove the leftovers of interrupted runs that no create of this run took over."""
    by_kind = {controller.kind: controller for controller in controllers.values()}
    notes = [note for note in session.journal.unanswered() if note.urn not in session.creates_asked]
    try:
        async with asyncio.timeout(_PATIENCE_S):
            for note in notes:
                if note.kind in by_kind:
                    await _remove(session, note, by_kind[note.kind])
    except TimeoutError:
        return  # the notes that are left say it to the next run


async def _remove(session: Session, note: Note, controller: Controller) -> None:
    client = await session.client()
    collection = controller.collection(client)
    try:
        found = await _found(session, note, controller)
        if found and not await is_mounted(client, note.kind, found):
            await collection.delete(found)
        elif found:
            return  # somebody uses it: theirs to decide
        elif time.time() - note.at <= STILL_AT_IT_S * session.poll_s:
            return  # RunPod may still be at it
    except (RunPodError, ProviderError) as error:
        text = f"the {note.kind} {note.id or repr(note.name)} of an interrupted run could not be removed"
        await session.engine.warning(note.urn, f"{text} ({one_line(str(error))}); the next run tries again")
        return
    session.journal.forget(note.urn)
    if found:
        await session.engine.info(
            note.urn, f"removed the {note.kind} {found}, left behind by an interrupted run and not in the program"
        )


async def _found(session: Session, note: Note, controller: Controller) -> str:
    """The id of what the noted create made, if it made something."""
    collection = controller.collection(await session.client())
    if note.id:
        try:
            await collection.get(note.id)
        except NotFound:
            return ""
        return "" if note.id in session.seen_ids else note.id
    ids = [str(item["id"]) for item in await collection.list() if may_be(note, item, session, controller.made_by)]
    if len(ids) > 1:
        raise ProviderError(f"there are several that it could be: {', '.join(ids)}; delete those that are not yours")
    return ids[0] if ids else ""
