"""What a worker's environment asks for: arguments of `vllm serve`, the worker's own settings, and every mistake.

Reading never stops at the first mistake and never touches a file: the same call serves a preview on a laptop.
"""

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields

from vllm_options._errors import BadValue
from vllm_options._extra import check_extra
from vllm_options._known import (
    ALIASES,
    CHILD_NAMES,
    CHILD_PREFIXES,
    FOREIGN_PREFIXES,
    IGNORED,
    REFUSED,
    SECRETS,
    ZERO_MEANS_UNSET,
)
from vllm_options._names import nearest
from vllm_options._schema import Schema, parse_bool

DEFAULT_CONCURRENCY = 30
MODES = ("queue", "load_balancer", "pod")


@dataclass(frozen=True)
class Problem:
    """One mistake, with the variable that it is about."""

    name: str
    message: str
    hint: str

    def __str__(self) -> str:
        return f"{self.name}: {self.message}; {self.hint}" if self.hint else f"{self.name}: {self.message}"


@dataclass(frozen=True)
class WorkerSettings:
    """The worker's own variables."""

    max_concurrency: int = DEFAULT_CONCURRENCY
    """MAX_CONCURRENCY: jobs taken at once; without it MAX_NUM_SEQS, else 30."""
    vllm_port: int | None = None
    """VLLM_PORT: bind vLLM to this port of 127.0.0.1 instead of a private Unix socket."""
    vllm_startup_timeout: float = 1200.0
    """VLLM_STARTUP_TIMEOUT: seconds until a vLLM that is not ready is given up."""
    request_timeout: float = 3600.0
    """REQUEST_TIMEOUT: seconds for one request, first byte to last."""
    worker_drain_timeout: float = 30.0
    """WORKER_DRAIN_TIMEOUT: seconds that running jobs get after SIGTERM."""
    worker_warmup: bool = True
    """WORKER_WARMUP: send one small request before the first job."""
    worker_backoff: bool = True
    """WORKER_BACKOFF: after three failed starts in a row, pause before vLLM is started again."""
    worker_cache_harvest: str | None = None
    """WORKER_CACHE_HARVEST: folder for start-up caches that the image does not hold yet, for `bake harvest`."""
    worker_mode: str | None = None
    """WORKER_MODE: queue, load_balancer or pod; without it the worker tells by RunPod's own variables what it is in."""
    port: int = 80
    """PORT: where the load-balancer and Pod modes listen (80 as RunPod's load balancer expects unless it is told)."""
    port_health: int | None = None
    """PORT_HEALTH: a second port that answers health checks, where it is not PORT."""
    health_check_path: str = "/ping"
    """HEALTH_CHECK_PATH: answered beside /ping, which RunPod asks for whatever this says."""
    worker_api_key: str | None = field(default=None, repr=False)
    """WORKER_API_KEY: what callers of a Pod must send (`Authorization: Bearer` or `X-Api-Key`)."""
    worker_allow_no_key: bool = False
    """WORKER_ALLOW_NO_KEY: a Pod that anybody may use."""
    worker_max_body_bytes: int = 30_000_000
    """WORKER_MAX_BODY_BYTES: the largest request that the load-balancer and Pod modes read (RunPod's own limit is
    30 MB)."""
    worker_max_tokens: int = 0
    """WORKER_MAX_TOKENS: the most tokens that one request may ask for, over all its answers and prompts; 0 is none."""
    worker_require_max_tokens: bool = False
    """WORKER_REQUIRE_MAX_TOKENS: refuse requests that do not say how long their answer may be; WORKER_MAX_TOKENS
    implies it."""
    worker_allowed_models: frozenset[str] = frozenset()
    """WORKER_ALLOWED_MODELS: names, between commas, that requests may call models by (adapters too); without it all."""
    worker_tag_rate: int = 0
    """WORKER_TAG_RATE: requests a minute that one feature or one user may send to this worker; 0 is no limit."""
    worker_metrics_interval: float = 60.0
    """WORKER_METRICS_INTERVAL: seconds between the log's lines of figures in queue mode; 0 is none."""
    base_path: str | None = None
    """BASE_PATH: the Hugging Face cache lies in its huggingface-cache/hub."""
    vllm_extra_args: tuple[str, ...] = ()
    """VLLM_EXTRA_ARGS: further arguments of `vllm serve`, after all others."""
    worker_ignore_env: frozenset[str] = frozenset()
    """WORKER_IGNORE_ENV: names, between commas, that look like options and are not."""


