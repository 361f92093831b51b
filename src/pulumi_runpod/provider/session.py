"""What one configured provider shares between its resources: client, engine, cancellation, what it has seen."""

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable
from contextvars import ContextVar

from pulumi_runpod.provider.config import Settings
from pulumi_runpod.provider.engine import Engine
from pulumi_runpod.provider.errors import Cancelled, Code, ProviderError
from runpod_rest import Client, RunPodError, Wait

current_urn: ContextVar[str] = ContextVar("current_urn", default="")
"""The resource that is being worked on, for messages that arise deep below."""


class Session:
    """Everything an operation needs beside its own inputs. Closed by `close`."""

    def __init__(
        self,
        settings: Settings,
        engine: Engine,
        *,
        client: Client | None = None,
        clock: Callable[[], float] = time.monotonic,
        poll_s: float = 1.0,
    ) -> None:
        self.settings = settings
        self.engine = engine
        self.clock = clock
        self.poll_s = poll_s
        """Pause between two looks at the cloud; tests shorten it."""
        self.cancelled = asyncio.Event()
        self.known_ids: dict[str, set[str]] = {}
        """By kind of resource: what existed before our first create, and what we made since."""
        self.create_locks: defaultdict[tuple[str, str], asyncio.Lock] = defaultdict(asyncio.Lock)
        self._client = client
        self._entered = client is not None
        self._opening = asyncio.Lock()
        self._notices: set[asyncio.Task[None]] = set()

    async def client(self) -> Client:
        """The API client, or one clear error where there is no key."""
        if not self.settings.api_key:
            raise ProviderError(self.settings.missing_key, Code.UNAUTHENTICATED)
        async with self._opening:
            if self._client is None:
                self._client = Client(
                    self.settings.api_key,
                    self.settings.api_url,
                    self.settings.jobs_url,
                    loopback_only=self.settings.loopback_only,
                    on_wait=self._tell_wait,
                )
                await self._client.__aenter__()
                self._entered = True
        return self._client

    @property
    def has_key(self) -> bool:
        return bool(self.settings.api_key)

    async def pause(self, seconds: float) -> None:
        """Sleep, but no longer than until the engine cancels; then raise `Cancelled`."""
        try:
            await asyncio.wait_for(self.cancelled.wait(), seconds)
        except TimeoutError:
            return
        raise Cancelled

    def cancel(self) -> None:
        self.cancelled.set()

    async def close(self) -> None:
        if self._client is not None and self._entered:
            await self._client.__aexit__(None, None, None)
        self._client = None
        for notice in self._notices:
            notice.cancel()

    def _tell_wait(self, wait: Wait) -> None:
        if wait.seconds < 1:
            return
        message = f"waiting {wait.seconds:.0f} s for RunPod ({wait.reason})"
        notice = asyncio.get_running_loop().create_task(self.engine.status(current_urn.get(), message))
        self._notices.add(notice)
        notice.add_done_callback(self._notices.discard)


class ContentUnavailable(Exception):
    """Something that only RunPod knows cannot be had now: no key, or no connection."""

    def __init__(self, why: str) -> None:
        self.why = why
        super().__init__(why)


def is_unreachable(error: Exception) -> bool:
    """Whether an error means "nobody there", as against "somebody said no"."""
    return isinstance(error, RunPodError) and error.__class__.__name__ == "NetworkError"
