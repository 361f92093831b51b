"""What a caller may send: sizes, members and ranges of the job plane's requests (runpod-api.md §2.7, §2.8).

Bodies are strict where a mistake would stay unseen otherwise: no `input`, a wrong type, a value out of its range. An
unknown member is ignored, as RunPod's own documents show examples with more of them (our assumption).
"""

import ipaddress
import json
from typing import Any
from urllib.parse import urlsplit

from aiohttp import web

from runpod_emulator.config import Timing
from runpod_emulator.context import PEEKED
from runpod_emulator.jobs._model import JobKind, Submission
from runpod_emulator.model import Json

MEGABYTE = 1024 * 1024
RUN_LIMIT = 10 * MEGABYTE
"""Largest body of /run (§2.7)."""
SYNC_LIMIT = 20 * MEGABYTE
"""Largest body of /runsync (§2.7), and of the OpenAI route (our assumption)."""
WAIT_MS = (1_000, 300_000)
"""Range of `/runsync?wait=` (§2.7). A value outside is refused with 400 (our assumption)."""
EXECUTION_TIMEOUT_MS = (5_000, 7 * 24 * 3_600_000)
TTL_MS = (10_000, 7 * 24 * 3_600_000)


class JobRequestError(Exception):
    """A request that the job plane refuses. Becomes `{"error": …}`; RunPod documents no schema (our assumption)."""

    def __init__(self, status: int, message: str) -> None:
        self.status, self.message = status, message
        super().__init__(message)


async def read_limited(request: web.Request, limit: int) -> bytes:
    """The body, at most `limit` bytes of it held in memory. One byte more is 413 (our assumption)."""
    too_large = JobRequestError(413, f"request body is larger than {limit // MEGABYTE} MB")
    if (request.content_length or 0) > limit:
        raise too_large
    body = bytearray(request.get(PEEKED, b""))
    if len(body) > limit:
        raise too_large
    async for piece in request.content.iter_chunked(64 * 1024):
        body += piece
        if len(body) > limit:
            raise too_large
    return bytes(body)


def parse_json(body: bytes) -> Any:
    try:
        return json.loads(body, parse_constant=_refuse_constant)
    except ValueError as error:  # JSONDecodeError and UnicodeDecodeError
        raise JobRequestError(400, f"request body is not JSON: {error}") from None


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON value")


def parse_submission(body: bytes, kind: JobKind, timing: Timing, wait_s: float = 0.0) -> Submission:
    """The submission in a body of /run or /runsync."""
    data = parse_json(body)
    if not isinstance(data, dict):
        raise JobRequestError(400, "request body must be a JSON object with the member `input`")
    if data.get("input") is None:
        raise JobRequestError(400, "request body has no `input`; send {\"input\": {…}}")  # fmt: skip
    policy = _object(data, "policy") or {}
    timeout_ms = _milliseconds(policy, "executionTimeout", EXECUTION_TIMEOUT_MS)
    ttl_ms = _milliseconds(policy, "ttl", TTL_MS)
    low_priority = policy.get("lowPriority", False)
    if not isinstance(low_priority, bool):
        raise JobRequestError(400, "`policy.lowPriority` must be true or false")
    return Submission(
        kind=kind,
        input=data["input"],
        ttl_s=timing.job_ttl_s if ttl_ms is None else ttl_ms / 1000,
        retention_s=timing.run_retention_s if kind == "run" else max(timing.sync_retention_s, wait_s),
        execution_timeout_s=None if timeout_ms is None else timeout_ms / 1000,
        low_priority=low_priority,
        webhook=_webhook(data.get("webhook")),
        s3_config=_object(data, "s3Config"),
    )


def parse_wait(request: web.Request, default_s: float, allowed_ms: tuple[int, int]) -> float:
    """`?wait=<milliseconds>` in seconds."""
    text = request.query.get("wait")
    if text is None:
        return default_s
    low, high = allowed_ms
    if not text.isascii() or not text.isdigit() or not low <= int(text) <= high:
        raise JobRequestError(400, f"`wait` must be a number of milliseconds from {low} to {high}, not {text!r}")
    return int(text) / 1000


def _object(data: Json, name: str) -> Json | None:
    value = data.get(name)
    if value is not None and not isinstance(value, dict):
        raise JobRequestError(400, f"`{name}` must be a JSON object")
    return value


def _milliseconds(policy: Json, name: str, allowed: tuple[int, int]) -> int | None:
    value = policy.get(name)
    if value is None:
        return None
    low, high = allowed
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise JobRequestError(400, f"`policy.{name}` must be a whole number of milliseconds from {low} to {high}")
    return value


def _webhook(url: object) -> str | None:
    """Only http and https, only this machine: an emulator must not call strangers (our assumption)."""
    if url is None or url == "":
        return None
    try:
        parts = urlsplit(url) if isinstance(url, str) else None
        host = parts.hostname if parts else None
        _ = parts.port if parts else None
    except ValueError:
        parts, host = None, None
    if not isinstance(url, str) or parts is None or parts.scheme not in ("http", "https") or not host:
        raise JobRequestError(400, "`webhook` must be an http or https URL")
    if not _loopback(host):
        raise JobRequestError(400, f"`webhook` names {host}; the emulator posts only to this machine (127.0.0.1)")
    return url


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"
