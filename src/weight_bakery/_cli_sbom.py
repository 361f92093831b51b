"""The command `bake sbom`: print back what is attached to a baked image."""

import asyncio
import sys
from pathlib import Path

import click

from weight_bakery._attach import attached_to, read_attached
from weight_bakery._cli_common import credentials_from_environment, docker_folder, told
from weight_bakery._errors import BadRequest, RegistryError
from weight_bakery._lock import lock_target, read_lock
from weight_bakery._references import LayoutReference, RegistryReference, parse_image
from weight_bakery._registry import RegistryStore
from weight_bakery._sbom import PROVENANCE_TYPE, SBOM_TYPE, provenance, sbom
from weight_bakery._show import people_console
from weight_bakery._status_registry import open_to_read

_EPILOG = """
\b
Examples:
  bake sbom ghcr.io/me/qwen3-8b:v1 > sbom.cdx.json
  bake sbom mirror.example/qwen3-8b@sha256:... --provenance
"""


@click.command("sbom", epilog=_EPILOG)
@click.argument("image", metavar="IMAGE")
@click.option("--provenance", "wants_provenance", is_flag=True, help="Print the in-toto statement instead.")
@click.option(
    "--lock", type=click.Path(path_type=Path, dir_okay=False), default=Path("weights.lock"), show_default=True,
    help="Lock file from which the document of a layout's image is made.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Tell a failure as a JSON line on stdout too.")
def sbom_command(image: str, wants_provenance: bool, lock: Path, as_json: bool) -> None:
    """Print the bill of materials (CycloneDX 1.6) that is attached to a baked image in a registry.

    Its bytes are verified by digest. A layout has no place for attached documents: for an image there the same
    document is made from the lock file.
    """
    with told(people_console(stderr=True), as_json=as_json):
        reference = parse_image(image, option="IMAGE")
        if isinstance(reference, LayoutReference):
            content = _from_lock(reference, lock, wants_provenance=wants_provenance)
        else:
            content = asyncio.run(_from_registry(reference, PROVENANCE_TYPE if wants_provenance else SBOM_TYPE))
        sys.stdout.buffer.write(content + b"\n")
        sys.stdout.buffer.flush()


def _from_lock(reference: LayoutReference, lock: Path, *, wants_provenance: bool) -> bytes:
    target = lock_target(LayoutReference(reference.directory, reference.tag), lock)
    entry = read_lock(lock).images.get(target)
    if entry is None or reference.digest not in (None, entry.image_digest):
        raise BadRequest(f"{lock} has no entry for {reference}", "name the lock file of the bake with --lock")
    return (provenance if wants_provenance else sbom)(entry).content


async def _from_registry(reference: RegistryReference, artifact_type: str) -> bytes:
    store = open_to_read(reference, credentials_from_environment(), docker_folder())
    assert isinstance(store, RegistryStore)
    try:
        found = await store.read_manifest(reference.target)
        if found is None:
            raise RegistryError(f"{reference} does not exist", "check its name and tag")
        items = [item for item in await attached_to(store, found.digest) if item.artifact_type == artifact_type]
        if not items:
            raise RegistryError(
                f"no {artifact_type} is attached to {reference}", "bake it again without --no-attest; nothing is resent"
            )
        return await read_attached(store, items[-1])
    finally:
        await store.close()
