"""Where the API key may go.

The key is worth money, and the address it is sent to comes from files that a pull request can change. So the address
is checked against a list that a pull request cannot change: RunPod's own domains over https, loopback, and what the
environment variable `RUNPOD_ALLOWED_HOSTS` names.
"""

import ipaddress
from collections.abc import Collection, Mapping

from yarl import URL

from runpod_rest._errors import KeyRefused, UnusableArgument

ALLOWED_HOSTS_VARIABLE = "RUNPOD_ALLOWED_HOSTS"
_RUNPOD_DOMAINS = ("runpod.io", "runpod.ai")


def allowed_hosts_from(environ: Mapping[str, str]) -> tuple[str, ...]:
    """The hosts that `RUNPOD_ALLOWED_HOSTS` adds: comma separated, `host` (https only) or `http://host`."""
    return tuple(entry.strip().lower() for entry in environ.get(ALLOWED_HOSTS_VARIABLE, "").split(",") if entry.strip())


def is_loopback(url: str) -> bool:
    """Does `url` point at this machine? Decided by its text alone: no name is looked up, `localhost` excepted."""
    return _is_loopback_host(_parse(url, "the address").host or "")


def check_destination(
    url: str, *, setting: str, allowed_hosts: Collection[str] = (), loopback_only: bool = False
) -> str:
    """Return `url` without a trailing slash, or refuse it. `setting` names where it came from (`runpod:apiUrl`).

    With `loopback_only` (stack `local`) nothing but this machine is accepted, whatever the environment says.
    """
    parsed = _parse(url, setting)
    host = (parsed.host or "").lower().rstrip(".")
    clean = str(parsed).rstrip("/")
    # With the dot that may end a name: an address with a dot behind it is a name, and would be looked up.
    if _is_loopback_host(parsed.host or ""):
        return clean
    if loopback_only:
        raise KeyRefused(
            f"{setting} is {clean}, but this stack runs on this machine only\n\n"
            f"hint: set {setting} to the emulator's address, for example http://127.0.0.1:8900"
        )
    if parsed.scheme == "https" and any(host == domain or host.endswith(f".{domain}") for domain in _RUNPOD_DOMAINS):
        return clean
    if (parsed.scheme == "https" and host in allowed_hosts) or f"{parsed.scheme}://{host}" in allowed_hosts:
        return clean
    if any(host == domain or host.endswith(f".{domain}") for domain in _RUNPOD_DOMAINS):
        raise KeyRefused(
            f"{setting} is {clean}: the API key is never sent to RunPod over plain http\n\nhint: write https://{host}"
        )
    raise KeyRefused(
        f"{setting} is {clean}, and {host} is neither RunPod's nor this machine: the API key is not sent there\n\n"
        f"hint: if you trust that host, name it in the environment variable {ALLOWED_HOSTS_VARIABLE}"
    )


def _parse(url: str, setting: str) -> URL:
    try:
        parsed = URL(url)
        host, _ = parsed.host, parsed.port
    except ValueError as error:
        raise UnusableArgument(f"{setting} is not a usable address: {url}") from error
    if parsed.scheme not in ("http", "https") or not host:
        raise UnusableArgument(f"{setting} is not an http or https address: {url}")
    if parsed.user is not None or parsed.password is not None:
        raise UnusableArgument(f"{setting} must not contain a user name or password")
    if parsed.query_string or parsed.fragment:
        raise UnusableArgument(f"{setting} must end before any ? or #")
    return parsed


def _is_loopback_host(host: str) -> bool:
    if host.lower().rstrip(".") == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
