"""The container's health check, as the image runs it."""

import asyncio
import sys
from pathlib import Path

from aiohttp import web

from tests.vllm_worker.support import CODE


async def check(folder: Path, **environment: str) -> int:
    paths = ":".join(str(path) for path in CODE) + ":" + ":".join(sys.path)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "vllm_worker.healthcheck",
        env={"TMPDIR": str(folder), "PYTHONPATH": paths, **environment},
    )  # fmt: skip
    return await process.wait()


async def test_healthy_means_that_vllm_says_so(tmp_path: Path) -> None:
    """1 without a worker, 0 while /health answers 200, 1 when the engine is dead; by socket and by port."""
    status = 200

    async def health(_: web.Request) -> web.Response:
        return web.Response(status=status)

    assert await check(tmp_path) == 1
    app = web.Application()
    app.router.add_get("/health", health)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    folder = tmp_path / "vllm-worker-x"
    folder.mkdir()
    await web.UnixSite(runner, str(folder / "vllm.sock")).start()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = str(runner.addresses[-1][1])
    assert await check(tmp_path) == 0
    assert await check(tmp_path / "nowhere", VLLM_PORT=port) == 0
    status = 503
    assert await check(tmp_path) == 1
    assert await check(tmp_path, VLLM_PORT=port) == 1
    await runner.cleanup()
