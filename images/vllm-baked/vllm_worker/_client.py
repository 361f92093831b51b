"""The way to vLLM: one HTTP client on a private address."""

import asyncio
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import aiohttp

FOLDER_PREFIX = "vllm-worker-"
SOCKET_PATH_BYTES = 100
"""Linux allows 107; a TMPDIR may be longer."""


@dataclass(frozen=True)
class Address:
    """Where vLLM listens: a Unix socket in a folder that only this user can open, or a loopback port."""

    socket: str | None = None
    port: int | None = None

    @classmethod
    def choose(cls, port: int | None) -> "Address":
        """A socket in a fresh folder; a port only where somebody asked for one."""
        if port is not None:
            return cls(port=port)
        folder = tempfile.mkdtemp(prefix=FOLDER_PREFIX)
        if len(f"{folder}/vllm.sock") > SOCKET_PATH_BYTES:
            Path(folder).rmdir()
            folder = tempfile.mkdtemp(prefix=FOLDER_PREFIX, dir="/tmp")
        return cls(socket=f"{folder}/vllm.sock")

    @property
    def arguments(self) -> tuple[str, ...]:
        """The arguments that make vLLM listen here."""
        if self.socket is not None:
            return (f"--uds={self.socket}",)
        return ("--host=127.0.0.1", f"--port={self.port}")

    @property
    def base_url(self) -> str:
        """What routes are appended to; over a Unix socket the host is only a name."""
        return "http://vllm.internal" if self.socket is not None else f"http://127.0.0.1:{self.port}"

    def remove(self) -> None:
        """Remove the socket and its folder."""
        if self.socket is not None:
            shutil.rmtree(Path(self.socket).parent, ignore_errors=True)


def open_session(address: Address, timeout_s: float) -> aiohttp.ClientSession:
    """A client for one event loop. The caller closes it."""
    # vLLM keeps idle connections for 120 s: the client must be the one who closes them.
    connector: aiohttp.BaseConnector
    if address.socket is not None:
        connector = aiohttp.UnixConnector(path=address.socket, limit=0, keepalive_timeout=30)
    else:
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=30)
    return aiohttp.ClientSession(
        connector=connector,
        timeout=aiohttp.ClientTimeout(total=timeout_s),
        auto_decompress=False,
        headers={"Accept-Encoding": "identity"},
        trust_env=False,
    )


async def health(session: aiohttp.ClientSession, address: Address, within_s: float = 5.0) -> int | None:
    """The status of vLLM's /health, or None while nobody answers there."""
    try:
        async with asyncio.timeout(within_s), session.get(f"{address.base_url}/health") as response:
            return response.status
    except (aiohttp.ClientError, TimeoutError, OSError):
        return None
