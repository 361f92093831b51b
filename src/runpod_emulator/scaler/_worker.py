"""One worker as the scaler keeps it: its session, its process, and when it reached which phase."""

import asyncio
import secrets
import string
from dataclasses import dataclass, field
from enum import Enum

from runpod_emulator.conditions import Fate
from runpod_emulator.model import Endpoint, Json, WorkerStatus, WorkerView
from runpod_emulator.ports import Container
from runpod_emulator.scaler._launch import Placement
from runpod_emulator.workers import INITIALIZING, WorkerSession

_ALPHABET = string.ascii_lowercase + string.digits


class Phase(Enum):
    THROTTLED = "no capacity, not started"
    STARTING = "image being fetched, process not there yet"
    ALIVE = "process there; ready as soon as it polls"
    STOPPING = "being ended on purpose"
    FAILING = "being ended because it is unhealthy"
    FAILED = "ended by itself or because it was unhealthy; to be replaced"


OCCUPYING = (Phase.STARTING, Phase.ALIVE, Phase.STOPPING, Phase.FAILING)
"""A process exists or is about to: counts against workers.max and the machine's slots."""


@dataclass(eq=False)
class Worker:
    endpoint_id: str
    version: int
    image: str
    placement: Placement
    session: WorkerSession
    phase: Phase
    queued_at: float
    image_ready_at: float | None = None
    started_at: float | None = None
    ended_at: float | None = None
    fate: Fate = field(default_factory=Fate)
    """What a lever has in store for it, as it was when it started."""
    reason: str | None = None
    """Why it is unhealthy or was stopped."""
    container: Container | None = None
    task: asyncio.Task[None] | None = field(default=None, repr=False)
    """Starts the process and waits for its end."""

    @property
    def id(self) -> str:
        return self.session.worker_id

    @property
    def busy(self) -> bool:
        return bool(self.session.jobs)

    @property
    def ready(self) -> bool:
        """Could take a job now, or works on one."""
        session = self.session
        return self.phase is Phase.ALIVE and session.ready and session.out is None and not session.draining

    @property
    def present(self) -> bool:
        """Counts as capacity: there, or on its way; not one that is leaving."""
        waiting = self.phase in (Phase.THROTTLED, Phase.STARTING, Phase.FAILING, Phase.FAILED)
        return waiting or (self.phase is Phase.ALIVE and not self.session.draining)

    @property
    def status(self) -> WorkerStatus | None:
        """As RunPod shows it; None for one that is not listed any more (runpod-api.md §1.2, Workers)."""
        match self.phase:
            case Phase.THROTTLED:
                return "THROTTLED"
            case Phase.STARTING:
                return "INITIALIZING"
            case Phase.FAILING | Phase.FAILED:
                return self.fate.shown_as or "UNHEALTHY"
            case Phase.STOPPING:
                return None
        if not self.session.ready:
            return "INITIALIZING"
        if self.session.out is not None:
            return "INITIALIZING" if self.session.health == INITIALIZING else "UNHEALTHY"
        return "RUNNING" if self.busy else "IDLE"

    def view(self) -> WorkerView | None:
        status = self.status
        if status is None:
            return None
        return WorkerView(
            id=self.id,
            status=status,
            version=self.version,
            image=self.image,
            gpu_type_id=self.placement.gpu_type_id,
            gpu_count=self.placement.gpu_count,
            data_center_id=self.placement.data_center_id,
            started_at=self.started_at,
        )

    def details(self) -> Json:
        """For GET /_emulator/endpoints/<id>/workers. `times` are seconds since the epoch, null for what is still to
        come; `phases` are the seconds that each finished step of the start took."""
        times = {
            "queued": self.queued_at,
            "imageReady": self.image_ready_at,
            "started": self.started_at,
            "firstPing": self.session.first_ping_at,
            "firstPoll": self.session.first_poll_at,
            "firstJob": self.session.first_job_at,
            "ended": self.ended_at,
        }
        steps = {
            "image": (self.queued_at, self.image_ready_at),
            "process": (self.image_ready_at or self.queued_at, self.started_at),
            "ready": (self.started_at, self.session.first_poll_at),
        }
        return {
            "id": self.id,
            "status": self.status or "STOPPING",
            "version": self.version,
            "pid": self.container.pid if self.container is not None else None,
            "port": self.session.http.app if self.session.http is not None else None,
            "reason": self.reason or self.session.out,
            "jobsInProgress": len(self.session.jobs),
            "jobsDone": self.session.jobs_done,
            "times": times,
            "phases": {
                name: round(end - begin, 3) for name, (begin, end) in steps.items() if begin and end is not None
            },
        }


@dataclass
class Backoff:
    """Failures in a row of one release. A worker that finishes a job ends the row."""

    version: int
    failures: int = 0
    not_before: float = 0.0


def new_worker_id() -> str:
    """14 lower-case letters and digits, beginning with a letter, as the published examples look."""
    return secrets.choice(string.ascii_lowercase) + "".join(secrets.choice(_ALPHABET) for _ in range(13))


def is_stale(worker: Worker, endpoint: Endpoint) -> bool:
    return worker.version != endpoint.version
