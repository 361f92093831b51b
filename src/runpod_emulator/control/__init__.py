"""The control plane: RunPod's REST API v2 over the emulator's database.

True here: one module per resource; handlers speak HTTP, `bodies` knows what a body may hold (422), the `*_rules` and
the handlers know what must fit the stored state (400), `records` owns the tables, `views` writes the answers. It may
import nothing of the project but `redaction`: its reading of the API is its own and is held against the published
contract by tests/contract.
"""

import secrets

from aiohttp import web

from runpod_emulator.context import Context
from runpod_emulator.control import catalog, elsewhere, volumes
from runpod_emulator.control.endpoints import EndpointRoutes
from runpod_emulator.control.paging import Pager
from runpod_emulator.control.problem import Problem
from runpod_emulator.control.records import RESERVED_SEGMENTS, Records
from runpod_emulator.control.registries import RegistryRoutes
from runpod_emulator.control.templates import TemplateRoutes
from runpod_emulator.control.volumes import VolumeRoutes
from runpod_emulator.control.worker_routes import WorkerRoutes

__all__ = ["RESERVED_SEGMENTS", "Problem", "Records", "add_routes"]


def add_routes(app: web.Application, ctx: Context) -> None:
    """Register the control plane. Must come before the job plane: its first path segments are reserved."""
    records = Records(ctx.store)
    new_key = secrets.token_hex(16)
    # Asked for each time: a loaded dump brings the key that its cursors were made with.
    pager = Pager(lambda: records.meta("cursor-key", new_key), ctx.config.page_size)
    volumes.recover(ctx.config, records)
    EndpointRoutes(ctx, records, pager).add_routes(app)
    WorkerRoutes(ctx, records, pager).add_routes(app)
    TemplateRoutes(ctx, records, pager).add_routes(app)
    VolumeRoutes(ctx, records).add_routes(app)
    elsewhere.add_delegation_routes(app)  # before /v2/registries/{id}, which would take "delegations" for an id
    RegistryRoutes(ctx, records).add_routes(app)
    catalog.add_routes(app)
    elsewhere.add_routes(app)
