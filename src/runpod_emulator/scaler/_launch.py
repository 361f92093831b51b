"""Everything a worker is started with: place, volume, command, environment (runpod-api.md §3.1)."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote_plus

from runpod_emulator.balancer import http_env
from runpod_emulator.context import Context
from runpod_emulator.control.catalog_data import DATA_CENTERS, GPUS
from runpod_emulator.model import ContainerSpec, Endpoint
from runpod_emulator.workers import WorkerSession

_SECRET_NAME = re.compile(r"TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIAL|(^|_)KEY($|_)", re.IGNORECASE)
_SHORTEST_SECRET = 8
"""A shorter value is no secret worth hiding, and hiding it would garble the logs."""


@dataclass(frozen=True)
class Placement:
    """Where a worker runs, as RunPod would say it."""

    gpu_type_id: str | None
    gpu_count: int
    data_center_id: str | None
    volume_id: str | None
    pool: str | None = None


HasRoom = Callable[[str | None, str | None], bool]
"""(pool, GPU type) -> whether one more worker can run there."""


def place(endpoint: Endpoint, ctx: Context, has_room: HasRoom) -> Placement:
    """The first fitting choice everywhere, of GPU types the first with room, else the first (our assumption).

    A network volume pins the worker to its data centre, and only the local one is mounted (runpod-api.md §2.3).
    """
    gpu_type, count, pool = None, 0, None
    if endpoint.gpu is not None:
        excluded = set(endpoint.gpu.get("excludedTypes") or ())
        count = int(endpoint.gpu.get("count", 1))
        fitting = [g for p in endpoint.gpu["pools"] for g in GPUS if g.pool == p and g.id not in excluded]
        if fitting:
            chosen = next((g for g in fitting if has_room(g.pool, g.id)), fitting[0])
            gpu_type, pool = chosen.id, chosen.pool
    for volume_id in endpoint.network_volumes:
        center = ctx.endpoints.volume_data_center(volume_id)
        if center is not None and (not endpoint.data_center_ids or center in endpoint.data_center_ids):
            return Placement(gpu_type, count, center, volume_id, pool)
    somewhere = (d.id for d in DATA_CENTERS if pool is None or pool in d.gpu_pools)
    center = endpoint.data_center_ids[0] if endpoint.data_center_ids else next(somewhere, None)
    return Placement(gpu_type, count, center, None, pool)


def container_spec(endpoint: Endpoint, session: WorkerSession, placement: Placement, ctx: Context) -> ContainerSpec:
    registry_auth = ctx.endpoints.registry_auth(endpoint.registry) if endpoint.registry else None
    return ContainerSpec(
        worker_id=session.worker_id,
        endpoint_id=endpoint.id,
        image=endpoint.image,
        # The endpoint's env comes first, so that no endpoint can redirect its workers or change their identity.
        env={**endpoint.env, **platform_env(endpoint, session, placement, ctx)},
        entrypoint=endpoint.entrypoint,
        cmd=endpoint.cmd,
        volume_dir=_volume_dir(placement, ctx),
        registry_auth=registry_auth,
        secrets=(session.key, *(registry_auth or ())[1:], *secret_values(endpoint.env)),
    )


def platform_env(endpoint: Endpoint, session: WorkerSession, placement: Placement, ctx: Context) -> Mapping[str, str]:
    """What RunPod injects. `$ID` and `$RUNPOD_POD_ID` go through literally: the SDK replaces them itself."""
    env = {
        **(_queue_env(endpoint, session, placement, ctx) if session.http is None else http_env(endpoint, session.http)),
        "RUNPOD_POD_ID": session.worker_id,
        "RUNPOD_POD_HOSTNAME": f"{session.worker_id}-local",
        "RUNPOD_ENDPOINT_ID": endpoint.id,
        "RUNPOD_GPU_COUNT": str(placement.gpu_count),
    }
    if placement.data_center_id is not None:
        env["RUNPOD_DC_ID"] = placement.data_center_id
    if placement.volume_id is not None:
        env["RUNPOD_VOLUME_ID"] = placement.volume_id
    # This machine may reach no 8.8.8.8:53 and has no GPU: the SDK's own checks would end every worker (§3.6). An
    # endpoint that wants them sets the variables itself.
    for name in ("RUNPOD_SKIP_AUTO_SYSTEM_CHECKS", "RUNPOD_SKIP_GPU_CHECK"):
        if name not in endpoint.env:
            env[name] = "true"
    return env


def _queue_env(endpoint: Endpoint, session: WorkerSession, placement: Placement, ctx: Context) -> dict[str, str]:
    """Where the SDK takes its jobs from. Load balancers' workers get none of it (our assumption): a worker that has to
    find out what it is part of tells by it."""
    base = f"{ctx.base_url}/v2/{endpoint.id}"
    query = f"?gpu={quote_plus(placement.gpu_type_id or 'CPU')}"
    # The SDK divides by 1000 and sleeps that many seconds; below 1000 its ping process dies (§3.1).
    interval_ms = max(1000, round(ctx.config.timing.ping_interval_s * 1000))
    return {
        "RUNPOD_WEBHOOK_GET_JOB": f"{base}/job-take/$ID{query}",
        "RUNPOD_WEBHOOK_POST_OUTPUT": f"{base}/job-done/$RUNPOD_POD_ID/$ID{query}",
        "RUNPOD_WEBHOOK_POST_STREAM": f"{base}/job-stream/$RUNPOD_POD_ID/$ID{query}",
        "RUNPOD_WEBHOOK_PING": f"{base}/ping/$RUNPOD_POD_ID{query}",
        "RUNPOD_PING_INTERVAL": str(interval_ms),
        "RUNPOD_AI_API_KEY": session.key,
    }


def _volume_dir(placement: Placement, ctx: Context) -> Path | None:
    if placement.volume_id is None:
        return None
    directory = ctx.config.volume_dir(placement.volume_id)
    directory.mkdir(parents=True, exist_ok=True)
    return directory


def secret_values(env: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(value for name, value in env.items() if _SECRET_NAME.search(name) and len(value) >= _SHORTEST_SECRET)
