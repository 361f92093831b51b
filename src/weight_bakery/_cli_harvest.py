"""The command `bake harvest`: a worker's start-up caches into the image."""

from pathlib import Path

import click
from rich.table import Table

from weight_bakery._cli_common import Size, credentials_from_environment, docker_folder, told
from weight_bakery._harvest import harvest, plan_harvest
from weight_bakery._harvest_request import GIB, HarvestedCaches, HarvestPlan, HarvestReceipt, HarvestRequest
from weight_bakery._request import as_json_line
from weight_bakery._show import display, human_size, people_console

_EPILOG = """
\b
A worker writes its caches where WORKER_CACHE_HARVEST says, once it is ready, if the image holds none for it:
  WORKER_CACHE_HARVEST=/runpod-volume/start-up-caches
\b
Examples:
  bake harvest ghcr.io/me/qwen3-8b:v1 --from s3://<volume id>/start-up-caches --datacenter EU-RO-1
  bake harvest oci:images:v1 --from ./start-up-caches --dry-run
"""


@click.command("harvest", epilog=_EPILOG)
@click.argument("image", metavar="IMAGE")
@click.option(
    "--from", "source", required=True, metavar="PLACE",
    help="Archive of a worker, folder with archives (or one unpacked), or s3://<volume id>/<folder>.",
)  # fmt: skip
@click.option("--to", metavar="IMAGE", help="Where the result goes.  [default: IMAGE's own tag]")
@click.option(
    "--lock", type=click.Path(path_type=Path, dir_okay=False), default=Path("weights.lock"), show_default=True,
    help="Lock file whose entry follows.",
)  # fmt: skip
@click.option("--datacenter", metavar="ID", help="Where the network volume lives: EU-RO-1, for example.")
@click.option("--endpoint-url", metavar="URL", help="Address of the S3 API, where it is not RunPod's.")
@click.option("--profile", help="Profile of the AWS configuration that holds the volume's keys.")
@click.option(
    "--max-size", type=Size(), metavar="SIZE", default=str(8 * GIB), help="Refuse larger caches.  [default: 8GiB]"
)
@click.option("--dry-run", is_flag=True, help="Read and check the caches, say what would be done; write nothing.")
@click.option(
    "--json", "as_json", is_flag=True, help="Print progress and receipt (or the plan) as JSON lines on stdout."
)
def harvest_command(
    image: str,
    source: str,
    to: str | None,
    lock: Path,
    datacenter: str | None,
    endpoint_url: str | None,
    profile: str | None,
    max_size: int,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Append to a baked image what its first worker compiled: the next one of that kind starts with it.

    One small layer for each GPU type, vLLM version and set of engine options; weights do not move. Caches of the same
    key are replaced, others stay.
    """
    console = people_console(stderr=True)
    with told(console, interrupted="interrupted: no tag was changed", as_json=as_json):
        request = HarvestRequest(
            image=image,
            source=source,
            to=to,
            lock=lock,
            max_size=max_size,
            datacenter=datacenter,
            endpoint_url=endpoint_url,
            profile=profile,
            credentials=credentials_from_environment(),
            docker_config=docker_folder(),
        )
        if dry_run:
            _print_plan(plan_harvest(request), as_json=as_json)
            return
        with display(console, as_json=as_json) as progress:
            receipt = harvest(request, progress=progress)
        _print_receipt(receipt, as_json=as_json)


def _print_plan(plan: HarvestPlan, *, as_json: bool) -> None:
    if as_json:
        click.echo(as_json_line(plan))
        return
    console = people_console()
    table = Table("key", "GPU", "vLLM", "files", "size", "", title=plan.target, title_justify="left")
    for caches in plan.caches:
        what = "there already" if caches.outcome else "replaces what is there" if caches.replaces else "new"
        table.add_row(caches.id, caches.gpu, caches.vllm, str(caches.files), human_size(caches.size), what)
    for kept in plan.kept:
        table.add_row(kept.id, kept.gpu, kept.vllm, "", human_size(kept.size), "stays", style="dim")
    console.print(table)
    for note in plan.notes:
        console.print(note, highlight=False, markup=False)
    console.print("nothing was written", highlight=False)


def _print_receipt(receipt: HarvestReceipt, *, as_json: bool) -> None:
    if as_json:
        click.echo(as_json_line(receipt))
        return
    click.echo(receipt.image)
    for caches in receipt.caches:
        click.echo(f"{caches.id}: {_words(caches)}", err=True)
    click.echo(
        f"{len(receipt.caches) + len(receipt.kept)} sets of start-up caches; {human_size(receipt.sent_bytes)} moved,"
        f" of which weights {human_size(receipt.weight_bytes)}, in {receipt.seconds:.1f} s",
        err=True,
    )


def _words(caches: HarvestedCaches) -> str:
    return f"{caches.gpu}, vLLM {caches.vllm}, {caches.files} files, {human_size(caches.size)}"
