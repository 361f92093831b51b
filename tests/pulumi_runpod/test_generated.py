"""What is generated is checked in, complete and true."""

import json
import re

import pytest

from pulumi_runpod.declarations import FUNCTIONS, RESOURCES, Resource
from pulumi_runpod.provider.generate.files import PACKAGE, ROOT, differing_files
from pulumi_runpod.provider.generate.schema import enumerations, objects, schema


def test_generated_files_match_the_declarations() -> None:
    """Run `python -m pulumi_runpod.provider.generate` after changing a declaration."""
    assert differing_files() == []


def test_the_schema_refers_to_nothing_that_is_missing() -> None:
    """Every $ref is declared, every type is used, every required property exists."""
    document = schema()
    text = json.dumps(document)
    refs = set(re.findall(r'"#/types/(runpod:index:\w+)"', text))
    named = [kind.name for kind in objects()] + [kind.enum_name for kind in enumerations()]
    assert refs == set(document["types"]) == {f"runpod:index:{name}" for name in named}
    assert all(named)
    for resource in document["resources"].values():
        assert set(resource["requiredInputs"]) <= set(resource["inputProperties"])
        assert set(resource["required"]) <= set(resource["properties"])
    assert set(document["functions"]) == {function.token for function in FUNCTIONS}


def test_the_checked_in_schema_has_secrets_marked() -> None:
    """Generated SDKs of other languages take the marks from it."""
    document = json.loads((PACKAGE / "provider" / "schema.json").read_text())
    assert document["resources"]["runpod:index:RegistryCredential"]["inputProperties"]["password"]["secret"]
    assert document["config"]["variables"]["apiKey"]["secret"]


@pytest.mark.parametrize("resource", RESOURCES, ids=lambda resource: resource.name)
def test_every_page_names_every_input(resource: Resource) -> None:
    """The docs page is complete, and its example compiles."""
    name = re.sub(r"(?<!^)(?=[A-Z])", "_", resource.name).lower()
    page = (ROOT / "docs" / "resources" / f"{name}.md").read_text()
    assert all(f"`{field.name}`" in page for field in resource.inputs if not field.sdk_hidden)
    compile(resource.example, name, "exec")
