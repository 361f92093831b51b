"""The command `bake rebase`: a baked image on a new base, without moving its weights."""

from pathlib import Path

import click

from weight_bakery._cli_common import credentials_from_environment, docker_folder, told
from weight_bakery._rebase import RebaseRequest, rebase
from weight_bakery._request import as_json_line
from weight_bakery._show import display, human_size, people_console

_EPILOG = """
\b
Examples:
  bake rebase ghcr.io/me/qwen3-8b:v1 --base ghcr.io/me/vllm-base:v0.33.0
  bake rebase oci:images:v1 --base oci:images:base2 --to oci:images:v2
"""


@click.command("rebase", epilog=_EPILOG)
@click.argument("image", metavar="IMAGE")
@click.option("--base", required=True, metavar="IMAGE", help="The new base.")
@click.option("--to", metavar="IMAGE", help="Where the result goes.  [default: IMAGE's own tag]")
@click.option(
    "--lock", type=click.Path(path_type=Path, dir_okay=False), default=Path("weights.lock"), show_default=True,
    help="Lock file whose entry follows.",
)  # fmt: skip
@click.option("--flows", type=click.IntRange(1, 16), default=4, show_default=True, help="Layers in flight at once.")
@click.option("--json", "as_json", is_flag=True, help="Print progress and receipt as JSON lines on stdout.")
def rebase_command(image: str, base: str, to: str | None, lock: Path, flows: int, as_json: bool) -> None:
    """Put a baked image on a new base. Only config and manifest are written anew.

    Inside one registry no weight moves: layers are asked for by digest, or mounted. The result is the image that a
    bake on the new base would make.
    """
    console = people_console(stderr=True)
    with told(console, interrupted="interrupted: no tag was changed", as_json=as_json):
        request = RebaseRequest(
            image=image,
            base=base,
            to=to,
            lock=lock,
            flows=flows,
            credentials=credentials_from_environment(),
            docker_config=docker_folder(),
        )
        with display(console, as_json=as_json) as progress:
            receipt = rebase(request, progress=progress)
        if as_json:
            click.echo(as_json_line(receipt))
            return
        click.echo(receipt.image)
        click.echo(
            f"{len(receipt.layers)} layers; {human_size(receipt.sent_bytes)} moved, of which weights and worker"
            f" {human_size(receipt.weight_bytes)}, in {receipt.seconds:.1f} s",
            err=True,
        )
