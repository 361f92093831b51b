"""The load balancer: `/lb/<endpoint>/<path>` goes straight to a worker's own HTTP server.

True here: only a worker whose last health check was 200 gets requests; bodies stream through both ways and are never
held; nothing is sent twice. May import the job and worker planes, the emulator's context, config and model.
"""

from runpod_emulator.balancer._health import watched
from runpod_emulator.balancer._ports import PortTaken, choose_ports, http_env, is_free
from runpod_emulator.balancer._routes import add_routes
from runpod_emulator.balancer._traffic import Traffic

__all__ = ["PortTaken", "Traffic", "add_routes", "choose_ports", "http_env", "is_free", "watched"]
