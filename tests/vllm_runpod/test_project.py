"""The project folder and its stack files."""

from pathlib import Path

import pytest

from vllm_runpod.errors import CommandError, NotAProject
from vllm_runpod.project import Project, find_project


@pytest.fixture
def project(tmp_path: Path) -> Project:
    (tmp_path / "Pulumi.yaml").write_text("name: demo\nruntime: python\n")
    return find_project(tmp_path)


def stack(project: Project, text: str) -> None:
    (project.root / "Pulumi.local.yaml").write_text(text)


def test_the_project_is_found_from_a_folder_inside_it(project: Project) -> None:
    """Commands work from anywhere in the clone."""
    inside = project.root / "infra" / "components"
    inside.mkdir(parents=True)
    assert find_project(inside) == project
    assert project.name == "demo"


def test_a_folder_outside_a_project_is_refused(tmp_path: Path) -> None:
    """The message names the folder and the flag that helps."""
    with pytest.raises(NotAProject, match=r"no Pulumi.yaml in .*--cwd"):
        find_project(tmp_path)


def test_an_unknown_stack_names_the_known_ones(project: Project) -> None:
    """A typing mistake in --stack is answered with the stacks there are."""
    stack(project, "config: {}\n")
    with pytest.raises(CommandError, match=r"no Pulumi.prd.yaml; stacks here: local"):
        project.config("prd")


def test_bad_yaml_is_one_line_that_names_the_file(project: Project) -> None:
    """No parser trace reaches a user."""
    stack(project, "config:\n  a: b\n\tc: d\n")
    with pytest.raises(
        CommandError, match=r"Pulumi.local.yaml is not valid YAML: line 3, column 1: found .*'\\t'"
    ) as caught:
        project.config("local")
    assert "\n" not in str(caught.value)
    (project.root / "Pulumi.yaml").write_text("name: [\n")
    with pytest.raises(NotAProject, match=r"Pulumi.yaml is not valid YAML: line 2, column 1: "):
        find_project(project.root)


def test_a_stack_file_that_is_no_text_is_named(project: Project) -> None:
    """A file in another encoding and one that cannot be read are the user's to mend, not a fault of ours."""
    (project.root / "Pulumi.local.yaml").write_bytes("config: {a: ü}".encode("latin-1"))
    with pytest.raises(CommandError, match=r"Pulumi.local.yaml is not valid YAML: .*utf-8"):
        project.config("local")
    (project.root / "Pulumi.dev.yaml").mkdir()
    with pytest.raises(CommandError, match=r"Pulumi.dev.yaml cannot be read: Is a directory"):
        project.config("dev")


def test_the_emulators_address_comes_from_the_stack_file(project: Project) -> None:
    """One place names the port."""
    stack(project, "config:\n  runpod:apiUrl: http://127.0.0.1:8123\n")
    assert project.emulator_address() == ("127.0.0.1", 8123)


@pytest.mark.parametrize(
    "url", ["https://api.runpod.io", "http://10.0.0.1:80", "http://127.0.0.1", "http://127.0.0.1:99999", "nonsense", ""]
)
def test_stack_local_refuses_any_other_address(project: Project, url: str) -> None:
    """A stack file in a pull request cannot send `local` anywhere else."""
    stack(project, f"config:\n  runpod:apiUrl: '{url}'\n")
    with pytest.raises(CommandError, match=r"runpod:apiUrl is `.*`; stack `local`"):
        project.emulator_address()
