"""The command `emulator`: a skin over `serve`. The ready line goes to stdout, logs go to stderr, secrets nowhere."""

import asyncio
import logging
import sqlite3
import sys
from pathlib import Path

import click

from redaction import RedactingFilter, redact
from runpod_emulator.config import DEFAULT_PORT, Config, Mount
from runpod_emulator.context import Context
from runpod_emulator.errors import EmulatorError
from runpod_emulator.server import serve

LEVELS = ("debug", "info", "warning", "error")


def _mount(_context: click.Context, _parameter: click.Parameter, values: tuple[str, ...]) -> tuple[Mount, ...]:
    mounts = []
    for value in values:
        source, sign, target = value.partition("=")
        if not sign or not source or not target.startswith("/"):
            raise click.BadParameter(f"{value!r} is not SRC=DST with an absolute DST, for example ./venv=/opt/vllm")
        if not Path(source).is_dir():
            raise click.BadParameter(f"folder {source} does not exist")
        mounts.append(Mount(Path(source).absolute(), target))
    return tuple(mounts)


@click.command(
    epilog="""\b
    Examples:
      vllm-runpod emulator --state .local/emulator
      vllm-runpod emulator --port 8900 --state .local/emulator --image-root . --mount .local/envs/vllm=/opt/vllm
      curl http://127.0.0.1:8900/_emulator/status
      curl -H "Authorization: Bearer $(cat .local/emulator/api-key)" http://127.0.0.1:8900/v2/serverless
    """
)
@click.option("--port", type=click.IntRange(0, 65535), default=DEFAULT_PORT, show_default=True, help="0: any free one.")
@click.option(
    "--state",
    "state_dir",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(".local/emulator"),
    show_default=True,
    help="Directory that holds everything: database, API key, volumes, image cache.",
)
@click.option(
    "--image-root",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder below which images oci:<dir>:<tag> are looked up.",
)
@click.option("--mount", "mounts", multiple=True, callback=_mount, help="SRC=DST: a folder all workers see read-only.")
@click.option("--page-size", type=click.IntRange(1, 1000), default=1000, show_default=True, help="Items per list page.")
@click.option(
    "--worker-quota", type=click.IntRange(min=0), default=10, show_default=True, help="Sum of all workers.max."
)
@click.option("--worker-slots", type=click.IntRange(min=0), help="Workers that may run at once; more are THROTTLED.")
@click.option("--enforce-rate-limits", is_flag=True, help="Answer 429 when a rate window is used up.")
@click.option("--edge-user-agent-rule", is_flag=True, help="Refuse Python's default User-Agent as RunPod's edge does.")
@click.option("--log-level", type=click.Choice(LEVELS), default="info", show_default=True, help="Logs go to stderr.")
def emulator(
    port: int,
    state_dir: Path,
    image_root: Path | None,
    mounts: tuple[Mount, ...],
    page_size: int,
    worker_quota: int,
    worker_slots: int | None,
    enforce_rate_limits: bool,
    edge_user_agent_rule: bool,
    log_level: str,
) -> None:
    """Run RunPod on this machine until Ctrl-C or SIGTERM.

    One loopback port serves RunPod's REST API v2, its job API and the protocol its workers speak. Deployed endpoints
    start real worker processes from real images. The API key is made at the first start and kept in STATE/api-key.
    """
    config = Config(
        state_dir=state_dir.absolute(),
        port=port,
        image_root=image_root.absolute() if image_root else None,
        mounts=mounts,
        page_size=page_size,
        worker_quota=worker_quota,
        worker_slots=worker_slots,
        enforce_rate_limits=enforce_rate_limits,
        edge_user_agent_rule=edge_user_agent_rule,
    )
    _log_to_stderr(log_level)
    try:
        asyncio.run(serve(config, on_ready=_announce))
    except EmulatorError as error:
        raise click.ClickException(redact(str(error))) from error
    except (OSError, sqlite3.Error) as error:  # a full disk, a vanished directory
        raise click.ClickException(redact(f"the emulator cannot use {config.state_dir}: {error}")) from error


def _announce(ctx: Context) -> None:
    click.echo(f"emulator ready at {ctx.base_url} (API key in {ctx.config.key_file})")
    sys.stdout.flush()


def _log_to_stderr(level: str) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    handler.addFilter(RedactingFilter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
