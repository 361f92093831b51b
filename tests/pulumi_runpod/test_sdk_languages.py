"""The schema and what Pulumi makes of it: its own check, the plugin's answer, SDKs for other languages."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest

from pulumi_runpod.declarations import FUNCTIONS, RESOURCES
from pulumi_runpod.provider.main import provider_version
from tests.support.node import node_modules

ROOT = Path(__file__).resolve().parents[2]
SCHEMA = ROOT / "src/pulumi_runpod/provider/schema.json"
PLUGIN = Path(sys.executable).with_name("pulumi-resource-runpod")
METASCHEMA = os.environ.get("PULUMI_METASCHEMA", "")
FENCE = re.compile(r"^```typescript\n(.*?)^```$", re.MULTILINE | re.DOTALL)
needs_cli = [
    pytest.mark.pulumi_cli,
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.skipif(shutil.which("pulumi") is None, reason="the pulumi CLI is not on PATH"),
]
WRONG = """
import * as runpod from "pulumi-runpod";
const scaling = { type: "REQUEST_COUNT" as const, requestCount: 1 };
// @ts-expect-error: a word that is none
new runpod.Endpoint("a", { type: "QUEU", scaling });
// @ts-expect-error: a required property is missing
new runpod.Endpoint("b", { type: "QUEUE" });
// @ts-expect-error: misspelt
new runpod.Template("c", { image: "i", imge: "j" });
// @ts-expect-error: a text where a number belongs
new runpod.NetworkVolume("d", { size: "20", dataCenter: "EU-RO-1" });
// @ts-expect-error: a nested property that is none
new runpod.Endpoint("e", { type: "QUEUE", scaling, gpu: { pools: ["ADA_24"], counts: 1 } });
// @ts-expect-error: a number in the environment
new runpod.Template("f", { image: "i", env: { A: 1 } });
// @ts-expect-error: no such output
new runpod.Template("g", { image: "i" }).images;
"""


def pulumi(folder: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """The CLI with nothing of the user's; it must not leave `folder`."""
    return subprocess.run(
        ["pulumi", *map(str, arguments)],
        cwd=folder,
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "PULUMI_SKIP_UPDATE_CHECK": "true",
            "NO_COLOR": "1",
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.skipif(not METASCHEMA, reason="PULUMI_METASCHEMA names no copy of pkg/codegen/schema/pulumi.json")
def test_the_schema_fits_the_metaschema() -> None:
    """Every keyword of the file itself; the CLI's check below sees only those that it knows."""
    metaschema = json.loads(Path(METASCHEMA).read_text())
    validator = jsonschema.validators.validator_for(metaschema)(metaschema)
    assert [error.message for error in validator.iter_errors(json.loads(SCHEMA.read_text()))] == []
    assert not validator.is_valid({"name": "runpod", "resources": {"runpod:index:X": {"properties": {"a": {}}}}})


class TestWithTheCli:
    """What `pulumi` does with it."""

    pytestmark = needs_cli

    def test_the_schema_passes_pulumi_s_own_check(self, tmp_path: Path) -> None:
        """`pulumi schema check` validates against the metaschema it carries, then binds every reference."""
        done = pulumi(tmp_path, "schema", "check", SCHEMA)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        broken = tmp_path / "broken.json"
        broken.write_text(SCHEMA.read_text().replace('"type": "integer"', '"type": "interger"', 1))
        assert "unknown type kind interger" in pulumi(tmp_path, "schema", "check", broken).stderr

    def test_the_plugin_answers_with_the_schema(self, tmp_path: Path) -> None:
        """`pulumi package get-schema <executable>` gives the checked-in file and the version."""
        done = pulumi(tmp_path, "package", "get-schema", PLUGIN)
        assert done.returncode == 0, done.stderr
        answered = json.loads(done.stdout)
        assert answered.pop("version") == provider_version()
        checked_in = json.loads(SCHEMA.read_text())
        assert set(answered["resources"]) == set(checked_in["resources"])
        assert set(answered["types"]) == set(checked_in["types"])
        assert set(answered["functions"]) == set(checked_in["functions"])

    @pytest.mark.parametrize("language", ["typescript", "python", "go"])
    def test_an_sdk_is_written(self, language: str, tmp_path: Path) -> None:
        """From the plugin itself, with every resource and function."""
        written = sdk(language, tmp_path)
        text = "\n".join(path.read_text() for path in written.rglob("*") if path.suffix in (".ts", ".py", ".go"))
        tokens = [resource.token for resource in RESOURCES] + [function.token for function in FUNCTIONS]
        assert [token for token in tokens if token not in text] == []

    def test_the_typescript_examples_type_check(self, tmp_path: Path) -> None:
        """Those of the docs pages, strictly; what is wrong is refused."""
        modules = node_modules()
        written = sdk("typescript", tmp_path)
        assert json.loads((written / "package.json").read_text())["name"] == "pulumi-runpod"
        (tmp_path / "node_modules").symlink_to(modules)
        examples = {
            f"{page.stem}-{number}": source
            for page in sorted((ROOT / "docs").rglob("*.md"))
            for number, source in enumerate(FENCE.findall(page.read_text()))
        }
        assert len(examples) >= len(RESOURCES)
        for name, source in {**examples, "wrong": WRONG}.items():
            (tmp_path / f"{name}.ts").write_text(source)
        options = {
            "strict": True, "noEmit": True, "module": "nodenext", "target": "ES2022", "moduleDetection": "force",
            "types": ["node"], "skipLibCheck": True,
            "paths": {"pulumi-runpod": ["./" + str(written.relative_to(tmp_path))]},
        }  # fmt: skip
        files = [f"{name}.ts" for name in [*examples, "wrong"]]
        (tmp_path / "tsconfig.json").write_text(json.dumps({"compilerOptions": options, "files": files}))
        checked = subprocess.run(
            ["node", modules / "typescript/bin/tsc", "--project", tmp_path], capture_output=True, text=True, timeout=240
        )
        assert (checked.returncode, checked.stdout) == (0, "")


def sdk(language: str, folder: Path) -> Path:
    """The folder of a generated SDK; skips where the CLI has no plugin for the language."""
    done = pulumi(folder, "package", "gen-sdk", PLUGIN, "--language", language, "--out", folder / "sdk")
    if "no language plugin" in done.stderr:
        pytest.skip(f"the CLI on PATH has no plugin for {language}")
    assert done.returncode == 0, done.stderr
    (written,) = (folder / "sdk").iterdir()
    return written
