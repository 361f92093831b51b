"""Pulls from the real distribution registry, of an image that a foreign tool pushed."""

from pathlib import Path

import pytest

from runpod_emulator.host import RegistryRefused
from tests.runpod_emulator.host.registry import PASSWORD, USER
from tests.runpod_emulator.host.support import File, Image, bench, folder, tar
from tests.support.tools import Crane, built_tool, crane, running_registry  # noqa: F401 - crane is a fixture

pytestmark = [pytest.mark.tools, pytest.mark.slow]

HTPASSWD = "user:$2y$05$abcdefghijklmnopqrstuux7DVfxfgfXTmp/9Tsk6HzX2QQGjxePG\n"
"""bcrypt of registry.PASSWORD, cost 5."""


async def test_an_image_is_pulled_from_a_real_registry(tmp_path: Path, crane: Crane) -> None:  # noqa: F811
    """Anonymous, then, of the same storage, only with the right password."""
    files = [folder("models"), File("models/w", b"weights " * 50_000), File("models/name", b"from a real registry\n")]
    image = Image([tar(files), tar([File("code", b"x")])], {"Cmd": ["/bin/sh", "-c", "cat /models/name"]}, gzipped=True)
    image.write(tmp_path / "layout")
    server = tmp_path / "registry"
    server.mkdir()
    (server / "htpasswd").write_text(HTPASSWD)
    program = built_tool("registry")
    async with bench(tmp_path / "open") as host:
        with running_registry(program, server) as running:
            crane("push", str(tmp_path / "layout"), f"{running.host}/me/llm:1")
            assert await host.run(f"{running.host}/me/llm:1") == (0, ["from a real registry"])
            assert host.containers[0].image_digest == image.digest
    login = f"auth: {{htpasswd: {{realm: test, path: {server}/htpasswd}}}}\n"
    async with bench(tmp_path / "closed") as host:
        with running_registry(program, server, extra=login) as running:
            reference = f"{running.host}/me/llm@{image.digest}"
            with pytest.raises(RegistryRefused, match="give the endpoint a registry credential"):
                await host.run(reference)
            with pytest.raises(RegistryRefused, match="check the endpoint's registry credential"):
                await host.run(reference, registry_auth=(USER, "wrong"))
            assert (await host.run(reference, registry_auth=(USER, PASSWORD)))[0] == 0
