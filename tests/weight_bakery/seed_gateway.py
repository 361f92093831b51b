"""versitygw with one volume, and a proxy before it that answers badly when told to."""

import asyncio
import io
import os
import socket
import subprocess
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
from aiohttp import web

from tests.weight_bakery.proxy import serving

VOLUME = "vol1a2b3c"
ACCESS, SECRET = "user_test", "rps_test_secret_key"


@contextmanager
def running_gateway(program: Path, folder: Path) -> Iterator[str]:
    """versitygw over `folder`; yields its address. A volume is a folder in there."""
    (folder / VOLUME).mkdir(parents=True)
    (folder.parent / "sidecar").mkdir()
    for _ in range(5):  # a port that was free a moment ago may be taken by now
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        process = subprocess.Popen(
            [program, "--port", f"127.0.0.1:{port}", "posix", "--sidecar", f"{folder.parent}/sidecar", folder],
            env={**os.environ, "ROOT_ACCESS_KEY_ID": ACCESS, "ROOT_SECRET_ACCESS_KEY": SECRET},
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            if _listens(process, port):
                yield f"127.0.0.1:{port}"
                return
        finally:
            process.terminate()
            process.wait(timeout=20)
    raise AssertionError("versitygw does not start")


def _listens(process: "subprocess.Popen[bytes]", port: int) -> bool:
    for _ in range(200):
        if process.poll() is not None:
            return False
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return True
        time.sleep(0.05)
    return False


_LOCAL = frozenset({"content-length", "transfer-encoding", "expect", "connection"})

Hook = Callable[[str, web.Request], Awaitable[web.StreamResponse | None]]


@dataclass
class Gate:
    """Passes requests on and counts them by call; `before` and `after` may answer in the gateway's place."""

    target: str
    url: str = ""
    before: Hook | None = None
    after: Hook | None = None
    seen: Counter[str] = field(default_factory=Counter)
    sent: int = 0
    """Bytes of bodies that reached the gateway."""
    order: list[str] = field(default_factory=list)
    """Keys in the order in which they became visible."""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """One request."""
        call = call_of(request)
        self.seen[call] += 1
        body = await request.read()
        if self.before is not None and (answer := await self.before(call, request)) is not None:
            return answer
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _LOCAL}
        if body:
            headers["Content-Length"] = str(len(body))
        # The signature covers the Host header: it must arrive as the client wrote it.
        async with (
            aiohttp.ClientSession(auto_decompress=False, skip_auto_headers=("Content-Type", "Accept")) as session,
            session.request(
                request.method,
                f"http://{self.target}{request.raw_path}",
                data=io.BytesIO(body) if body else None,
                headers=headers,
            ) as far,
        ):
            content = await far.read()
            self.sent += len(body) if call in ("PutObject", "UploadPart") and far.status == 200 else 0
            if call in ("PutObject", "CompleteMultipartUpload") and far.status == 200:
                self.order.append(request.path.removeprefix(f"/{VOLUME}/"))
            if self.after is not None and (answer := await self.after(call, request)) is not None:
                return answer
            kept = {
                name: value for name, value in far.headers.items()
                if name.lower() not in ("transfer-encoding", "connection", "content-length", "date", "server")
            }  # fmt: skip
            if request.method == "HEAD" and "Content-Length" in far.headers:
                kept["Content-Length"] = far.headers["Content-Length"]
            return web.Response(status=far.status, body=content, headers=kept)


def call_of(request: web.Request) -> str:
    """The name of an S3 call."""
    query, key = request.query, request.path.strip("/").partition("/")[2]
    if request.method == "POST":
        return "DeleteObjects" if "delete" in query else "Create" if "uploads" in query else "CompleteMultipartUpload"
    if request.method == "PUT":
        return "UploadPart" if "partNumber" in query else "PutObject"
    if request.method == "DELETE":
        return "Abort" if "uploadId" in query else "DeleteObject"
    if request.method == "GET":
        return "ListUploads" if "uploads" in query else "ListParts" if "uploadId" in query else "Get" if key else "List"
    return "Head"


@asynccontextmanager
async def gate_before(target: str) -> AsyncIterator[Gate]:
    """A gate that is open."""
    gate = Gate(target)
    async with serving(gate.handle) as host:
        gate.url = f"http://{host}"
        yield gate


def fail(times: int, calls: set[str]) -> Hook:
    """A hook that answers 502 to the first `times` of each of `calls`."""
    left = dict.fromkeys(calls, times)

    async def hook(call: str, request: web.Request) -> web.StreamResponse | None:
        del request
        await asyncio.sleep(0)
        if left.get(call, 0):
            left[call] -= 1
            return web.Response(status=502, text="<html>bad gateway</html>")
        return None

    return hook
