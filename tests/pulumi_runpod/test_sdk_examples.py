"""Every Python example of docs/resources, run as it stands: engine, plugin and emulator are real."""

import re
import time
from pathlib import Path

import pytest

from pulumi_runpod.declarations import CLOUD_RESOURCES, RESOURCES
from tests.pulumi_runpod.cloud import KEY, Cloud
from tests.pulumi_runpod.project import PLUGIN_ENVIRONMENT, ROOT, Project
from tests.weight_bakery.support import write_model

FENCE = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PAGES = sorted((ROOT / "docs" / "resources").glob("*.md"))
EXAMPLES = {
    f"{page.stem}-{number}": source
    for page in PAGES
    for number, source in enumerate(FENCE.findall(page.read_text()))
}  # fmt: skip


PROGRAM = """
import runpy, sys

sys.path.insert(0, SOURCE)
for example in EXAMPLES:
    runpy.run_path(example)
"""


@pytest.mark.slow
@pytest.mark.skipif(not PLUGIN_ENVIRONMENT.exists(), reason="needs the plugin's environment (.local/envs/plugin)")
async def test_every_example_is_made_and_then_left_alone(cloud: Cloud, tmp_path: Path) -> None:
    """`up` makes what the pages show; the preview after it is empty. One stack, each example a file of its own."""
    home = tmp_path / "project"
    home.mkdir()
    project = Project(home, cloud.url, KEY, embedded=True, config={"tiny:registryPassword": "pass-word-of-the-tests"})
    for name, source in EXAMPLES.items():
        (home / f"{name}.py").write_text(source)
    program = PROGRAM.replace("SOURCE", repr(str(ROOT / "src")))
    (home / "__main__.py").write_text(program.replace("EXAMPLES", repr([f"{name}.py" for name in EXAMPLES])))
    write_model(home / "model")
    time.sleep(0.15)  # a file that changed just now is read again by the next preview
    await project.init()
    made = await project.up()
    assert made.code == 0, made.text
    assert await project.preview("--expect-no-changes") == {}
    posted = {path for method, path, _ in cloud.calls if method == "POST" and not path.endswith("/run")}
    assert posted == {resource.path for resource in CLOUD_RESOURCES}


def test_every_resource_has_an_example() -> None:
    """On its own page."""
    pages = {re.sub(r"(?<!^)(?=[A-Z])", "_", resource.name).lower() for resource in RESOURCES}
    assert {name.partition("-")[0] for name in EXAMPLES} >= pages
