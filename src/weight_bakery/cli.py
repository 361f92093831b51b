"""The `bake` command: a skin over the library. Data goes to stdout, everything else to stderr.

Exit codes: 0 done, 1 refused or failed (one line says why, with --json one on stdout too), 2 wrong usage, 130
interrupted.
"""

import os
from pathlib import Path
from typing import get_args

import click
from rich.table import Table

from redaction import redact
from weight_bakery._bake import bake, plan_bake
from weight_bakery._cli_common import (
    PASSWORD_VARIABLE,
    USERNAME_VARIABLE,
    Size,
    credentials_from_environment,
    default_cache,
    docker_folder,
    error_line,
    told,
)
from weight_bakery._cli_harvest import harvest_command
from weight_bakery._cli_rebase import rebase_command
from weight_bakery._cli_sbom import sbom_command
from weight_bakery._cli_seed import seed_command
from weight_bakery._cli_status import status_command
from weight_bakery._references import SourceChoice
from weight_bakery._request import BakePlan, BakeReceipt, BakeRequest, as_json_line
from weight_bakery._show import ProgressDisplay, display, human_size, people_console
from weight_bakery._sign import signer

__all__ = [
    "PASSWORD_VARIABLE",
    "USERNAME_VARIABLE",
    "ProgressDisplay",
    "bake_command",
    "error_line",
    "human_size",
    "status_command",
]

SIGN_KEY_VARIABLE = "VLLM_RUNPOD_SIGN_KEY"
_INTERRUPTED = "interrupted: no tag was changed; finished layers are kept, so the next run goes on from here"

_EPILOG = f"""
\b
Examples:
  bake --model ./SmolLM2-135M-Instruct --to oci:images:smollm2
  bake --model Qwen/Qwen3-8B@main --to ghcr.io/me/qwen3-8b:v1 --base vllm/vllm-openai:v0.32.0 \\
       --worker-deps .local/worker-layer \\
       --worker-code images/vllm-baked/vllm_worker --worker-code src/vllm_options --worker-code src/redaction
  bake --model ./model --to 127.0.0.1:5000/model:v1 --dry-run
  bake --model Qwen/Qwen3-8B --source hf-cache --to oci:images:qwen3
  bake --model s3://bucket/models/Qwen3-8B --to ghcr.io/me/qwen3-8b:v1
  bake --model image:ghcr.io/me/qwen3-8b:v1 --to ghcr.io/me/other:v1 --base vllm/vllm-openai:v0.33.0
  bake --model image:ghcr.io/them/llm:v2#/models/llm --to oci:images:llm
  bake --model owner/model-GGUF --include '*Q4_K_M.gguf' --exclude '*.md' --to oci:images:gguf
\b
Registry login: {USERNAME_VARIABLE} and {PASSWORD_VARIABLE}, else Docker's
config.json with its credential helpers. Hub token: HF_TOKEN, or a stored `hf auth login`.
Buckets: AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; AWS_ENDPOINT_URL_S3, AWS_REGION.
"""


