"""Which start-up caches fit this worker: a key of everything that enters what vLLM compiles and measures.

The key only chooses; vLLM's own hashes inside the caches decide in the end. So whatever is not known to be without
effect goes into the key: at worst, caches that would have fitted are made once more. What is left out (names, logging,
HTTP, loading) is listed here, and a test holds the list against vLLM's own.
"""

import hashlib
import importlib.metadata
import json
import platform
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FORMAT = 1
_NVIDIA_SMI_S = 20.0

NEUTRAL_FLAGS = frozenset(
    {
        "--allow-credentials", "--allowed-headers", "--allowed-methods", "--allowed-origins", "--api-key",
        "--chat-template", "--chat-template-content-format", "--disable-access-log-for-endpoints",
        "--disable-fastapi-docs", "--disable-log-stats", "--disable-uvicorn-access-log", "--download-dir",
        "--enable-auto-tool-choice", "--enable-log-deltas", "--enable-log-outputs", "--enable-log-requests",
        "--enable-prompt-tokens-details", "--enable-request-id-headers", "--enable-server-load-tracking",
        "--enable-tokenizer-info-endpoint", "--h11-max-header-count", "--h11-max-incomplete-event-size", "--hf-token",
        "--host", "--load-format", "--log-config-file", "--log-level", "--max-log-len", "--middleware", "--model",
        "--port", "--reasoning-parser", "--response-role", "--return-tokens-as-token-ids", "--root-path",
        "--safetensors-load-strategy", "--served-model-name", "--shutdown-timeout", "--tool-call-parser",
        "--use-tqdm-on-load", "--uds", "--uvicorn-log-level",
    }
)  # fmt: skip
"""Options of the HTTP server, of logging and of loading: the same engine comes out with or without them. The model has
a part of the key for itself."""

NEUTRAL_VARIABLES = frozenset(
    {
        "VLLM_API_KEY", "VLLM_ASSETS_CACHE", "VLLM_CACHE_ROOT", "VLLM_CONFIG_ROOT", "VLLM_CPU_KVCACHE_SPACE",
        "VLLM_DO_NOT_TRACK", "VLLM_ENABLE_STARTUP_PLAN", "VLLM_ENABLE_V1_MULTIPROCESSING", "VLLM_FORCE_AOT_LOAD",
        "VLLM_FLASHINFER_AUTOTUNE_CACHE_DIR", "VLLM_HOST_IP", "VLLM_HTTP_TIMEOUT_KEEP_ALIVE",
        "VLLM_KEEP_ALIVE_ON_ENGINE_DEATH", "VLLM_LOGGING_COLOR", "VLLM_LOGGING_CONFIG_PATH", "VLLM_LOGGING_LEVEL",
        "VLLM_LOGGING_PREFIX", "VLLM_LOGGING_STREAM", "VLLM_LOG_STATS_INTERVAL", "VLLM_MEDIA_CACHE",
        "VLLM_NO_USAGE_STATS", "VLLM_PORT", "VLLM_USAGE_STATS_SERVER", "VLLM_XLA_CACHE_PATH",
    }
)  # fmt: skip
"""VLLM_ variables that vLLM leaves out of its own compile key."""

_PLACES = frozenset(
    {"DG_JIT_CACHE_DIR", "FLASHINFER_WORKSPACE_BASE", "TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR", "TRITON_DUMP_DIR"}
)
_FAMILIES = ("VLLM_", "TORCH_", "TORCHINDUCTOR_", "INDUCTOR_", "PYTORCH_", "TRITON_", "FLASHINFER_", "DG_")
_OPTION = re.compile(r"-{1,2}[A-Za-z]")


class UnknownDevice(Exception):
    """What the worker runs on cannot be told, so no caches can be chosen for it."""


@dataclass(frozen=True)
class Device:
    """The hardware, as far as compiled code depends on it."""

    name: str
    capability: str
    """Compute capability of a GPU; a hash of a CPU's instruction sets (the compiler is told to use them all)."""
    memory_gib: int
    """0 for a CPU."""
    driver: str
    """Not a part of the key: only PTX code depends on it, and lies in a folder of the driver's name."""
    count: int


@dataclass(frozen=True)
class CachesKey:
    """A key: plain data, and the name that it gives to caches."""

    document: Mapping[str, Any]

    @property
    def id(self) -> str:
        """Sixteen hexadecimal digits."""
        return key_id(self.document)

    def __str__(self) -> str:
        return f"{self.id}: {describe(self.document)}"


def key_id(document: Mapping[str, Any]) -> str:
    """The name of a key's caches: a function of its content alone, whatever order its parts stand in."""
    return hashlib.sha256(f"start-up caches {FORMAT}\n{canonical(document)}".encode()).hexdigest()[:16]


