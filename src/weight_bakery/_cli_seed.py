"""The command `bake seed`: a network volume gets the model as workers look for it."""

from pathlib import Path
from typing import get_args

import click
from rich.table import Table

from weight_bakery._cli_common import Size, docker_folder, told
from weight_bakery._references import SourceChoice
from weight_bakery._request import as_json_line
from weight_bakery._seed import plan_seed, seed_volume
from weight_bakery._seed_request import CACHE_PREFIX, SeedPlan, SeedReceipt, SeedRequest
from weight_bakery._seed_s3 import ACCESS_KEY_VARIABLE, SECRET_KEY_VARIABLE
from weight_bakery._show import display, human_size, people_console

_WORDS = {"present": "there already", "check": "there, to be read back", "resume": "partly sent", "send": "to send"}
_EPILOG = f"""
\b
Examples:
  bake seed --volume 1a2b3c4d5e --datacenter EU-RO-1              # what weights.lock names
  bake seed --model Qwen/Qwen3-8B@main --volume 1a2b3c4d5e --datacenter EU-RO-1 --dry-run
\b
Volume login: {ACCESS_KEY_VARIABLE} and {SECRET_KEY_VARIABLE}
(console: Settings, S3 API keys), else --profile or what boto3 finds.
"""


@click.command("seed", epilog=_EPILOG)
@click.argument("target", required=False, metavar="[TARGET]")
@click.option("--volume", required=True, metavar="ID", help="Id of the network volume.")
@click.option("--datacenter", metavar="ID", help="The volume's data centre, EU-RO-1 for example.")
@click.option("--model", metavar="MODEL", help="As for a bake.  [default: the source of TARGET in the lock]")
@click.option(
    "--source", type=click.Choice(get_args(SourceChoice)), default="auto", show_default=True,
    help="Where a repository id is looked up.",
)  # fmt: skip
@click.option("--include", multiple=True, metavar="GLOB", help="As for a bake.")
@click.option("--exclude", multiple=True, metavar="GLOB", help="As for a bake.")
@click.option("--repository", metavar="ID", help="Repository id that workers ask for.  [default: the model's own]")
@click.option("--prefix", default=CACHE_PREFIX, show_default=True, help="Folder of the cache on the volume.")
@click.option(
    "--lock", type=click.Path(path_type=Path, dir_okay=False), default=Path("weights.lock"), show_default=True,
    help="Lock file that names commit and digests.",
)  # fmt: skip
@click.option("--flows", type=click.IntRange(1, 16), default=4, show_default=True, help="Files in flight at once.")
@click.option("--part-size", type=Size(), metavar="SIZE", help="Length of a part (below 500MB).  [default: 32MiB]")
@click.option("--read-back", is_flag=True, help="Read every file back and compare its sha256.")
@click.option("--prune", is_flag=True, help="Delete this model's other snapshots at the end.")
@click.option("--endpoint-url", metavar="URL", help="Address of the S3 API.  [default: the data centre's]")
@click.option("--profile", help="Profile of the AWS configuration with the volume's keys.")
@click.option("--dry-run", is_flag=True, help="Say what would be sent; send nothing.")
@click.option(
    "--json", "as_json", is_flag=True, help="Print progress and receipt (or the plan) as JSON lines on stdout."
)
def seed_command(
    target: str | None,
    volume: str,
    datacenter: str | None,
    model: str | None,
    source: SourceChoice,
    include: tuple[str, ...],
    exclude: tuple[str, ...],
    repository: str | None,
    prefix: str,
    lock: Path,
    flows: int,
    part_size: int | None,
    read_back: bool,
    prune: bool,
    endpoint_url: str | None,
    profile: str | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Put a model on a RunPod network volume, through its S3 API, as a Hugging Face cache that workers find.

    No pod is needed. Files are streamed from their source and verified; what is there already is not sent again, and
    a run that was ended goes on where it stopped. refs/main is written last.
    """
    console = people_console(stderr=True)
    if target is not None and model is not None:
        raise click.UsageError("give either TARGET or --model")
    interrupted = "interrupted: refs/main is what it was; parts that have arrived are kept for the next run"
    with told(console, interrupted=interrupted, as_json=as_json):
        request = SeedRequest(
            volume=volume,
            datacenter=datacenter,
            endpoint_url=endpoint_url,
            profile=profile,
            target=target,
            lock=lock,
            model=model,
            source=source,
            include=include,
            exclude=exclude,
            repository=repository,
            prefix=prefix,
            part_size=part_size,
            flows=flows,
            verify="read-back" if read_back else "etag",
            prune=prune,
            docker_config=docker_folder(),
        )
        if dry_run:
            _print_plan(plan_seed(request), as_json=as_json)
            return
        with display(console, as_json=as_json) as progress:
            receipt = seed_volume(request, progress=progress)
        _print_receipt(receipt, as_json=as_json)


def _print_plan(plan: SeedPlan, *, as_json: bool) -> None:
    if as_json:
        click.echo(as_json_line(plan))
        return
    console = people_console()
    table = Table("file", "size", "", title=f"{plan.repository}  {plan.revision}", title_justify="left")
    for file in plan.files:
        word = _WORDS[file.state] + (f" ({human_size(file.there)})" if file.there else "")
        table.add_row(file.path, human_size(file.size), word)
    console.print(table)
    console.print(
        f"{len(plan.files)} files, {human_size(plan.size)}: {human_size(plan.to_send)} to send to volume {plan.volume};"
        " nothing was moved",
        highlight=False,
    )


def _print_receipt(receipt: SeedReceipt, *, as_json: bool) -> None:
    if as_json:
        click.echo(as_json_line(receipt))
        return
    for name, value in receipt.environment.items():
        click.echo(f"{name}={value}")
    click.echo(
        f"volume {receipt.volume}: {receipt.files} files, {human_size(receipt.size)}, of which"
        f" {human_size(receipt.sent_bytes)} moved in {receipt.seconds:.1f} s; give the endpoint this environment",
        err=True,
    )
