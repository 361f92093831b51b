"""The state of every release previews and refreshes without a change under the code of today, with either engine."""

import json
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.recorded.stacks import FOLDER, STACKS, RecordedCloud, RecordedStack, lay_out, put_state, secrets

VERSIONS = sorted(path.name for path in FOLDER.iterdir() if (path / "own").is_dir() and path.name != "sources")
PLUGIN_ENVIRONMENT = FOLDER.parents[1] / ".local/envs/plugin"
ENGINES = [
    "embedded",
    pytest.param(
        "pulumi",
        marks=[
            pytest.mark.pulumi_cli,
            pytest.mark.skipif(shutil.which("pulumi") is None, reason="the pulumi CLI is not on PATH"),
        ],
    ),
]
NOTHING_TO_DO = ("--expect-no-changes",)


@pytest.fixture
async def cloud(kind: str, version: str) -> AsyncIterator[RecordedCloud]:
    """The cloud as it was when the release was recorded."""
    cloud = RecordedCloud(json.loads((FOLDER / version / kind / "cloud.json").read_text()))
    runner = await cloud.start()
    yield cloud
    await runner.cleanup()


@pytest.fixture
def stack(kind: str, version: str, cloud: RecordedCloud, tmp_path: Path) -> RecordedStack:
    """What a user of that release has on disk, with the packages of today."""
    stack = lay_out(kind, FOLDER / version / kind, tmp_path / "stack", cloud.url)
    put_state(stack, (FOLDER / version / kind / "state.json").read_text())
    return stack


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.skipif(not PLUGIN_ENVIRONMENT.is_dir(), reason="the plugin's environment is not set up")
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("kind", STACKS)
@pytest.mark.parametrize("version", VERSIONS)
async def test_nothing_changes_for_a_user_of(
    version: str, kind: str, engine: str, stack: RecordedStack, cloud: RecordedCloud
) -> None:
    """Preview and refresh find nothing to do and ask only to read; what really changed is still found."""
    code, shown, error = await stack.run("preview", "--diff", *NOTHING_TO_DO, engine=engine)
    assert code == 0, shown + error
    refresh = ("refresh", "--yes", "--skip-preview", "--diff", *NOTHING_TO_DO)
    code, shown, error = await stack.run(*refresh, engine=engine)
    assert code == 0, shown + error
    assert cloud.unexpected == []
    if kind == "own" and engine == "embedded":
        cloud.answers = json.loads(json.dumps(cloud.answers).replace('"timeout": 60000', '"timeout": 1000'))
        code, shown, _ = await stack.run(*refresh, engine=engine)
        assert code != 0
        assert "timeout" in shown


@pytest.mark.parametrize("version", VERSIONS)
def test_no_secret_is_recorded_in_clear(version: str) -> None:
    """Those of the configuration, and what the program itself calls secret."""
    for kind in STACKS:
        folder = FOLDER / version / kind
        hidden = set(secrets(FOLDER / "sources" / kind).values()) | {"made-up-secret", "made-up-hub-token"}
        for name in ("state.json", "Pulumi.recorded.yaml"):
            text = (folder / name).read_text()
            assert [value for value in hidden if value in text] == []
            assert "ciphertext" in text or "secure:" in text


def test_the_first_release_is_recorded() -> None:
    """Without a record the tests above would say nothing."""
    assert VERSIONS[0] == "0.1.0"