_WORKER_NAMES = frozenset(one.name.upper() for one in fields(WorkerSettings))


@dataclass(frozen=True)
class Plan:
    """A whole environment, read. Only a plan without problems may be carried out."""

    model: str
    arguments: tuple[str, ...]
    """Arguments of `vllm serve` after the model."""
    served_names: tuple[str, ...]
    """Names that requests may call the model by; the first one is the default."""
    given: frozenset[str]
    """Option variables (MAX_MODEL_LEN) that the environment, or VLLM_EXTRA_ARGS, decides."""
    settings: WorkerSettings
    environment: Mapping[str, str]
    """What vLLM's process may see."""
    secrets: tuple[str, ...]
    """Values that must not be shown."""
    notes: tuple[str, ...]
    problems: tuple[Problem, ...]


def read_environment(environ: Mapping[str, str], schema: Schema) -> Plan:
    """Read a worker's environment against one vLLM version's options.

    Empty values count as unset. Nothing is raised for a mistake: all of them are in `Plan.problems`.
    """
    return _Reader({name: value for name, value in environ.items() if value.strip()}, schema).read()


class _Reader:
    def __init__(self, environ: Mapping[str, str], schema: Schema) -> None:
        self.environ = environ
        self.schema = schema
        self.problems: list[Problem] = []
        self.notes: list[str] = []

    def read(self) -> Plan:
        settings = self._settings()
        values = self._option_values()
        arguments, served, given = self._arguments(values)
        extra = check_extra(settings.vllm_extra_args, self.schema)
        for message, hint in extra.problems:
            self._problem("VLLM_EXTRA_ARGS", message, hint)
        self._strangers(settings.worker_ignore_env)
        if "MODEL_NAME" not in self.environ and "VLLM_CONFIG_FILE" not in self.environ:
            self._problem("MODEL_NAME", "is not set", "give a Hugging Face id or the path of a model folder")
        environment = self._child_environment(settings)
        model = self.environ.get("MODEL_NAME", "")
        return Plan(
            model=model,
            arguments=(*arguments, *settings.vllm_extra_args),
            served_names=served or ((model,) if model else ()),
            given=frozenset(given | extra.given),
            settings=settings,
            environment=environment,
            secrets=tuple(self.environ[name] for name in sorted({*SECRETS, "WORKER_API_KEY"}) if name in self.environ),
            notes=tuple(self.notes),
            problems=tuple(self.problems),
        )

    def _problem(self, name: str, message: str, hint: str = "") -> None:
        self.problems.append(Problem(name, message, hint))

    # The worker's own variables.

    def _settings(self) -> WorkerSettings:
        return WorkerSettings(
            max_concurrency=self._whole("MAX_CONCURRENCY", 1) or self._sequences() or DEFAULT_CONCURRENCY,
            vllm_port=self._whole("VLLM_PORT", 1, 65535),
            vllm_startup_timeout=self._seconds("VLLM_STARTUP_TIMEOUT", WorkerSettings.vllm_startup_timeout),
            request_timeout=self._seconds("REQUEST_TIMEOUT", WorkerSettings.request_timeout),
            worker_drain_timeout=self._seconds("WORKER_DRAIN_TIMEOUT", WorkerSettings.worker_drain_timeout),
            worker_warmup=self._yes_or_no("WORKER_WARMUP", WorkerSettings.worker_warmup),
            worker_backoff=self._yes_or_no("WORKER_BACKOFF", WorkerSettings.worker_backoff),
            worker_cache_harvest=self._folder("WORKER_CACHE_HARVEST"),
            worker_mode=self._one_of("WORKER_MODE", MODES),
            port=self._whole("PORT", 1, 65535) or WorkerSettings.port,
            port_health=self._whole("PORT_HEALTH", 1, 65535),
            health_check_path=self._route("HEALTH_CHECK_PATH", WorkerSettings.health_check_path),
            worker_api_key=self.environ.get("WORKER_API_KEY"),
            worker_allow_no_key=self._yes_or_no("WORKER_ALLOW_NO_KEY", False),
            worker_max_body_bytes=self._whole("WORKER_MAX_BODY_BYTES", 1) or WorkerSettings.worker_max_body_bytes,
            worker_max_tokens=self._whole("WORKER_MAX_TOKENS", 0) or 0,
            worker_require_max_tokens=self._yes_or_no("WORKER_REQUIRE_MAX_TOKENS", False),
            worker_allowed_models=self._names("WORKER_ALLOWED_MODELS"),
            worker_tag_rate=self._whole("WORKER_TAG_RATE", 0) or 0,
            worker_metrics_interval=self._seconds(
                "WORKER_METRICS_INTERVAL", WorkerSettings.worker_metrics_interval, may_be_0=True
            ),
            base_path=self.environ.get("BASE_PATH"),
            vllm_extra_args=self._words("VLLM_EXTRA_ARGS"),
            worker_ignore_env=self._names("WORKER_IGNORE_ENV"),
        )

    def _sequences(self) -> int | None:
        text = self.environ.get("MAX_NUM_SEQS", "").strip()
        return int(text) if text.isdecimal() and int(text) > 0 else None

    def _whole(self, name: str, low: int, high: int | None = None) -> int | None:
        text = self.environ.get(name)
        if text is None:
            return None
        text = text.strip()
        if text.isascii() and text.isdecimal() and low <= int(text) and (high is None or int(text) <= high):
            return int(text)
        span = f"at least {low}" if high is None else f"from {low} to {high}"
        self._problem(name, f"{text!r} is not a whole number {span}")
        return None

    def _names(self, name: str) -> frozenset[str]:
        text = self.environ.get(name, "")
        names = frozenset(part.strip() for part in text.split(",") if part.strip())
        if text and not names:
            self._problem(name, f"{text!r} names nothing", "leave it unset")
        return names

    def _seconds(self, name: str, default: float, may_be_0: bool = False) -> float:
        text = self.environ.get(name)
        if text is None:
            return default
        try:
            value = float(text)
        except ValueError:
            value = -1.0
        if 0 < value < 1e9 or (may_be_0 and value == 0):
            return value
        self._problem(name, f"{text!r} is not a number of seconds {'from' if may_be_0 else 'above'} 0")
        return default

    def _yes_or_no(self, name: str, default: bool) -> bool:
        try:
            return parse_bool(name, self.environ[name]) if name in self.environ else default
        except BadValue as error:
            self._problem(name, f"{error.text!r} {error.reason}")
            return default

    def _folder(self, name: str) -> str | None:
        text = self.environ.get(name)
        if text is not None and not text.startswith("/"):
            self._problem(name, f"{text!r} is not a folder's whole path", "begin it with /")
            return None
        return text

    def _one_of(self, name: str, allowed: Sequence[str]) -> str | None:
        text = self.environ.get(name)
        if text is not None and text.strip() not in allowed:
            self._problem(name, f"{text!r} is none of {', '.join(allowed)}")
            return None
        return text.strip() if text is not None else None

    def _route(self, name: str, default: str) -> str:
        text = self.environ.get(name, default).strip()
        if not re.fullmatch(r"/[A-Za-z0-9._~/-]*", text):
            self._problem(name, f"{text!r} is not a path", "begin it with /, without a query")
            return default
        return text

    def _words(self, name: str) -> tuple[str, ...]:
        try:
            return tuple(shlex.split(self.environ.get(name, "")))
        except ValueError as error:
            self._problem(name, f"cannot be split into words: {error}", "check the quotation marks")
            return ()

    # Options.

    def _option_values(self) -> dict[str, tuple[str, str]]:
        """Per option variable: the name that gave it, and its text."""
        values: dict[str, tuple[str, str]] = {}
        for name, text in self.environ.items():
            if name in self.schema.by_env and name not in {*IGNORED, *REFUSED, *SECRETS, *_WORKER_NAMES}:
                values[name] = (name, text)
        for alias, target in ALIASES.items():
            if alias not in self.environ:
                continue
            text = self.environ[alias]
            if target in values and values[target][1].strip() != text.strip():
                self._problem(alias, f"contradicts {target}", "both set the same option; keep one of them")
            values[target] = (alias, text)
        return values

    def _arguments(self, values: Mapping[str, tuple[str, str]]) -> tuple[list[str], tuple[str, ...], set[str]]:
        arguments: list[str] = []
        served: tuple[str, ...] = ()
        given: set[str] = set()
        for env in sorted(values):
            name, text = values[env]
            if env == "MODEL" or (env in ZERO_MEANS_UNSET and text.strip() == "0"):
                continue
            option = self.schema.by_env[env]
            try:
                found = option.arguments(text, name)
            except BadValue as error:
                self._problem(name, f"{error.text!r} {error.reason}")
                continue
            given.add(env)
            arguments += found
            if env == "SERVED_MODEL_NAME":
                served = tuple(found[1:])
        return arguments, served, given

    # Everybody else's variables.

    def _strangers(self, ignored: frozenset[str]) -> None:
        known = {*self.schema.by_env, *ALIASES, *_WORKER_NAMES} - set(IGNORED) - set(REFUSED)
        for name in sorted(self.environ):
            if name in known or name in ignored:
                continue
            if name in REFUSED:
                self._problem(name, "is not for you to set here", REFUSED[name])
            elif name in IGNORED:
                self.notes.append(f"{name} has no effect: {IGNORED[name]}")
            elif name in self.schema.removed:
                self._problem(name, f"does nothing in vLLM {self.schema.version}", self.schema.removed[name])
            elif name in self.schema.environment or name in CHILD_NAMES or name.startswith(CHILD_PREFIXES):
                continue
            elif name.startswith("VLLM_"):
                self._unknown_vllm(name)
            elif not name.startswith(FOREIGN_PREFIXES) and (close := nearest(name, known)):
                self._problem(
                    name,
                    f"is no option of vLLM {self.schema.version}",
                    f"did you mean {close}? (if it is meant for something else: WORKER_IGNORE_ENV={name})",
                )

    def _unknown_vllm(self, name: str) -> None:
        names = {*(name for name in self.schema.environment if name.startswith("VLLM_")), *_WORKER_NAMES, *ALIASES}
        close = nearest(name, (other for other in names if other.startswith("VLLM_")))
        if close:
            self._problem(name, f"is not read by vLLM {self.schema.version}", f"did you mean {close}?")
        else:
            self.notes.append(f"{name} has no effect: vLLM {self.schema.version} does not read it")

    # What vLLM's process sees.

    def _child_environment(self, settings: WorkerSettings) -> dict[str, str]:
        child = dict(self._passed_on())
        if settings.base_path is not None:
            child.setdefault("HF_HUB_CACHE", f"{settings.base_path.rstrip('/')}/huggingface-cache/hub")
        return child

    def _passed_on(self) -> Iterator[tuple[str, str]]:
        for name, value in self.environ.items():
            if name in IGNORED or name in _WORKER_NAMES or name in ALIASES:
                continue
            if name.startswith("RUNPOD_") or (name.startswith("PYTHON") and name not in CHILD_NAMES):
                continue
            if name in self.schema.environment or name in CHILD_NAMES or name.startswith(CHILD_PREFIXES):
                yield name, value