def canonical(value: object) -> str:
    """JSON in one way only."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def describe(document: Mapping[str, Any]) -> str:
    """A key in a few words."""
    return f"{document['gpu']['name']}, vLLM {document['software']['vllm']}, {document['model']['path']}"


def make_key(
    device: Device,
    vllm_version: str,
    model: str,
    folder: Path,
    arguments: Sequence[str],
    environment: Mapping[str, str],
) -> CachesKey:
    """The key of a vLLM that is started with these arguments and this environment; `folder` is where the model lies."""
    return CachesKey(
        {
            "gpu": {"name": device.name, "capability": device.capability, "memory_gib": device.memory_gib},
            "software": _software(vllm_version),
            "model": {"path": model, "config": _model_config(folder)},
            "flags": canonical_flags(arguments),
            "environment": compile_environment(environment),
        }
    )


def canonical_flags(arguments: Sequence[str]) -> list[list[str]]:
    """Options with their values, sorted by name; JSON values in one form, options without effect left out."""
    found: list[list[str]] = []
    for word in arguments:
        if _OPTION.match(word):
            name, joined, value = word.partition("=")
            if name.startswith("--"):
                name = name.replace("_", "-").lower()
            found.append([name, *([_value(value)] if joined else [])])
        elif found:
            found[-1].append(_value(word))
        else:
            found.append(["", _value(word)])
    # A stable sort by name: of an option that is given twice the order counts.
    return sorted((flag for flag in found if flag[0] not in NEUTRAL_FLAGS), key=lambda flag: flag[0])


def compile_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables that may change what is compiled."""
    return {
        name: value
        for name, value in sorted(environment.items())
        if name.startswith(_FAMILIES) and name not in NEUTRAL_VARIABLES and name not in _PLACES
    }


def find_device(cpu: bool, path: str | None) -> Device:
    """Look at the hardware, without importing torch. Raises UnknownDevice."""
    return _find_cpu(Path("/proc/cpuinfo").read_text(encoding="utf-8")) if cpu else _find_gpu(path)


def _find_cpu(text: str) -> Device:
    pairs: list[tuple[str, str]] = re.findall(r"^(\w[\w ]*?)\s*: (.*)$", text.split("\n\n", 1)[0], re.MULTILINE)
    first = dict(pairs)
    flags = " ".join(sorted((first.get("flags") or first.get("Features") or "").split()))
    name = (first.get("model name") or platform.machine()).strip()
    return Device(f"CPU {name}", hashlib.sha256(flags.encode()).hexdigest()[:12], 0, "", 1)


def _find_gpu(path: str | None) -> Device:
    program = shutil.which("nvidia-smi", path=path)
    if program is None:
        raise UnknownDevice("there is no nvidia-smi")
    query = "--query-gpu=name,compute_cap,memory.total,driver_version"
    try:
        done = subprocess.run(
            [program, query, "--format=csv,noheader,nounits"],
            capture_output=True, text=True, timeout=_NVIDIA_SMI_S, stdin=subprocess.DEVNULL, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError) as error:
        raise UnknownDevice(f"nvidia-smi failed ({type(error).__name__})") from error
    rows = [tuple(cell.strip() for cell in line.split(",")) for line in done.stdout.splitlines() if line.strip()]
    kinds = set(rows)
    if len(kinds) != 1:
        raise UnknownDevice("there are GPUs of several kinds" if kinds else "nvidia-smi lists no GPU")
    try:
        name, capability, memory, driver = kinds.pop()
        return Device(name, capability, round(float(memory) / 1024), driver, len(rows))
    except ValueError as error:
        raise UnknownDevice("nvidia-smi speaks in a way that is not understood") from error


def _software(vllm_version: str) -> dict[str, str | None]:
    major, minor, _ = platform.python_version_tuple()
    return {
        "vllm": vllm_version,
        "python": f"{major}.{minor}",
        "torch": _version("torch"),
        "triton": _version("triton"),
        "flashinfer": _version("flashinfer-python"),
        "cuda": _cuda(),
    }


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _cuda() -> str | None:
    """The CUDA version that torch was built for; from its text, since importing torch takes seconds."""
    try:
        file = Path(str(importlib.metadata.distribution("torch").locate_file("torch/version.py")))
        match = re.search(r"^cuda\b[^=\n]*=\s*['\"]([\d.]+)['\"]", file.read_text(encoding="utf-8"), re.MULTILINE)
    except (OSError, importlib.metadata.PackageNotFoundError):
        return None
    return match[1] if match else None


def _model_config(folder: Path) -> str | None:
    try:
        return "sha256:" + hashlib.sha256((folder / "config.json").read_bytes()).hexdigest()
    except OSError:
        return None


def _value(text: str) -> str:
    """An option's value; a JSON object loses its spaces and the order of its keys."""
    if not text.lstrip().startswith(("{", "[")):
        return text
    try:
        return canonical(json.loads(text))
    except (ValueError, RecursionError):
        return text
