"""`/v2/network-volumes` (runpod-api.md §1.4). A volume is a directory of the state directory; workers mount it."""

import asyncio
import shutil
from dataclasses import replace
from pathlib import Path

from aiohttp import web

from runpod_emulator.config import Config
from runpod_emulator.context import Context
from runpod_emulator.control import bodies
from runpod_emulator.control.catalog_data import DATA_CENTER_BY_ID, DATA_CENTERS_WITH_VOLUMES
from runpod_emulator.control.http import answer, checked_body, no_content
from runpod_emulator.control.problem import bad_request, not_found
from runpod_emulator.control.records import Records, Volume, new_id
from runpod_emulator.control.views import volume_json

_DOOMED = ".deleted-"


class VolumeRoutes:
    def __init__(self, ctx: Context, records: Records) -> None:
        self._ctx, self._records = ctx, records

    def add_routes(self, app: web.Application) -> None:
        app.router.add_get("/v2/network-volumes", self._list, allow_head=False)
        app.router.add_post("/v2/network-volumes", self._create)
        app.router.add_get("/v2/network-volumes/{id}", self._get, allow_head=False)
        app.router.add_patch("/v2/network-volumes/{id}", self._update)
        app.router.add_delete("/v2/network-volumes/{id}", self._delete)

    def _stored(self, request: web.Request) -> Volume:
        volume = self._records.volume(request.match_info["id"])
        if volume is None:
            raise not_found("network volume")
        return volume

    async def _list(self, _request: web.Request) -> web.Response:
        return answer({"networkVolumes": [volume_json(volume) for volume in self._records.volumes()]})

    async def _get(self, request: web.Request) -> web.Response:
        return answer(volume_json(self._stored(request)))

    async def _create(self, request: web.Request) -> web.Response:
        body = await checked_body(request, bodies.create_volume)
        center = DATA_CENTER_BY_ID.get(body["dataCenter"])
        if center is None or not center.volume_types:
            # Lists those that do (runpod-api-live.md §3 row 5); the sentence is ours.
            raise bad_request(
                f"data center '{body['dataCenter']}' does not support network volumes; "
                f"these do: {', '.join(DATA_CENTERS_WITH_VOLUMES)}"
            )
        tier = body.get("type", center.volume_types[0])
        if tier not in center.volume_types:
            raise bad_request(f"data center '{center.id}' does not offer {tier} network volumes")  # our assumption
        volume = Volume(new_id(10), body["name"], int(body["size"]), center.id, tier)
        # The directory first: a volume that is listed can always be mounted.
        self._ctx.config.volume_dir(volume.id).mkdir(parents=True)
        self._records.save_volume(volume)
        return answer(volume_json(volume), 201)

    async def _update(self, request: web.Request) -> web.Response:
        self._stored(request)
        body = await checked_body(request, bodies.update_volume)
        stored = self._stored(request)
        size = int(body.get("size", stored.size))
        if size < stored.size:
            raise bad_request(f"network volume size cannot be reduced (from {stored.size} GB to {size} GB)")
        volume = replace(stored, name=body.get("name", stored.name), size=size)
        self._records.save_volume(volume)
        return answer(volume_json(volume))

    async def _delete(self, request: web.Request) -> web.Response:
        volume = self._stored(request)
        users = [endpoint.id for endpoint in self._records.endpoints() if volume.id in endpoint.network_volumes]
        if users:
            # What the service does is not known (runpod-api-live.md §8): refusing is our assumption.
            raise bad_request(f"network volume is in use by endpoint {users[0]}")
        await discard(self._ctx.config, self._records, volume)
        return no_content()


async def discard(config: Config, records: Records, volume: Volume) -> None:
    """Delete record and directory. Renamed first, so that a kill in between leaves either all of it or nothing."""
    doomed = retire(config, volume.id)
    records.delete_volume(volume.id)
    await asyncio.to_thread(shutil.rmtree, doomed, ignore_errors=True)


def retire(config: Config, volume_id: str) -> Path:
    """Put the directory aside, to be deleted once its record is gone; `recover` undoes it while there is one."""
    folder = config.volume_dir(volume_id)
    doomed = config.volumes_dir / (_DOOMED + volume_id)
    if folder.is_dir():
        folder.rename(doomed)
    return doomed


def recover(config: Config, records: Records) -> None:
    """Finish or undo deletions that an earlier emulator was killed in, and give every volume its directory."""
    config.volumes_dir.mkdir(parents=True, exist_ok=True)
    for doomed in config.volumes_dir.glob(_DOOMED + "*"):
        volume_id = doomed.name.removeprefix(_DOOMED)
        if records.volume(volume_id) is None:
            shutil.rmtree(doomed, ignore_errors=True)
        elif not config.volume_dir(volume_id).exists():
            doomed.rename(config.volume_dir(volume_id))
    for volume in records.volumes():
        config.volume_dir(volume.id).mkdir(exist_ok=True)
