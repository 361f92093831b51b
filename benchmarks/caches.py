"""What start-up caches save: a worker's first start, a harvest into its image, and the next worker's start.

Real vLLM compiles a small model for the CPU with torch.compile (its answers are not looked at: compiled for the CPU,
small models answer wrongly). The first start has no caches; what it wrote is harvested into an image, and the second
start, with an empty cache folder, has what that image's layer holds. Same machine, one after the other.
"""

import sys
import tarfile
import tempfile
from pathlib import Path

import click

from benchmarks._caches_worker import ROOT, Start, StartFailure, image_root, start
from benchmarks.report import Limit, Report
from weight_bakery import BakeRequest, HarvestRequest, bake, harvest

NAME = "model"
_FOLDERS = {"python": "envs/vllm/bin/python", "deps": "worker-deps", "model": "models/smollm2-135m-instruct"}


@click.command()
@click.option("--python", type=click.Path(path_type=Path), help="Interpreter with vLLM.  [default: .local/envs/vllm]")
@click.option("--deps", type=click.Path(path_type=Path), help="The worker's packages.  [default: .local/worker-deps]")
@click.option("--model", type=click.Path(path_type=Path), help="Model folder.  [default: the local stack's]")
@click.option("--limit", type=float, default=1800.0, show_default=True, help="Seconds that a start may take.")
@click.option("--home", type=click.Path(path_type=Path), help="Home folder of the workers.  [default: a new one]")
def main(python: Path | None, deps: Path | None, model: Path | None, limit: float, home: Path | None) -> None:
    """Time a start without caches, harvest them, and time a start with them."""
    given = {"python": python, "deps": deps, "model": model}
    found = {name: path or ROOT / ".local" / _FOLDERS[name] for name, path in given.items()}
    if missing := [name for name, path in found.items() if not path.exists()]:
        raise click.ClickException(f"{found[missing[0]]} is missing; run `make setup-all`")
    report = Report("caches")
    with tempfile.TemporaryDirectory(prefix="caches-") as folder:
        try:
            _measure(report, Path(folder), found, home or Path(folder) / "home", limit)
        except StartFailure as error:
            raise click.ClickException(str(error)) from error
    sys.exit(report.close())


def _measure(report: Report, folder: Path, found: dict[str, Path], home: Path, limit: float) -> None:
    image, volume = f"oci:{folder}/images:v1", folder / "volume"
    bake(BakeRequest(model=str(found["model"].resolve()), to=image, name=NAME))
    root = image_root(folder / "root", found["model"].resolve(), NAME)
    settings = {
        "MODEL_NAME": str(root / "models" / NAME),
        "MAX_MODEL_LEN": "256",
        "MAX_NUM_SEQS": "2",
        "ENFORCE_EAGER": "false",
        # vLLM's CPU backend writes ahead-of-time artifacts that it cannot load again (0.32: no `finalize_loading`);
        # what is left there are Inductor's caches.
        "VLLM_USE_AOT_COMPILE": "0",
    }

    def started(what: str, **environment: str) -> Start:
        click.echo(f"starting a worker {what} ...", err=True)
        found_out = start(found["python"], root, home, found["deps"], {**settings, **environment}, limit)
        for line in (*(said["message"] for said in found_out.caches), *found_out.notes, found_out.ready["message"]):
            click.echo(f"  {line}", err=True)
        return found_out

    cold = started("without caches", WORKER_CACHE_HARVEST=str(volume))
    receipt = harvest(HarvestRequest(image, str(volume)))
    (caches,) = receipt.caches
    blob = folder / "images/blobs/sha256" / caches.digest.removeprefix("sha256:")
    with tarfile.open(blob) as layer:
        layer.extractall(root, filter="data")
    warm = started("with the harvested layer")
    hit = int(warm.ready["caches"] == "hit")
    report.measured("hit", hit, Limit(equals=1), f"the second worker's log; the first one's: {cold.ready['caches']}")
    anew = sum("compiled again" in note for note in warm.notes)
    report.measured("compiled_again", anew, Limit(equals=0), "models that vLLM compiled in spite of caches")
    report.measured(
        "cpu_vs_cold", warm.cpu_seconds / cold.cpu_seconds, Limit(max=1),
        f"processor time of a start, compilers included: {warm.cpu_seconds:.0f} s instead of {cold.cpu_seconds:.0f} s",
    )  # fmt: skip
    before, after = cold.phase("engine_init"), warm.phase("engine_init")
    report.measured(
        "engine_init_vs_cold",
        after / before if before else 1.0,
        note=f"{after:.1f} s instead of {before:.1f} s by the clock",
    )
    total = warm.phase("total") / cold.phase("total")
    report.measured("start_vs_cold", total, note=f"{warm.phase('total'):.1f} s instead of {cold.phase('total'):.1f} s")
    report.measured("layer_mib", caches.size / 2**20, note=f"{caches.files} files")
    report.measured("lay_out_seconds", warm.phase("caches"), note="to choose and copy them, before vLLM starts")
    report.measured("weight_bytes", receipt.weight_bytes, Limit(equals=0), "moved by the harvest")
