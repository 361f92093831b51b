"""RunPod on one machine: control plane, job plane and worker plane on one loopback port.

True here: the state is one SQLite file and survives kill -9; workers are real processes started from real images; each
rule cites the reference or is marked "our assumption" (docs/emulator-assumptions.md). This room imports nothing of the
project but the leaf `redaction`: it is a second, independent reading of RunPod's API.
"""

from runpod_emulator.config import Config, Mount, RateWindow, Timing
from runpod_emulator.errors import EmulatorError, NewerState, PortInUse, StateInUse, StateUnusable
from runpod_emulator.server import running, serve

__all__ = [
    "Config",
    "EmulatorError",
    "Mount",
    "NewerState",
    "PortInUse",
    "RateWindow",
    "StateInUse",
    "StateUnusable",
    "Timing",
    "running",
    "serve",
]
