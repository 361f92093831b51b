"""Record the stacks of a release, once its version is set: `.venv/bin/python -m tests.recorded.record`.

Deploys tests/recorded/sources to the emulator with the embedded engine, and keeps what a user of this release would
have: files, state, and what the cloud answers. A release that is recorded is never recorded again.
"""

import asyncio
import json
import shutil
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Any

from tests.infra.support import lock_file
from tests.pulumi_runpod.cloud import Cloud, live_cloud
from tests.recorded import stacks

COLLECTIONS = ("serverless", "templates", "network-volumes", "registries")


class NotRecorded(Exception):
    """A command failed; nothing is kept."""


async def record(version_folder: Path) -> None:
    """Every stack into `version_folder`, or nothing."""
    with tempfile.TemporaryDirectory() as scratch:
        made = Path(scratch) / "made"
        for kind in stacks.STACKS:
            async with live_cloud(Path(scratch) / f"cloud-{kind}") as cloud:
                await _record_stack(kind, Path(scratch) / kind, made / kind, cloud)
        shutil.copytree(made, version_folder)


async def _record_stack(kind: str, folder: Path, kept: Path, cloud: Cloud) -> None:
    source = stacks.FOLDER / "sources" / kind
    stack = stacks.lay_out(kind, source, folder, cloud.url)
    if kind == "deployment":
        lock_file(folder / "weights.lock", "registry.example/model:v1", model="example/model")
    await _done(stack, "stack", "init")
    config = {"runpod:apiUrl": cloud.url, "runpod:jobsUrl": f"{cloud.url}/v2"}
    for key, value in config.items():
        await _done(stack, "config", "set", key, value)
    for key, value in stacks.secrets(source).items():
        await _done(stack, "config", "set", "--secret", key, value)
    await _done(stack, "up", "--yes", "--skip-preview")
    export = await _done(stack, "stack", "export")
    answers = await _answers(cloud)

    kept.mkdir(parents=True)
    for path in folder.iterdir():
        if (path.is_file() and path.name != "Pulumi.yaml") or (kind == "own" and path.name == "Pulumi.yaml"):
            name = stacks.PROGRAM if path.name == "__main__.py" else path.name
            _keep(kept / name, path.read_text(), cloud)
    _keep(kept / "state.json", export, cloud)
    _keep(kept / "cloud.json", json.dumps(answers, indent=1) + "\n", cloud)


def _keep(path: Path, text: str, cloud: Cloud) -> None:
    # The provider was told the proxy's address; the emulator names its own in some answers.
    path.write_text(text.replace(cloud.url, stacks.CLOUD).replace(cloud.ctx.base_url, stacks.CLOUD))


async def _answers(cloud: Cloud) -> dict[str, Any]:
    """What the cloud says of everything in it, by path."""
    answers: dict[str, Any] = {}
    for collection in COLLECTIONS:
        path = f"/v2/{collection}"
        answers[path] = await cloud.call("GET", path)
        (items,) = (value for value in answers[path].values() if isinstance(value, list))
        for item in items:
            answers[f"{path}/{item['id']}"] = await cloud.call("GET", f"{path}/{item['id']}")
            if collection == "serverless":
                for more in ("workers", "releases"):
                    answers[f"{path}/{item['id']}/{more}"] = await cloud.call("GET", f"{path}/{item['id']}/{more}")
    return answers


async def _done(stack: stacks.RecordedStack, *arguments: str) -> str:
    code, out, error = await stack.run(*arguments)
    if code != 0:
        raise NotRecorded(f"{' '.join(arguments)}:\n{out}{error}")
    return out


def main() -> int:
    project = tomllib.loads((stacks.ROOT / "pyproject.toml").read_text())
    folder = stacks.FOLDER / project["project"]["version"]
    if folder.exists():
        sys.stderr.write(f"{folder} is there: a release is recorded once. Set the next version in pyproject.toml\n")
        return 1
    try:
        asyncio.run(record(folder))
    except NotRecorded as error:
        sys.stderr.write(f"nothing recorded: {error}\n")
        return 1
    sys.stdout.write(f"recorded: {folder}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
