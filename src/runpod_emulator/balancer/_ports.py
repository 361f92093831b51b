"""Which ports of this machine a load balancer's worker gets.

On RunPod every worker has a network of its own, and PORT may be the same for all. Here they share this machine's: a
worker gets a free port as PORT unless the endpoint's env names one (our assumption). A named port can belong to one
worker at a time; the next one waits for it as for any other capacity.
"""

import random
import socket
from collections.abc import Collection, Mapping

from runpod_emulator.errors import EmulatorError
from runpod_emulator.model import Endpoint
from runpod_emulator.workers import HttpPorts

RANGE = range(20_000, 32_000)
"""Below the ports that the system gives to outgoing connections, which could take one before the worker does."""
_TRIES = 200


class PortTaken(EmulatorError):
    """No port for this worker just now."""


def choose_ports(env: Mapping[str, str], taken: Collection[int]) -> HttpPorts:
    """Of the env's PORT and PORT_HEALTH those that it names, else free ones.

    Where neither is named both are the same port, as both are 80 on RunPod. Where PORT alone is named, PORT_HEALTH is a
    port of its own: RunPod puts 80 there whatever PORT says, and a worker that does not answer there never gets ready
    (runpod-api-live.md §3, LOAD_BALANCER endpoints).
    """
    app, health = _named(env, "PORT"), _named(env, "PORT_HEALTH")
    for name, port in (("PORT", app), ("PORT_HEALTH", health)):
        if port is not None and (port in taken or not is_free(port)):
            raise PortTaken(
                f"port {port}, which the endpoint's env names as {name}, is in use on this machine; "
                f"without {name} in env every worker gets a port of its own here"
            )
    chosen = app if app is not None else free_port(taken)
    if health is None:
        health = chosen if "PORT" not in env or chosen == 80 else free_port({*taken, chosen})
    return HttpPorts(chosen, health)


def http_env(endpoint: Endpoint, ports: HttpPorts) -> dict[str, str]:
    """What the worker is told; what the endpoint's env says of it stays."""
    told = {"PORT": str(ports.app), "PORT_HEALTH": str(ports.health)}
    return {name: value for name, value in told.items() if name not in endpoint.env}


def free_port(taken: Collection[int]) -> int:
    for port in random.sample(RANGE, _TRIES):  # not one after the other: a port just left may still be asked
        if port not in taken and is_free(port):
            return port
    raise PortTaken(f"no free port found between {RANGE.start} and {RANGE.stop}; what holds them all?")


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        # As servers do: what an earlier worker's connections left behind is no hindrance.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("0.0.0.0", port))  # noqa: S104 - only asked, never listened on; workers listen on all addresses
        except PermissionError:
            return True  # a port below 1024: the worker will say what it is not allowed
        except OSError:
            return False
        return True


def _named(env: Mapping[str, str], name: str) -> int | None:
    """A value that is no port is the worker's to complain about."""
    text = env.get(name, "").strip()
    return int(text) if text.isascii() and text.isdigit() and 0 < int(text[:6]) < 65_536 else None
