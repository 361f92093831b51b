"""A server like the Hugging Face Hub for one folder: `bench/model`, one commit; files are LFS files of known sha256.

`python -m benchmarks._bake_hub <folder>` serves it until its standard input ends, and prints its address.
"""

import asyncio
import hashlib
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from aiohttp import web

from benchmarks._bake_wire import Faults, announced, damaged, serving

REPOSITORY = "bench/model"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
_PIECE = 1 << 18


class Hub:
    """The server; `faults` damages what it sends of files."""

    def __init__(self, folder: Path, faults: Faults | None = None) -> None:
        self._folder = folder
        self._faults = faults
        self._files = {path.name: _entry(path) for path in sorted(folder.iterdir())}
        self.origin = ""

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Hub"]:
        """Listen on a free port of loopback."""
        async with serving(self._handle) as host:
            self.origin = f"http://{host}"
            yield self

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        path = request.path
        if path.startswith(f"/api/models/{REPOSITORY}/tree/"):
            return web.json_response([self._tree(name) for name in self._files])
        if path.startswith(f"/api/models/{REPOSITORY}"):
            return web.json_response(self._info())
        resolve = re.fullmatch(rf"/{REPOSITORY}/resolve/{COMMIT}/(.+)", path)
        if resolve and resolve[1] in self._files:
            size, digest, _ = self._files[resolve[1]]
            linked = {"X-Linked-Etag": f'"{digest}"', "X-Linked-Size": str(size), "X-Repo-Commit": COMMIT}
            return web.Response(status=302, headers={**linked, "Location": f"{self.origin}/storage/{resolve[1]}"})
        name = path.removeprefix("/storage/")
        if name not in self._files:
            return web.Response(status=404, headers={"X-Error-Code": "EntryNotFound"})
        if self._faults is None:
            return web.FileResponse(self._folder / name, chunk_size=_PIECE)
        return await self._send(request, (self._folder / name).read_bytes(), self._faults)

    async def _send(self, request: web.Request, content: bytes, faults: Faults) -> web.StreamResponse:
        total, headers, status = len(content), {}, 200
        if wanted := request.headers.get("Range"):
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            headers["Content-Range"] = f"bytes {start}-{total - 1}/{total}"
            content, status = content[start:], 206
        fault = faults.next("from the Hub", len(content))
        headers["Content-Length"] = str(announced(len(content), fault))
        response = web.StreamResponse(status=status, headers=headers)
        await response.prepare(request)
        async for chunk in damaged(_pieces(content), fault):
            await response.write(chunk)
        return response

    def _info(self) -> dict[str, object]:
        siblings = [
            {"rfilename": name, "size": size, "blobId": git, "lfs": {"sha256": digest, "size": size, "pointerSize": 1}}
            for name, (size, digest, git) in self._files.items()
        ]
        return {"id": REPOSITORY, "modelId": REPOSITORY, "sha": COMMIT, "private": False, "tags": [],
                "siblings": siblings}  # fmt: skip

    def _tree(self, name: str) -> dict[str, object]:
        size, digest, git = self._files[name]
        lfs = {"oid": digest, "size": size, "pointerSize": 1}
        return {"type": "file", "path": name, "size": size, "oid": git, "lfs": lfs}


def _entry(path: Path) -> tuple[int, str, str]:
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return path.stat().st_size, digest, digest[:40]  # git's name of a pointer file, which nobody compares


async def _pieces(content: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(content), _PIECE):
        yield content[start : start + _PIECE]


async def _serve(folder: Path) -> None:
    async with Hub(folder).running() as hub:
        print(hub.origin, flush=True)
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(_serve(Path(sys.argv[1])))
