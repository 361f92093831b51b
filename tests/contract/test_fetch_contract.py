"""scripts/fetch_contract.py against a local server: pin, change, accept, and every way to fail."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from click.testing import CliRunner, Result

from scripts import fetch_contract
from tests.contract.support import find_contract

DOCUMENT = {
    "openapi": "3.1.0",
    "paths": {"/v2/a": {"get": {"summary": "ä"}, "parameters": []}},
    "components": {"schemas": {"A": {"type": "string"}}},
}
CHANGED = {
    "openapi": "3.1.0",
    "paths": {"/v2/a": {"get": {"summary": "other"}}, "/v2/b": {"post": {}}},
    "components": {"schemas": {"B": {}}},
}


@asynccontextmanager
async def _serving(body: str, status: int = 200) -> AsyncIterator[tuple[str, list[str]]]:
    agents = []

    async def handle(request: web.Request) -> web.Response:
        agents.append(request.headers["User-Agent"])
        return web.Response(text=body, status=status)

    app = web.Application()
    app.router.add_get("/v2/openapi.json", handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/v2/openapi.json", agents
    finally:
        await runner.cleanup()


Run = Callable[..., Awaitable[Result]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run the script on `tmp_path`, in a thread, because it brings its own event loop."""
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)

    async def call(url: str, *options: str) -> Result:
        arguments = ["--url", url, "--to", str(tmp_path / "contract"), "--pin", str(tmp_path / "pin"), *options]
        return await asyncio.to_thread(CliRunner().invoke, fetch_contract.main, arguments)

    return call


def _stored(tmp_path: Path) -> Any:
    path = tmp_path / "contract" / fetch_contract.FILE_NAME
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


async def test_the_pinned_document_is_stored(tmp_path: Path, run: Run) -> None:
    """White space on the wire does not matter; the request carries an agent of its own."""
    (tmp_path / "pin").write_text(fetch_contract.digest(DOCUMENT) + "\n")
    async with _serving(json.dumps(DOCUMENT, indent=7)) as (url, agents):
        result = await run(url)
    assert result.exit_code == 0, result.output
    assert _stored(tmp_path) == DOCUMENT
    assert agents == [fetch_contract.USER_AGENT]


async def test_a_changed_document_needs_to_be_accepted(tmp_path: Path, run: Run) -> None:
    """First a refusal that says what to do, with the old copy untouched; then the difference, and a moved pin."""
    old = fetch_contract.digest(DOCUMENT)
    (tmp_path / "pin").write_text(old + "\n")
    async with _serving(json.dumps(DOCUMENT)) as (url, _):
        await run(url)
    async with _serving(json.dumps(CHANGED)) as (url, _):
        refused = await run(url)
        assert refused.exit_code == 1
        assert old in refused.output
        assert "--accept" in refused.output
        assert _stored(tmp_path) == DOCUMENT
        accepted = await run(url, "--accept")
        assert accepted.exit_code == 0
        assert accepted.output.splitlines()[:4] == [
            "+ operation POST /v2/b",
            "~ operation GET /v2/a",
            "+ schema B",
            "- schema A",
        ]
        assert _stored(tmp_path) == CHANGED
        assert (tmp_path / "pin").read_text().strip() == fetch_contract.digest(CHANGED)
        assert (await run(url)).exit_code == 0


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ("busy", 503, "answered 503"),
        ("<html>", 200, "is not JSON"),
        ("[]", 200, "is not an OpenAPI document"),
        ("x" * (fetch_contract.LARGEST + 1), 200, "is larger than"),
    ],
)
async def test_a_bad_answer_is_one_line(tmp_path: Path, run: Run, body: str, status: int, words: str) -> None:
    """Exit code 1, nothing stored."""
    async with _serving(body, status) as (url, _):
        result = await run(url)
    assert result.exit_code == 1
    assert words in result.output
    assert len(result.output.strip().splitlines()) == 1
    assert _stored(tmp_path) is None


async def test_without_network_a_verified_copy_is_good_enough(tmp_path: Path, run: Run) -> None:
    """Only a copy with the pinned hash; otherwise the failure is told."""
    (tmp_path / "pin").write_text(fetch_contract.digest(DOCUMENT))
    async with _serving(json.dumps(DOCUMENT)) as (url, _):
        assert (await run(url)).exit_code == 0
    offline = await run(url)
    assert offline.exit_code == 0
    assert "stored copy" in offline.output
    (tmp_path / "pin").write_text("0" * 64)
    failed = await run(url)
    assert failed.exit_code == 1
    assert "cannot fetch" in failed.output


def test_the_pin_is_the_hash_of_the_document_the_tests_use() -> None:
    """Where the document is here, it is the pinned one: the two must move together."""
    path = find_contract()
    if path is None:
        pytest.skip("RunPod's OpenAPI document is not here; `make contract` fetches it")
    document = json.loads(path.read_text(encoding="utf-8"))
    assert fetch_contract.digest(document) == fetch_contract.PIN.read_text(encoding="ascii").strip()
