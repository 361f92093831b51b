"""Everything that was made here as one document, and back: `GET /_emulator/dump`, `POST /_emulator/load`.

A dump holds the rows of the database as they are: endpoints, pods, templates, releases, volumes, credentials, jobs, and
the key of the lists' cursors; secrets in clear, for it is the owner's key that asks. It does not hold the files in
volumes, workers and their logs, images, levers, the clock, and the emulator's own key.

Loading replaces all of it or nothing. A seal over the rows tells a document that was cut or edited from a whole one.
"""

import asyncio
import hashlib
import json
import shutil
import sqlite3
from dataclasses import asdict
from http import HTTPStatus
from typing import Any, Protocol, runtime_checkable

from aiohttp import web

from redaction import register_secret
from runpod_emulator.context import Context
from runpod_emulator.control.http import answer, rfc3339
from runpod_emulator.control.problem import Problem, bad_request
from runpod_emulator.control.records import Records
from runpod_emulator.control.views import endpoint_json, registry_json, template_json, volume_json
from runpod_emulator.control.volumes import recover, retire
from runpod_emulator.model import Json
from runpod_emulator.pods import PODS
from runpod_emulator.store import SCHEMA_VERSION, TableRows

FORMAT = "runpod-emulator-dump"
LARGEST_DUMP = 256 * 1024 * 1024


@runtime_checkable
class HoldsState(Protocol):
    async def state_replaced(self) -> None:
        """The database holds other rows now: end all workers, start anew."""


def add_routes(app: web.Application, ctx: Context) -> None:
    records = Records(ctx.store)

    async def dump(_request: web.Request) -> web.Response:
        tables = ctx.store.rows_of_all_tables()
        document = {
            "format": FORMAT,
            "version": SCHEMA_VERSION,
            "made_at": rfc3339(ctx.clock()),
            "seal": _seal(tables),
            "tables": tables,
        }
        return web.json_response(document, headers={"Cache-Control": "no-store"})

    async def load(request: web.Request) -> web.Response:
        tables = _tables(await _body(request))
        gone = _replace(ctx, records, tables)
        recover(ctx.config, records)
        if isinstance(ctx.fleet, HoldsState):
            await ctx.fleet.state_replaced()
        pods = request.app.get(PODS)
        if pods is not None:
            await pods.state_replaced()
        for folder in gone:
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
        return answer({"loaded": {name: len(rows) for name, rows in sorted(tables.items())}})

    app.router.add_get("/_emulator/dump", dump, allow_head=False)
    app.router.add_post("/_emulator/load", load)


async def _body(request: web.Request) -> bytes:
    raw = bytearray()
    async for chunk in request.content.iter_any():
        raw += chunk
        if len(raw) > LARGEST_DUMP:
            raise Problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"a dump has at most {LARGEST_DUMP} bytes")
    return bytes(raw)


def _tables(raw: bytes) -> dict[str, TableRows]:
    try:
        document: Any = json.loads(raw)
    except (ValueError, RecursionError):
        raise bad_request("nothing was loaded: the document is not JSON; send what GET /_emulator/dump gave") from None
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise bad_request(f"nothing was loaded: `format` is not {FORMAT}; send what GET /_emulator/dump gave")
    version = document.get("version")
    if isinstance(version, bool) or version != SCHEMA_VERSION:
        raise bad_request(f"nothing was loaded: `version` is {version!r}, this emulator reads {SCHEMA_VERSION}")
    tables = document.get("tables")
    if not isinstance(tables, dict) or document.get("seal") != _seal(tables):
        raise bad_request("nothing was loaded: `tables` does not fit its `seal`; the dump was cut or edited")
    return tables


def _seal(tables: Any) -> str:
    return hashlib.sha256(json.dumps(tables, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _replace(ctx: Context, records: Records, tables: dict[str, TableRows]) -> list[Any]:
    """All rows in one transaction, read back before it is kept. Returns the folders of volumes that are no more."""
    before = {volume.id for volume in records.volumes()}
    try:
        with ctx.store.transaction():
            ctx.store.replace_all_rows(tables)
            _read_back(ctx, records)
            gone = before - {volume.id for volume in records.volumes()}
            # Last, so that a refused document moves no folder; `recover` takes back what a kill here would leave.
            folders = [retire(ctx.config, volume_id) for volume_id in sorted(gone)]
    except (sqlite3.IntegrityError, sqlite3.InterfaceError, sqlite3.ProgrammingError, LookupError) as error:
        raise bad_request(f"nothing was loaded: `tables` does not fit this emulator: {error}") from None
    except (AttributeError, TypeError, ValueError) as error:
        raise bad_request(f"nothing was loaded: a row is not what this emulator writes: {error}") from None
    for registry in records.registries():
        register_secret(registry.password)
    return folders


def _read_back(ctx: Context, records: Records) -> None:
    """Show everything once: what cannot be shown must not be kept."""
    shown: list[Json] = [endpoint_json(endpoint, ctx.base_url) for endpoint in records.endpoints()]
    shown += [template_json(template) for template in records.templates()]
    shown += [volume_json(volume) for volume in records.volumes()]
    shown += [registry_json(registry) for registry in records.registries()]
    shown += [asdict(pod) for pod in records.pods()]
    json.dumps(shown)
