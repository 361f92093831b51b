"""The errors, and the one place where an HTTP answer becomes one of them.

    RunPodError
    ├── UnusableArgument      what the caller passed cannot be sent
    ├── KeyRefused            the key would leave for a place that is not RunPod's
    ├── NetworkError          no complete answer came back
    ├── UnreadableAnswer      an answer came back that is not what the API promises
    └── ApiError              the API, or the edge before it, said no
        ├── BadRequest 400, Unauthorized 401, PaymentRequired 402, Forbidden 403, NotFound 404, Conflict 409,
        │   TooLarge 413, Validation 422, RateLimited 429, ServerError 5xx, Redirected 3xx
        └── EdgeRejected      403 (or 400) from the edge, without the API's own problem document

Branch on the class or on `status`; never on `detail`, whose wording changes without notice.
"""

import json
import re
from collections.abc import Sequence
from typing import Any

from redaction import redact

# An error is named for its cause (`NotFound`), so the suffix would only repeat the base class.

_MAX_DETAIL = 2000
_MAX_ENTRIES = 20


class RunPodError(Exception):
    """Anything that went wrong between us and RunPod. The message is fit to be shown: it holds no secret."""

    ambiguous: bool = False
    """True where the call may have been carried out although no answer says so: look before repeating it."""

    def __init__(self, message: str) -> None:
        super().__init__(redact(message))


class UnusableArgument(RunPodError):
    """An argument that cannot be sent: an empty id, a URL without a host."""


class KeyRefused(RunPodError):
    """The key was about to leave for a host that is neither RunPod's nor this machine."""


class NetworkError(RunPodError):
    """No complete answer came back: no connection, a broken one, or none in time."""

    def __init__(self, message: str, *, ambiguous: bool) -> None:
        super().__init__(message)
        self.ambiguous = ambiguous


class UnreadableAnswer(RunPodError):
    """An answer that the API does not promise: not JSON, too large, or without the field that has to be there."""

    def __init__(self, message: str, *, status: int, ambiguous: bool) -> None:
        super().__init__(message)
        self.status = status
        self.ambiguous = ambiguous


class ApiError(RunPodError):
    """The API's "no". `detail` and `errors` are RunPod's own words, redacted and cut to a readable length."""

    hint: str = ""

    def __init__(
        self,
        call: str,
        status: int,
        title: str,
        detail: str = "",
        errors: Sequence[str] = (),
        retry_after: float | None = None,
        tries: int = 1,
    ) -> None:
        self.call = redact(call)
        self.status = status
        self.title = redact(title)
        self.detail = redact(detail)
        self.errors = tuple(redact(entry) for entry in errors)
        self.retry_after = retry_after
        self.tries = tries
        super().__init__(self._message())

    def _message(self) -> str:
        text = f"{self.call}: {self.status} {self.title}".rstrip()
        if self.detail and self.detail != self.title:
            text += f": {self.detail}"
        if self.status == 429 and self.retry_after is not None:
            text += f" (the next call has a chance in {self.retry_after:.0f} s)"
        for entry in self.errors:
            text += f"\n  {entry}"
        if self.tries > 1:
            text += f" (after {self.tries} tries)"
        return f"{text}\n\nhint: {self.hint}" if self.hint else text


class BadRequest(ApiError):
    """400: a rule between fields, no capacity, a quota, or something still in use. Only `detail` tells which."""


class Unauthorized(ApiError):
    """401: the key is missing or wrong."""

    hint = "RunPod does not accept this API key; check RUNPOD_API_KEY, or the stack's runpod:apiKey"


class PaymentRequired(ApiError):
    """402: the balance does not cover the request."""


class Forbidden(ApiError):
    """403 from the API itself: the key is valid but lacks the permission."""

    hint = "the API key is valid but not allowed to do this; a restricted or read-only key needs more scope"


class EdgeRejected(ApiError):
    """Refused by the edge before the API saw it. Not proof of a bad key.

    Source: runpod-api-live.md §3 "Edge": code 1010 answers clients whose User-Agent it dislikes.
    """

    hint = (
        "the answer came from RunPod's edge, not from its API: the key may be fine; check the User-Agent, "
        "a proxy in between, or try from another network"
    )


class NotFound(ApiError):
    """404: absent, or not visible to this key."""


class Conflict(ApiError):
    """409: the name is taken, or the state forbids the action."""


class TooLarge(ApiError):
    """413: the request body is above RunPod's limit (102 400 bytes for a deployment)."""


class Validation(ApiError):
    """422: the body does not fit the published schema. `errors` holds one entry per mistake."""


class RateLimited(ApiError):
    """429, or a known exhausted window: `retry_after` seconds until the next call has a chance."""


class ServerError(ApiError):
    """5xx. For a write `ambiguous` is true: it may have been carried out."""


class Redirected(ApiError):
    """3xx: redirects are never followed, so that the key cannot be led away."""

    hint = "redirects are never followed with the key; set runpod:apiUrl to the final address if you trust it"


_BY_STATUS: dict[int, type[ApiError]] = {
    400: BadRequest,
    401: Unauthorized,
    402: PaymentRequired,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    413: TooLarge,
    422: Validation,
    429: RateLimited,
}


def error_for(
    call: str,
    status: int,
    reason: str,
    content_type: str,
    body: bytes,
    *,
    retry_after: float | None = None,
    write: bool = False,
    problem_expected: bool = True,
    tries: int = 1,
) -> ApiError:
    """Turn a refusal into its error. The status decides; the body, which may be HTML or empty, only explains.

    `problem_expected` is false for the job plane, whose error bodies are not documented.
    """
    title, detail, errors, is_problem = _explain(body)
    by_status = _BY_STATUS.get(status)
    if by_status is not None:
        kind: type[ApiError] = by_status
    elif 300 <= status < 400:
        kind = Redirected
    elif status >= 500:
        kind = ServerError
    else:
        kind = ApiError
    # A JSON answer without the right content type is still the API speaking; HTML or bare text is not.
    if status == 403 and not is_problem and problem_expected and "json" not in content_type:
        kind = EdgeRejected
    error = kind(call, status, title or reason or "no reason given", detail, errors, retry_after, tries)
    error.ambiguous = write and status >= 500
    return error


def _explain(body: bytes) -> tuple[str, str, list[str], bool]:
    """Title, detail and entries of an error body, and whether it is a problem document (RFC 9457)."""
    text = body.decode("utf-8", "replace").strip()
    if not text:
        return "", "", [], False
    try:
        document: Any = json.loads(text)
    except ValueError:
        return "", _plain(text), [], False
    if not isinstance(document, dict):
        return "", _cut(text), [], False
    title = document.get("title")
    detail = document.get("detail") or document.get("error") or document.get("message")
    raw = document.get("errors")
    entries = raw if isinstance(raw, list) else []
    errors = [_cut(entry if isinstance(entry, str) else json.dumps(entry)) for entry in entries[:_MAX_ENTRIES]]
    if len(entries) > _MAX_ENTRIES:
        errors.append(f"… and {len(entries) - _MAX_ENTRIES} more")
    return (
        _cut(title) if isinstance(title, str) else "",
        _cut(detail if isinstance(detail, str) else json.dumps(detail)) if detail else "",
        errors,
        isinstance(title, str) and "status" in document,
    )


def _plain(text: str) -> str:
    """The readable part of an HTML or text answer, on one line."""
    if "<" in text:
        text = re.sub(r"(?is)<(script|style)\b.*?</\1>|<[^>]*>", " ", text)
    return _cut(re.sub(r"\s+", " ", text).strip(), 300)


def _cut(text: str, limit: int = _MAX_DETAIL) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"
