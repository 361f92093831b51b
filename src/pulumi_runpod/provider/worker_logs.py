"""The last lines of a worker's log. RunPod's log route is an event stream that never ends, so the read is bounded."""

import asyncio
import json
from urllib.parse import quote

import aiohttp

from pulumi_runpod.provider.config import Settings
from redaction import redact
from runpod_rest import default_user_agent

_WAIT_S = 5.0
_QUIET_S = 1.0


async def last_lines(settings: Settings, endpoint_id: str, worker_id: str, count: int) -> list[str]:
    """Up to `count` redacted lines, oldest first; fewer, or none, where RunPod has none or does not answer in time."""
    worker = quote(worker_id, safe="")
    url = f"{settings.api_url}/v2/serverless/{quote(endpoint_id, safe='')}/workers/{worker}/logs?tail={count * 4}"
    headers = {"Authorization": f"Bearer {settings.api_key}", "User-Agent": default_user_agent()}
    lines: list[str] = []
    try:
        async with (
            asyncio.timeout(_WAIT_S),
            aiohttp.ClientSession(headers=headers) as http,
            http.get(url, allow_redirects=False) as answer,
        ):
            if answer.status != 200:
                return []
            # Silence after the backlog means that what follows is live.
            while raw := await asyncio.wait_for(answer.content.readline(), _QUIET_S):
                if line := _line_of(raw):
                    lines.append(line)
    except (aiohttp.ClientError, TimeoutError, ValueError):
        return _tail(lines, count)
    return _tail(lines, count)


def _line_of(raw: bytes) -> str:
    if not raw.startswith(b"data:"):
        return ""
    try:
        event = json.loads(raw[len(b"data:") :])
    except ValueError:
        return ""
    return str(event.get("line", "")).strip() if isinstance(event, dict) else ""


def _tail(lines: list[str], count: int) -> list[str]:
    return [redact(line)[:300] for line in lines[-count:]]
