"""What the documents name is there: commands and their flags, make targets, links, files, keys, examples."""

import ast
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import click
import pytest

from vllm_runpod import main as command_line

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([
    *ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "images").rglob("*.md"),
])  # fmt: skip
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
MAKE = re.compile(
    r"(?:^|[\s`$])make((?: +[A-Z_]+=(?:\"[^\"]*\"|\S+?))* +[a-z][a-z-]*(?: +[A-Z_]+=(?:\"[^\"]*\"|[^\s`]+))*)"
)
FOLDERS = ("src/", "infra/", "images/", "scripts/", "tools/", "tests/", "docs/", "requirements/", "benchmarks/")


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def code(page: Path) -> Iterator[str]:
    """Lines of a page that a reader may type: fenced, indented by four, or between backticks; continuations joined."""
    text = page.read_text()
    fenced = "\n".join(body for language, body in FENCE.findall(text) if language != "python")
    prose = FENCE.sub("", text)
    indented = "\n".join(line[4:] for line in prose.splitlines() if line.startswith("    "))
    for line in f"{fenced}\n{indented}".replace("\\\n", " ").splitlines():
        yield line.strip().removeprefix("$ ")
    yield from re.findall(r"`([^`\n]+)`", prose)


@cache
def cli() -> click.Group:
    """The command line with the commands that rooms hang in."""
    command_line._add_room_commands()
    return command_line.cli


def mistakes_in_command(line: str) -> list[str]:
    """What is wrong with a line that calls `vllm-runpod`, by the real commands and options."""
    words = shlex.split(line.partition(" | ")[0], comments=True)
    command: click.Command = cli()
    wrong = []
    takes_value = False
    for word in words[1:]:
        flag, equals, _ = word.partition("=")
        if takes_value and not flag.startswith("-"):
            takes_value = False
        elif flag.startswith("-"):
            options = (known for known in command.params if isinstance(known, click.Option) and flag in known.opts)
            takes_value = not equals and all(not known.is_flag for known in options)
            if flag not in {option for known in command.params for option in known.opts} | {
                "--help",
                "-h",
                "--version",
            }:
                wrong.append(f"{command.name} has no {flag}")
        elif isinstance(command, click.Group):
            for choice in word.split("|"):
                if choice not in command.commands:
                    wrong.append(f"there is no command {choice}")
            command = command.commands.get(word.split("|")[0], command)
    return wrong


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    """Every relative link names a file of the repository."""
    targets = [target.partition("#")[0] for target in LINK.findall(FENCE.sub("", page.read_text()))]
    missing = [
        target for target in targets if target and "://" not in target and not (page.parent / target).resolve().exists()
    ]
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_make_commands_are_there(page: Path) -> None:
    """Every `make <target> VARIABLE=...` names a target and variables that the Makefile reads."""
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z][a-z-]*):", makefile, re.MULTILINE))
    assert {"up", "test", "preview", "down"} <= targets
    wrong = []
    for line in code(page):
        for found in MAKE.findall(f" {line.partition('#')[0]}"):
            for word in shlex.split(found.replace("…", "")):
                variable, sign, _ = word.partition("=")
                there = (
                    re.search(rf"\$[({{]?{variable}\b|^{variable} \?=", makefile, re.MULTILINE)
                    if sign
                    else word in targets
                )
                if not there:
                    wrong.append(f"{line}: {word}")
    assert wrong == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_commands_and_flags_are_there(page: Path) -> None:
    """Every call of `vllm-runpod` names a command and options that it has."""
    lines = [line for line in code(page) if re.match(r"vllm-runpod(\s|$)", line) and "<command>" not in line]
    assert {line: wrong for line in lines if (wrong := mistakes_in_command(line))} == {}


