"""The seams between the emulator's planes. Each has one real implementation and may have fakes in tests."""

from collections.abc import AsyncIterator, Sequence
from typing import Protocol

from runpod_emulator.model import ContainerSpec, Endpoint, WorkerView


class Endpoints(Protocol):
    """What the job and worker planes may ask of the control plane's state."""

    def endpoint(self, endpoint_id: str) -> Endpoint | None: ...

    def endpoints(self) -> list[Endpoint]: ...

    def registry_auth(self, registry_id: str) -> tuple[str, str] | None: ...

    def volume_data_center(self, volume_id: str) -> str | None: ...


class Fleet(Protocol):
    """What the control plane may ask of the scaler and its workers."""

    def workers(self, endpoint_id: str) -> list[WorkerView]: ...

    def endpoint_changed(self, endpoint_id: str) -> None:
        """The endpoint was created or changed; scale it soon. Never blocks."""

    async def endpoint_deleted(self, endpoint_id: str) -> None:
        """Stop the endpoint's workers and cancel its jobs."""


class Container(Protocol):
    """A started worker process group."""

    worker_id: str
    pid: int

    async def wait(self) -> int:
        """Exit code of the process; negative for a signal."""

    async def stop(self, grace_s: float) -> None:
        """SIGTERM, then after `grace_s` seconds SIGKILL to the whole group. Returns when nothing of it is left."""


class Host(Protocol):
    """Turns images into running workers on this machine."""

    async def start(self, spec: ContainerSpec) -> Container:
        """Fetch, verify and unpack the image (once per digest), then start it. Raises HostError in one line."""

    async def reap(self) -> int:
        """End whatever an earlier emulator on this state directory left running. Returns how many were found."""

    def logs(self, worker_id: str) -> "WorkerLog": ...


class LogLine(Protocol):
    """Read only, so that a frozen record fits."""

    @property
    def id(self) -> str:
        """`<RFC 3339 ts>/<12-digit sequence>`, as the SSE `id` field."""

    @property
    def ts(self) -> str: ...

    @property
    def source(self) -> str: ...

    @property
    def line(self) -> str: ...


class WorkerLog(Protocol):
    """One worker's log; two sources: `container` (its output) and `system` (what the host did)."""

    def append(self, source: str, line: str) -> None: ...

    def read(
        self, *, tail: int | None, since: str | None, after_id: str | None, source: str | None
    ) -> Sequence[LogLine]: ...

    def follow(self, *, after_id: str | None, source: str | None) -> AsyncIterator[LogLine]: ...
