"""Cursor pagination of endpoints, templates and releases (runpod-api-live.md §2.1).

A cursor is the last item's sequence number, bound by a keyed hash to the list that issued it: a forged cursor, or one
from another list, is a 422. The key lives in the database, so that a cursor outlives a restart.
"""

import base64
import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from aiohttp import web

from runpod_emulator.control.http import one, whole_number
from runpod_emulator.control.problem import invalid

Item = TypeVar("Item")


@dataclass(frozen=True)
class Page(Generic[Item]):
    items: list[Item]
    next_cursor: str | None

    def marker(self) -> dict[str, Any]:
        return {"nextCursor": self.next_cursor, "hasNextPage": self.next_cursor is not None}


LAST_PAGE = {"nextCursor": None, "hasNextPage": False}
"""The marker of a list that has a `pagination` member but never a second page (catalog/templates)."""


class Pager:
    def __init__(self, key: Callable[[], str], page_size: int) -> None:
        self._key = key
        self._page_size = page_size

    def page(
        self, request: web.Request, issuer: str, fetch: Callable[[int | None, int], list[tuple[int, Item]]]
    ) -> Page[Item]:
        """One page of `issuer`'s list, newest first. `fetch(before, limit)` returns (sequence, item) pairs."""
        limit = whole_number(request, "limit", minimum=1, maximum=self._page_size) or self._page_size
        cursor = one(request, "cursor")
        before = None if cursor is None else self._open(issuer, cursor)
        found = fetch(before, limit + 1)
        more = len(found) > limit
        shown = found[:limit]
        return Page([item for _, item in shown], self._seal(issuer, shown[-1][0]) if more else None)

    def _tag(self, issuer: str, number: str) -> bytes:
        return hmac.new(self._key().encode(), f"{issuer}\n{number}".encode(), hashlib.sha256).digest()[:12]

    def _seal(self, issuer: str, number: int) -> str:
        text = str(number)
        return base64.urlsafe_b64encode(self._tag(issuer, text) + text.encode()).decode().rstrip("=")

    def _open(self, issuer: str, cursor: str) -> int:
        try:
            raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
            tag, number = raw[:12], raw[12:].decode("ascii")
            if hmac.compare_digest(tag, self._tag(issuer, number)):
                return int(number)
        except ValueError:  # not base64, not ASCII, not a number: all mean "not ours"
            pass
        raise invalid(["parameter 'cursor': not a cursor that this list issued"])