def test_wrong_commands_are_noticed() -> None:
    """The two checks above can fail."""
    assert mistakes_in_command("vllm-runpod bake --model a --too b") == ["bake has no --too"]
    assert mistakes_in_command("vllm-runpod up|bakery") == ["there is no command bakery"]
    assert MAKE.findall(' make up STACK=prod PROMPT="a b"') == [' up STACK=prod PROMPT="a b"']
    assert MAKE.findall(" make sure") == [" sure"]


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_named_files_are_there(page: Path) -> None:
    """Every path of the repository between backticks or in a command exists; `*` and `<...>` stand for something."""
    missing = []
    for line in code(page):
        for word in re.split(r"[\s=,;:()'\"]+", line):
            path = re.sub(r"<[^>]*>|\{[^}]*\}", "*", word.rstrip(".…"))
            if path.startswith(FOLDERS) and not (ROOT / path).exists() and not list(ROOT.glob(path)):
                missing.append(word)
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_configuration_keys_are_there(page: Path) -> None:
    """Every key that a reader is told to set is one that the program reads."""
    known = set(
        re.findall(r"^\| `(\w+)` \|", (ROOT / "docs/reference/stack-configuration.md").read_text(), re.MULTILINE)
    )
    known |= set(re.findall(r"`(runpod:\w+)`", (ROOT / "docs/resources/provider.md").read_text()))
    assert {"registryPassword", "runpod:apiKey"} <= known
    told = [
        found
        for line in code(page)
        for found in re.findall(r"pulumi config set (?:--\w+ )*(?:vllm-runpod:)?([\w:]*\w)(?![\w:]*<)", line)
    ]
    assert [key for key in told if key not in known] == []


def python_examples() -> list[object]:
    return [
        pytest.param(body, id=f"{name_of(page)}-{number}")
        for page in PAGES
        if page.parent == ROOT
        for number, (language, body) in enumerate(FENCE.findall(page.read_text()))
        if language == "python"
    ]


@pytest.mark.slow
@pytest.mark.parametrize("source", python_examples())
def test_python_examples_fit_the_real_signatures(source: str, tmp_path: Path) -> None:
    """Checked as strictly as the project itself, with the components under the name that they have in the wheel."""
    ast.parse(source)
    (tmp_path / "vllm_runpod_components").symlink_to(ROOT / "infra/components")
    example = tmp_path / "example.py"
    example.write_text(source)
    done = subprocess.run(
        [
            sys.executable, "-m", "mypy", "--strict", "--config-file", "", "--follow-imports", "silent",
            "--cache-dir", str(tmp_path / "cache"), str(example),
        ],
        env={"MYPYPATH": f"{tmp_path}:{ROOT / 'src'}", "PATH": "/usr/bin:/bin"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


PLAYED = """
import sys, pulumi

class Mocks(pulumi.runtime.Mocks):
    def new_resource(self, args):
        print("made", args.typ)
        return f"{args.name}-id", args.inputs
    def call(self, args):
        return {}

pulumi.runtime.set_mocks(Mocks())

@pulumi.runtime.test
def play():
    exec(compile(open(sys.argv[1]).read(), "example", "exec"), {})

play()
"""


@pytest.mark.parametrize("source", python_examples())
def test_python_examples_run(source: str, tmp_path: Path) -> None:
    """With an engine that only notes what is registered."""
    (tmp_path / "vllm_runpod_components").symlink_to(ROOT / "infra/components")
    (tmp_path / "example.py").write_text(source)
    done = subprocess.run(
        [sys.executable, "-c", PLAYED, str(tmp_path / "example.py")],
        env={"PYTHONPATH": f"{tmp_path}:{ROOT / 'src'}", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "made runpod:index:Endpoint" in done.stdout


def test_there_is_an_example_in_python() -> None:
    """The two tests above would say nothing without one."""
    assert python_examples()


def commands() -> dict[str, click.Command]:
    return {"vllm-runpod": cli(), **{f"vllm-runpod {name}": found for name, found in cli().commands.items()}}


@pytest.mark.parametrize("name", sorted(commands()))
def test_help_texts_show_examples_that_work(name: str) -> None:
    """Each command's help says what it does and shows how, with options that it has."""
    command = commands()[name]
    assert command.help
    assert command.epilog, f"`{name}` has no example"
    assert "Example" in command.epilog
    joined = command.epilog.replace("\\\n", " ")
    examples = [line.strip() for line in joined.splitlines() if line.strip().startswith("vllm-runpod ")]
    assert examples or name == "vllm-runpod bake"  # its examples are scripts/bake_weights.py's too
    examples += [f"vllm-runpod {line.strip()}" for line in joined.splitlines() if line.strip().startswith("bake ")]
    assert examples
    for line in examples:
        assert mistakes_in_command(re.split(r"  +", line)[0]) == [], line


def test_no_placeholder_is_left() -> None:
    """What stands for a measured output has been replaced by one."""
    assert [name_of(page) for page in PAGES if re.search(r"@@\w+@@|\bTODO\b|\bFIXME\b", page.read_text())] == []
