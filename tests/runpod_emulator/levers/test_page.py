"""docs/emulator-levers.md: its examples run, what it shows comes, and no lever is missing."""

import asyncio
import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from runpod_emulator.server import build_app
from tests.runpod_emulator.levers.support import KEY, whole

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "emulator-levers.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```sh\n(.*?)^```\n(?:\n```json\n(.*?)^```\n)?", re.MULTILINE | re.DOTALL)


async def test_every_example_runs_and_prints_what_the_page_shows(tmp_path: Path) -> None:
    """All of them in order, in one shell each; the last line of output is the JSON below the block."""
    if shutil.which("curl") is None:
        pytest.skip("the page's examples use curl, which this machine has not")
    (settings, _), *examples = BLOCK.findall(PAGE)
    function = settings.splitlines()[-1]
    async with whole(tmp_path / "state") as emulator:
        environment = {"PATH": os.environ["PATH"], "EMULATOR": emulator.ctx.base_url, "KEY": KEY}
        for commands, shown in examples:
            shell = await asyncio.create_subprocess_exec(
                "bash", "-e", "-c", f"{function}\n{commands.replace(chr(10) + 'lever', chr(10) + 'echo; lever')}",
                env=environment, cwd=tmp_path, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
            )  # fmt: skip
            output, complaints = await shell.communicate()
            assert (shell.returncode, complaints) == (0, b""), (commands, output)
            if shown:
                printed: Any = json.loads(output.decode().strip().splitlines()[-1])
                assert printed == json.loads(shown)
    assert len(examples) >= 9


async def test_no_lever_is_missing(tmp_path: Path) -> None:
    """Each route below /_emulator/ stands in the page, and each one in the page exists."""
    async with whole(tmp_path / "state") as emulator:
        routes = {
            re.sub(r"\{.*?\}", "<id>", route.resource.canonical)
            for route in build_app(emulator.ctx).router.routes()
            if route.resource is not None and route.resource.canonical.startswith("/_emulator/")
        }
    told = {re.sub(r"/fault-\d+", "/<id>", path) for path in re.findall(r"/_emulator/[\w/<>-]*\w>?", PAGE)}
    assert told == routes
