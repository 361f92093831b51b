"""Errors of the control plane as RFC 9457 bodies: `title`, `status`, `detail`, and `errors` for a 422 (§1.1)."""

import json
from collections.abc import Mapping, Sequence
from http import HTTPStatus

from aiohttp import web

CONTENT_TYPE = "application/problem+json"


class Problem(Exception):
    """Raised anywhere below a handler; the error middleware turns it into the answer."""

    def __init__(
        self, status: int, detail: str, *, errors: Sequence[str] = (), headers: Mapping[str, str] | None = None
    ) -> None:
        self.status, self.detail, self.errors = status, detail, tuple(errors)
        self.headers = dict(headers or {})
        super().__init__(f"{status} {detail}")

    def response(self) -> web.Response:
        body: dict[str, object] = {
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": self.detail,
        }
        if self.errors:
            body["errors"] = list(self.errors)
        # What is quoted may be anything a caller sent, undecodable bytes included: plain ASCII carries all of it.
        return web.Response(status=self.status, text=json.dumps(body), content_type=CONTENT_TYPE, headers=self.headers)


def bad_request(detail: str) -> Problem:
    """A rule between fields, or one that needs the stored state (handler level)."""
    return Problem(400, detail)


def not_found(what: str) -> Problem:
    return Problem(404, f"{what} not found")


def invalid(errors: Sequence[str]) -> Problem:
    """The body or a parameter does not fit the published schema."""
    return Problem(422, "Request validation failed.", errors=errors)


def unprocessable(detail: str) -> Problem:
    """A 422 that the service answers with prose only (runpod-api-live.md §3 rows 3 and 4)."""
    return Problem(422, detail)
