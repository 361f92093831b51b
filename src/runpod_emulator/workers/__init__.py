"""The worker plane: what a worker's SDK calls, and the roster of the workers that may call it.

True here: a worker's key opens only its own routes, and only jobs that were given to it; held polls end at once when a
worker is stopped. May import the job plane, the emulator's context, model and ports, and the leaf `redaction`.
"""

from runpod_emulator.workers._roster import HEALTHY, INITIALIZING, MISSED_PINGS, HttpPorts, Roster, WorkerSession
from runpod_emulator.workers._routes import add_routes

__all__ = ["HEALTHY", "INITIALIZING", "MISSED_PINGS", "HttpPorts", "Roster", "WorkerSession", "add_routes"]
