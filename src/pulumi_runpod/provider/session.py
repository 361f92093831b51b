"""What one configured provider shares between its resources: client, engine, cancellation, what it saw and made."""

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Coroutine
from contextvars import ContextVar
from pathlib import Path
from typing import Any, TypeVar

from pulumi_runpod.provider.config import Settings
from pulumi_runpod.provider.engine import Engine
from pulumi_runpod.provider.errors import Cancelled, Code, ProviderError
from pulumi_runpod.provider.journal import Journal
from runpod_rest import RATE_LIMIT, Client, Wait

Result = TypeVar("Result")
_LAST_WORDS_S = 3.0
"""The engine gives a plugin five seconds to end."""
_LAST_CALLS_S = 35.0
"""Nobody hurries us when the engine is gone: a create that is under way may be answered yet, and is noted then."""

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
        self.known_items: dict[str, dict[str, Any]] = {}
        """By kind of resource and id: what existed before our first create, and what we made since."""
        self.journal = Journal(None, "")
        """Creates that the engine may not know of yet."""
        self.project_dir = Path()
        """Where Pulumi.yaml is; paths in a program are relative to it."""
        self.seen_ids: set[str] = set()
        """Ids that the engine named, or that we made for it: they belong to somebody."""
        self.urns_in_state: set[str] = set()
        """Resources that the state held when this run began with them."""
        self.taken_over: set[tuple[str, str]] = set()
        """URN and id of what an interrupted run had left behind and this run took over."""
        self.creates_asked: set[str] = set()
        """URNs of which the engine asked a create in this run."""
        self.changes_things = False
        """The engine asked for a change that was no preview."""
        self.waiting_until_ready = 0
        """Endpoints whose workers are looked at now; they share the rate limit."""
        self.create_locks: defaultdict[tuple[str, str], asyncio.Lock] = defaultdict(asyncio.Lock)
        self._client = client
        self._entered = client is not None
        self._opening = asyncio.Lock()
        self._notices: set[asyncio.Task[None]] = set()
        self._work: set[asyncio.Task[Any]] = set()

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
                    sleep=self.pause,
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

    async def finish(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Await `work`, which goes on to its end also when the engine gives up waiting for us."""
        task = asyncio.create_task(work)
        self._work.add(task)
        task.add_done_callback(self._work_done)
        return await asyncio.shield(task)

    async def close(self, *, engine_is_gone: bool = False) -> None:
        """End. Unless the engine is gone it ends us in good order, and has written down every answer it got."""
        self.cancel()
        if self._work:
            await asyncio.wait(self._work, timeout=_LAST_CALLS_S if engine_is_gone else _LAST_WORDS_S)
        for task in self._work:
            task.cancel()
        if not engine_is_gone:
            self.journal.close()
        if self._client is not None and self._entered:
            await self._client.__aexit__(None, None, None)
        self._client = None
        for notice in self._notices:
            notice.cancel()

    def _tell_wait(self, wait: Wait) -> None:
        if wait.seconds < 1:
            return
        if wait.reason == RATE_LIMIT:
            message = f"waiting {wait.seconds:.0f} s for RunPod's rate limit"
        else:
            message = f"waiting {wait.seconds:.0f} s for RunPod ({wait.reason})"
        notice = asyncio.get_running_loop().create_task(self.engine.status(current_urn.get(), message))
        self._notices.add(notice)
        notice.add_done_callback(self._notices.discard)

    def _work_done(self, task: asyncio.Task[Any]) -> None:
        self._work.discard(task)
        if not task.cancelled():
            task.exception()  # whoever still waits gets it; else nobody is left to hear it
