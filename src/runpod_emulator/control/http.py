"""Reading bodies and query parameters, writing answers: what every handler of the control plane does the same way."""

import json
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, NoReturn

from aiohttp import web

from runpod_emulator.config import MAX_BODY_BYTES
from runpod_emulator.context import PEEKED
from runpod_emulator.control.checks import Check, quoted
from runpod_emulator.control.problem import Problem, bad_request, invalid

_LARGEST = 2**63 - 1
TOO_LARGE = f"request body exceeds {MAX_BODY_BYTES} bytes"


def rfc3339(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _bounded_int(text: str) -> int:
    """The service's numbers have 64 bits; Python's have no end."""
    number = int(text)
    if abs(number) > _LARGEST:
        raise ValueError("number out of range")
    return number


def _bounded_float(text: str) -> float:
    number = float(text)
    if not abs(number) <= _LARGEST:
        raise ValueError("number out of range")
    return number


def _parsed(raw: bytes) -> Any:
    body = json.loads(raw, parse_constant=_refuse_constant, parse_int=_bounded_int, parse_float=_bounded_float)
    # Half a surrogate pair ("\\ud800") is no text: it could be neither stored nor sent.
    json.dumps(body, ensure_ascii=False).encode()
    return body


async def checked_body(request: web.Request, check: Check) -> dict[str, Any]:
    """The request's JSON object, or a Problem: 413 too large, 400 not JSON (our assumption), 422 not to the schema."""
    raw = await read_limited(request)
    try:
        body = _parsed(raw)
    except (ValueError, RecursionError):
        raise bad_request("request body is not valid JSON") from None
    mistakes = list(check(body, "$"))
    if mistakes:
        raise invalid(mistakes)
    assert isinstance(body, dict)
    return body


async def read_limited(request: web.Request) -> bytes:
    """At most 102400 bytes (runpod-api-live.md §2.5: stated for pods, assumed for all writes)."""
    raw = bytearray(request.get(PEEKED, b""))
    if len(raw) > MAX_BODY_BYTES:
        raise Problem(413, TOO_LARGE)
    async for chunk in request.content.iter_any():
        raw += chunk
        if len(raw) > MAX_BODY_BYTES:
            raise Problem(413, TOO_LARGE)
    return bytes(raw)


def answer(value: Mapping[str, Any], status: int = 200) -> web.Response:
    return web.json_response(dict(value), status=status)


def no_content() -> web.Response:
    return web.Response(status=204)


def one(request: web.Request, name: str) -> str | None:
    """A query parameter that may come once. Unknown parameters are ignored (runpod-api-live.md §3 row 12)."""
    values = request.query.getall(name, [])
    if len(values) > 1:
        # Seen live: runpod-api-live.md §3 row 13.
        raise invalid([f"parameter '{name}' is not exploded, but is specified multiple times"])
    return values[0] if values else None


def choice(request: web.Request, name: str, choices: Iterable[str]) -> str | None:
    value = one(request, name)
    if value is not None and value not in choices:
        raise invalid([f"parameter '{name}': value must be one of {quoted(choices)}"])
    return value


def words(
    request: web.Request, name: str, *, choices: Iterable[str] | None = None, pattern: str | None = None
) -> list[str] | None:
    """A comma-separated parameter: None when absent, its words otherwise."""
    value = one(request, name)
    if value is None:
        return None
    found = value.split(",")
    for word in found:
        if choices is not None and word not in choices:
            raise invalid([f"parameter '{name}': value must be one of {quoted(choices)}"])
        if pattern is not None and not re.fullmatch(pattern, word):
            raise invalid([f"parameter '{name}': '{word}' does not match pattern '^{pattern}$'"])
    return found


def whole_number(request: web.Request, name: str, *, minimum: int, maximum: int | None = None) -> int | None:
    value = one(request, name)
    if value is None:
        return None
    if not re.fullmatch(r"-?\d{1,18}", value, re.ASCII):
        raise invalid([f"parameter '{name}': got string, want integer"])
    number = int(value)
    if number < minimum:
        raise invalid([f"parameter '{name}': minimum: got {number}, want {minimum}"])
    if maximum is not None and number > maximum:
        raise invalid([f"parameter '{name}': maximum: got {number}, want {maximum}"])
    return number


def timestamp(name: str, value: str) -> str:
    """An RFC 3339 time as the caller wrote it, or a 422."""
    try:
        if "T" not in value.upper() or datetime.fromisoformat(value).tzinfo is None:
            raise ValueError
    except ValueError:
        raise invalid([f"parameter '{name}': '{value}' is not valid date-time"]) from None
    return value
