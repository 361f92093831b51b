"""What an emulator is started with. Nothing here is read from the environment, and nothing changes while it runs.

Every default that RunPod documents cites its place in the reference (`runpod-api.md`, `runpod-api-live.md`); the others
are marked "our assumption" and listed in docs/emulator-assumptions.md.
"""

from dataclasses import dataclass, field
from pathlib import Path

DEFAULT_PORT = 8900
MAX_BODY_BYTES = 102_400
"""A larger request body of the control plane is refused with 413 (runpod-api-live.md §2.5)."""


@dataclass(frozen=True)
class Mount:
    """A host folder that every worker sees read-only, for example the vLLM environment at /opt/vllm."""

    source: Path
    target: str


@dataclass(frozen=True)
class RateWindow:
    """One window of the `RateLimit-Policy` header: at most `quota` requests in `seconds`."""

    name: str
    quota: int
    seconds: int


@dataclass(frozen=True)
class Timing:
    """Every wait of the emulator in seconds, so that a test can shorten it without touching a clock."""

    init_timeout_s: float = 420.0
    """A worker that is not ready by then is UNHEALTHY; the env RUNPOD_INIT_TIMEOUT overrides it (§2.7: 7 min)."""
    run_retention_s: float = 1800.0
    """Results of /run are kept this long (§2.7: 30 min)."""
    sync_retention_s: float = 60.0
    """Results of /runsync are kept this long (§2.7: 1 min)."""
    job_ttl_s: float = 86_400.0
    """A job without `policy.ttl` vanishes after this (§2.7: 24 h)."""
    execution_timeout_s: float = 600.0
    """Limit of one execution where neither request nor endpoint names one (§2.7)."""
    sync_wait_s: float = 90.0
    """How long /runsync waits without `?wait=` (§2.7)."""
    stream_wait_s: float = 10.0
    """How long /stream holds an empty answer without `?wait=` (runpod-api-live.md §3)."""
    take_poll_s: float = 30.0
    """How long job-take is held when there is no job (§3.3: 20 to 60 s, below the SDK's 90 s)."""
    stop_poll_s: float = 30.0
    """How long job-stop is held when nothing is to be stopped (§3.2 row 3)."""
    ping_interval_s: float = 10.0
    """Given to workers as RUNPOD_PING_INTERVAL (§3.1: 10000 ms)."""
    lost_after_s: float = 30.0
    """A worker silent for this long is lost: three missed pings (§9: 2 to 3 intervals)."""
    scaler_tick_s: float = 0.5
    """Longest pause between two looks of the scaler (our assumption)."""
    stop_grace_s: float = 10.0
    """Between SIGTERM and SIGKILL when a worker is stopped (our assumption)."""
    restart_backoff_s: float = 2.0
    """First pause before a failed worker is replaced; doubles per failure (our assumption)."""
    health_interval_s: float = 1.0
    """Between two health checks of a load balancer's worker (our assumption)."""
    health_timeout_s: float = 5.0
    """A health check that takes longer counts as none (our assumption)."""
    worker_wait_s: float = 120.0
    """How long a request to a load balancer waits for a worker (§2.2: 2 min)."""
    affinity_wait_s: float = 300.0
    """The same for one that insists on a certain worker (§2.2: about 5 min)."""
    balanced_request_s: float = 330.0
    """How long a worker may take for one request to a load balancer (§2.2: 5.5 min)."""
    webhook_retry_s: float = 10.0
    """Pause between the attempts of a webhook (§2.7: 2 more tries, 10 s apart)."""
    log_heartbeat_s: float = 15.0
    """An SSE log stream without lines sends a comment this often, so that a dead client is noticed (our assumption)."""


@dataclass(frozen=True)
class Config:
    """One emulator. `state_dir` belongs to it alone while it runs (see `runpod_emulator.state`)."""

    state_dir: Path
    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    """0 lets the system choose; the ready line names the port."""
    image_root: Path | None = None
    """Images `oci:<dir>:<tag>` are looked up below this folder and nowhere else."""
    mounts: tuple[Mount, ...] = ()
    api_key: str | None = field(default=None, repr=False)
    """None: the key in `<state_dir>/api-key`, made at the first start."""
    page_size: int = 1000
    """Items per page of the paginated lists, and the largest `limit` (runpod-api-live.md §2.1)."""
    enforce_rate_limits: bool = False
    """Answer 429 when a window is used up. Off, the headers are sent but nobody is refused."""
    rate_windows: tuple[RateWindow, ...] = (
        RateWindow("minute", 6_000, 60),
        RateWindow("hour", 300_000, 3_600),
        RateWindow("day", 5_000_000, 86_400),
    )
    """Real quotas are not published (§1.1 shows examples only): generous by default (our assumption)."""
    edge_user_agent_rule: bool = False
    """Refuse a missing or default Python User-Agent as RunPod's edge does (runpod-api-live.md §3, Edge)."""
    worker_quota: int = 10
    """Sum of `workers.max` over all endpoints (runpod-api-live.md §3 row 9)."""
    worker_slots: int | None = None
    """How many workers this machine may run at once; one more is THROTTLED. None: no limit (our assumption)."""
    timing: Timing = Timing()

    @property
    def database(self) -> Path:
        return self.state_dir / "emulator.sqlite3"

    @property
    def volumes_dir(self) -> Path:
        return self.state_dir / "volumes"

    @property
    def cache_dir(self) -> Path:
        return self.state_dir / "cache"

    @property
    def workers_dir(self) -> Path:
        return self.state_dir / "workers"

    @property
    def lock_file(self) -> Path:
        return self.state_dir / "emulator.lock"

    @property
    def key_file(self) -> Path:
        return self.state_dir / "api-key"

    def volume_dir(self, volume_id: str) -> Path:
        """The directory behind a network volume; workers see it at /runpod-volume."""
        return self.volumes_dir / volume_id
