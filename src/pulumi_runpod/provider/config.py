"""The provider's configuration: which key, from where, to which host.

Precedence of the key: `apiKeyFile` (the stack named a file, so it means that file), then the environment variable
RUNPOD_API_KEY, then `apiKey`. Only `apiKey` is ever part of the state. Addresses: the stack, then the environment,
then RunPod's own. A key goes to RunPod's hosts over https or to this machine, to others only if RUNPOD_ALLOWED_HOSTS
names them; stack `local` knows no host but this machine. A missing key is no error until a call is made: a preview
needs none.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pulumi_runpod.declarations import DEFAULT_API_URL, DEFAULT_JOBS_URL, PROVIDER_CONFIG
from pulumi_runpod.provider.checking import Failure, check_fields
from pulumi_runpod.provider.values import Properties, Secret, plain
from redaction import register_secret
from runpod_rest import RunPodError, allowed_hosts_from, check_destination, is_loopback

LOCAL_STACK = "local"


@dataclass(frozen=True)
class Settings:
    """A finished configuration. `api_key` never shows in `repr`."""

    api_url: str
    jobs_url: str
    api_key: str | None = field(repr=False)
    key_source: str
    """In words, for a 401: `the environment variable RUNPOD_API_KEY`."""
    missing_key: str
    """What to do where there is no key."""
    loopback_only: bool


def check_config(news: Properties, environ: Mapping[str, str], stack: str) -> tuple[Properties, list[Failure]]:
    """Validate provider inputs. They come back as they were, with the key marked secret."""
    failures: list[Failure] = []
    extra = {key: value for key, value in news.items() if key in ("version", "pluginDownloadURL", "__internal")}
    given = {key: value for key, value in news.items() if key not in extra}
    checked = check_fields(PROVIDER_CONFIG, given, failures)
    api_key = plain(checked.get("apiKey"))
    if isinstance(api_key, str):
        register_secret(api_key)
    if not failures:
        failures += _destination_failures(checked, environ, stack)
    return {**checked, **extra}, failures


def settings_from(inputs: Properties, environ: Mapping[str, str], stack: str, project_dir: Path) -> Settings:
    """Settle every setting. Raises RunPodError where an address may not have the key."""
    given: dict[str, Any] = {key: plain(value) for key, value in inputs.items() if plain(value) not in (None, "")}
    api_url, jobs_url = addresses(given, environ)
    hosts = allowed_hosts_from(environ)
    local = stack == LOCAL_STACK
    api_from = _source(given, environ, "apiUrl", "RUNPOD_API_BASE_URL")
    api_url = check_destination(api_url, setting=api_from, allowed_hosts=hosts, loopback_only=local)
    jobs_from = _source(given, environ, "jobsUrl", "RUNPOD_ENDPOINT_BASE_URL")
    jobs_url = check_destination(jobs_url, setting=jobs_from, allowed_hosts=hosts, loopback_only=local)
    api_key, source, missing = _key(given, environ, project_dir)
    register_secret(api_key)
    return Settings(api_url, jobs_url, api_key, source, missing, local)


def _source(given: Mapping[str, Any], environ: Mapping[str, str], key: str, variable: str) -> str:
    """What to mend when an address is refused: the variable where it came from there, else the configuration key."""
    return f"the environment variable {variable}" if not given.get(key) and environ.get(variable) else f"runpod:{key}"


def addresses(given: Mapping[str, Any], environ: Mapping[str, str]) -> tuple[str, str]:
    """API and job address. On this machine one port serves both."""
    api_url = given.get("apiUrl") or environ.get("RUNPOD_API_BASE_URL") or DEFAULT_API_URL
    jobs_url = given.get("jobsUrl")
    if not jobs_url and not given.get("apiUrl"):
        jobs_url = environ.get("RUNPOD_ENDPOINT_BASE_URL")
    if not jobs_url:
        # A stack that names its API but not its jobs must not be led elsewhere for them by a left-over variable.
        jobs_url = f"{api_url.rstrip('/')}/v2" if _on_this_machine(api_url) else DEFAULT_JOBS_URL
    return api_url, jobs_url


def _key(given: Mapping[str, Any], environ: Mapping[str, str], project_dir: Path) -> tuple[str | None, str, str]:
    if name := given.get("apiKeyFile"):
        path = project_dir / str(name)
        try:
            key = path.read_text(encoding="utf-8").strip()
        except FileNotFoundError:
            remedy = f"the file {name} (runpod:apiKeyFile) does not exist; start what writes it (the emulator) first"
            return None, f"the file {name}", remedy
        except (OSError, UnicodeDecodeError) as error:
            remedy = f"the file {name} (runpod:apiKeyFile) cannot be read: {getattr(error, 'strerror', None) or error}"
            return None, f"the file {name}", remedy
        return key or None, f"the file {name} (runpod:apiKeyFile)", f"the file {name} (runpod:apiKeyFile) is empty"
    missing = "there is no RunPod API key; set RUNPOD_API_KEY, or `pulumi config set --secret runpod:apiKey`"
    if key := environ.get("RUNPOD_API_KEY", "").strip():
        return key, "the environment variable RUNPOD_API_KEY", missing
    if key := str(given.get("apiKey") or "").strip():
        return key, "the configuration key runpod:apiKey", missing
    return None, "nowhere", missing


def _destination_failures(checked: Properties, environ: Mapping[str, str], stack: str) -> list[Failure]:
    hosts = allowed_hosts_from(environ)
    failures = []
    for key in ("apiUrl", "jobsUrl"):
        value = plain(checked.get(key))
        if not isinstance(value, str) or not value:
            continue
        try:
            clean = check_destination(
                value, setting=f"runpod:{key}", allowed_hosts=hosts, loopback_only=stack == LOCAL_STACK
            )
        except RunPodError as error:
            failures.append(Failure(key, str(error)))
            continue
        if key == "apiUrl" and clean.endswith("/v2"):
            failures.append(Failure(key, f"ends in /v2, which belongs to the paths; write {clean.removesuffix('/v2')}"))
    return failures


def _on_this_machine(url: str) -> bool:
    try:
        return is_loopback(url)
    except RunPodError:
        return False


def secret_config(inputs: Properties) -> Properties:
    """Provider inputs with the key wrapped, whatever the engine made of it (CheckConfig gets it in clear)."""
    return {key: Secret(value) if key == "apiKey" and value is not None else value for key, value in inputs.items()}