@click.group("bake", epilog=_EPILOG, invoke_without_command=True)
@click.option(
    "--model", metavar="MODEL",
    help="Folder, Hub repository id[@revision], s3://<bucket>/<prefix>, image:<image>[#/<path>] or oci:<dir>:<tag>."
    "  [required to bake]",
)  # fmt: skip
@click.option(
    "--source", type=click.Choice(get_args(SourceChoice)), default="auto", show_default=True,
    help="Where a repository id is looked up: on the Hub, or in this machine's Hugging Face cache.",
)  # fmt: skip
@click.option("--to", metavar="IMAGE", help="oci:<dir>:<tag>, or <host>[:port]/<repository>[:tag].  [required to bake]")
@click.option("--base", metavar="IMAGE", help="Image to build on; its layers are mounted or streamed, never unpacked.")
@click.option(
    "--include", multiple=True, metavar="GLOB", help="Take these files too; named weights are then the only ones."
)
@click.option("--exclude", multiple=True, metavar="GLOB", help="Leave these files out. Wins over everything.")
@click.option("--name", help="Folder under /models in the image.  [default: last part of MODEL, lower case]")
@click.option("--served-name", help="Model name of the OpenAI route.  [default: the Hub id, or the folder's name]")
@click.option("--worker-deps", type=click.Path(path_type=Path), help="The worker's `pip install --target` folder.")
@click.option("--worker-code", type=click.Path(path_type=Path), multiple=True, help="A package folder of the worker.")
@click.option(
    "--lock", type=click.Path(path_type=Path, dir_okay=False), default=Path("weights.lock"), show_default=True,
    help="Lock file to keep.",
)  # fmt: skip
@click.option("--cache", type=click.Path(path_type=Path, dir_okay=False), help="Where digests are remembered.")
@click.option("--flows", type=click.IntRange(1, 16), default=4, show_default=True, help="Layers in flight at once.")
@click.option(
    "--attest/--no-attest", default=True, show_default=True,
    help="Attach bill of materials and provenance in the registry.",
)  # fmt: skip
@click.option(
    "--sign", metavar="[KEY]", is_flag=False, flag_value="",
    help=f"Sign with cosign: with KEY, else with that in {SIGN_KEY_VARIABLE}, else keyless.",
)  # fmt: skip
@click.option("--dry-run", is_flag=True, help="List files and layers with their sizes; move nothing.")
@click.option(
    "--json", "as_json", is_flag=True, help="Print progress and receipt (or the plan) as JSON lines on stdout."
)
@click.option(
    "--max-layer-size", type=Size(), metavar="SIZE",
    help="Split safetensors files over this size (5GB, 4GiB).  [default: what the registry is known to take]",
)  # fmt: skip
def bake_command(
    model: str | None,
    source: SourceChoice,
    to: str | None,
    base: str | None,
    include: tuple[str, ...],
    exclude: tuple[str, ...],
    name: str | None,
    served_name: str | None,
    worker_deps: Path | None,
    worker_code: tuple[Path, ...],
    lock: Path,
    cache: Path | None,
    flows: int,
    attest: bool,
    sign: str | None,
    dry_run: bool,
    as_json: bool,
    max_layer_size: int | None,
) -> None:
    """Bake a model's weights into a container image: one deterministic, uncompressed layer per weight file.

    Nothing is built, unpacked or compressed; no daemon is needed. What the target has already is not sent again.
    """
    context = click.get_current_context()
    if context.invoked_subcommand is not None:
        return
    if model is None or to is None:
        raise click.MissingParameter(ctx=context, param_type="option", param_hint="--to" if model else "--model")
    console = people_console(stderr=True)
    with told(console, interrupted=_INTERRUPTED, as_json=as_json):
        request = BakeRequest(
            model=model,
            source=source,
            to=to,
            base=base,
            include=include,
            exclude=exclude,
            name=name,
            served_name=served_name,
            worker_deps=worker_deps,
            worker_code=worker_code,
            lock=lock,
            cache=cache or default_cache(to),
            flows=flows,
            attest=attest,
            max_layer_size=max_layer_size,
            credentials=credentials_from_environment(),
            docker_config=docker_folder(),
        )
        if dry_run:
            _print_plan(plan_bake(request), as_json=as_json)
            return
        signed = None if sign is None else signer(request, key=sign or os.environ.get(SIGN_KEY_VARIABLE))
        with display(console, as_json=as_json) as progress:
            receipt = bake(request, progress=progress)
            if signed is not None:
                signed(receipt, progress)
        _print_receipt(receipt, lock, as_json=as_json)


def _print_plan(plan: BakePlan, *, as_json: bool) -> None:
    if as_json:
        click.echo(as_json_line(plan))
        return
    console = people_console()
    files = Table(
        "file", "size", "", title=redact(f"{plan.model}  {plan.revision or ''}".strip()), title_justify="left"
    )
    for file in plan.files:
        files.add_row(file.path, human_size(file.size), file.left_out or "baked", style="dim" if file.left_out else "")
    layers = Table("layer", "size", "files", title=plan.target, title_justify="left")
    layers.add_column("digest", no_wrap=True)
    layers.add_column("")
    for layer in plan.layers:
        there = {True: "there already", False: "to send", None: "known after reading"}[layer.present]
        if layer.mountable and not layer.present:
            there = "to mount"
        digest = layer.digest[:19] if layer.digest else ""
        layers.add_row(layer.label, human_size(layer.size), str(layer.files or ""), digest, there)
    console.print(files)
    console.print(layers)
    if plan.licence or plan.gated:
        console.print(f"licence {plan.licence or 'unknown'}, gated {plan.gated or 'unknown'}", highlight=False)
    for note in plan.notes:
        console.print(redact(note), highlight=False, soft_wrap=True)
    sums = {"there already": plan.reused, "to mount": plan.to_mount, "to send": plan.to_send,
            "known after reading": plan.undecided}  # fmt: skip
    parts = ", ".join(f"{human_size(size)} {word}" for word, size in sums.items() if size)
    console.print(f"{len(plan.layers)} layers, {human_size(plan.size)}: {parts}; nothing was moved", highlight=False)


def _print_receipt(receipt: BakeReceipt, lock: Path, *, as_json: bool) -> None:
    if as_json:
        click.echo(as_json_line(receipt))
        return
    click.echo(receipt.image)
    click.echo(
        f"{len(receipt.layers)} layers, {human_size(receipt.size)}, of which {human_size(receipt.sent_bytes)} moved"
        f" in {receipt.seconds:.1f} s; entry in {lock}",
        err=True,
    )


bake_command.add_command(status_command())
bake_command.add_command(sbom_command)
bake_command.add_command(rebase_command)
bake_command.add_command(seed_command)
bake_command.add_command(harvest_command)
