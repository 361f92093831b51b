# ruff: noqa: E501 - a program of a story is one line of the table
"""What both engines print: stories, told in the pulumi CLI's own text, normalised.

`recorded/texts/<name>.txt` holds what the CLI printed; `python -m tests.pulumi_embedded.texts [name…]` writes it anew
with the CLI on PATH.

The normal form: ids by names, no times, no spinner, no blank line that says nothing; rows sorted (those of different
resources come as they come), and so are the blocks of `Diagnostics:`.
"""

import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from tests.pulumi_embedded.scenario import fault
from tests.pulumi_embedded.support import HERE, STACK, Act, Sandbox
from tests.pulumi_embedded.virtualenv import cli_virtualenv

RECORDED = HERE / "recorded" / "texts"
_YES = ("--yes", "--skip-preview")
_LIFE = """
g = Group("g")
a = Thing("a", O(parent=g), value=1, password="hunter22", tags={"x": [1, {"k": "v"}], "gone": True}, text="one\\ntwo\\nthree", doc='{"a": 1}')
b = Thing("b", value=a.url, fixed=1)
c = Thing("c", O(depends_on=[b]), value=3)
pulumi.export("url", c.url)
pulumi.export("secret", pulumi.Output.secret("abc-secret"))
pulumi.export("obj", {"a": [1, True, None]})
"""
_LATER = """
g = Group("g")
a = Thing("a", O(parent=g), value=2, password="hunter33", tags={"x": [1, {"k": "w"}, 3], "new": {"n": 1}}, text="one\\n2\\nthree", doc='{"a": 2}')
b = Thing("b", value=a.url, fixed=2)
d = Thing("d", O(protect=True), value=b.serial, f=1.5, empty={}, none=None)
pulumi.export("url", d.url)
pulumi.export("obj", {"a": [1, False, None]})
"""
_TWO = 'a = Thing("a", value=1)\nThing("b", value=a.url)\npulumi.export("u", a.url)'
_ODD = """
a = Thing("a", O(protect=True), fixed=1)
b = Thing("b", O(retain_on_delete=True), value=a.url)
c = Thing("c", O(deleted_with=b), value=1)
Thing("g", O(id="found"))
p = Demo("p", region="eu")
Thing("z", O(provider=p), value=1)
"""
_PREVIEW, _TREE = ("--preview-only",), ("--preview-only", "--diff")
_DBR = 'a = Thing("a", fixed={}, dbr=True)\nThing("b", fixed=a.url)\nThing("c", value=1)'

STORIES: dict[str, Sequence[Act]] = {
    "life": (
        Act("preview", _LIFE), Act("preview", None, ("--diff",)), Act("up", None, _YES), Act("up", None, ("--yes",)),
        Act("preview", _LATER), Act("preview", None, ("--diff",)), Act("up", None, _YES),
        Act("preview", None, ("--show-sames",)), Act("refresh", None, _YES, cloud={"a": {"value": 99}, "b": None}),
        Act("up", None, (*_YES, "--diff")), Act("refresh", None, (*_YES, "--diff"), cloud={"a": {"value": 98}}),
        Act("up", _LATER.replace("protect=True", "protect=False"), (*_YES, "--diff")), Act("destroy", None, _YES),
    ),
    "failures": (
        Act("up", _TWO, _YES, faults=[fault("create", "b", message="no capacity\nin EU")]),
        Act("up", None, _YES, faults=[fault("create", "b", "init", message="not ready")]),
        Act("up", None, _YES),
        Act("refresh", None, _YES, faults=[fault("read", "a", "unreachable")]),
        Act("destroy", None, _YES, faults=[fault("delete", "b")]),
    ),
    "replacements": (
        Act("up", _DBR.format(1), _YES), Act("preview", _DBR.format(2)), Act("preview", None, ("--diff",)),
        Act("preview", None, ("--diff", "--show-replacement-steps")), Act("up", None, _YES),
        Act("destroy", None, (*_YES, "--diff")),
    ),
    "options": (
        Act("up", 'Thing("a", O(retain_on_delete=True, protect=True), value=1)\nThing("g", O(id="found"))\nThing("i", O(import_="found"), value=7)', _YES, cloud={"+found": {"value": 7, "tier": "basic"}}),
        Act("preview", 'g = Thing("g", O(id="found"))\nz = Thing("z", O(aliases=[pulumi.Alias(name="a")], depends_on=[g]), value=1)\nThing("i", O(depends_on=[z]), value=8)', ("--diff",)),
        Act("up", None, _YES),
        Act("preview", 'p = Demo("p", region="eu")\nThing("z", O(provider=p), value=1)', ("--diff",)),
        Act("preview", 'p = Demo("p", region="eu")\nThing("z", O(provider=p), value=1)'),
    ),
    "own_diff": (
        Act("up", 'g = Group("g", x=1)\nPlain("a", O(parent=g), value=1, l=[1, 2], s=pulumi.Output.secret("hush hush"))\ng.register_outputs({"o": 1})', _YES),
        Act("preview", 'g = Group("g", x=2, y=[])\nPlain("a", O(parent=g), value=1, l=[2], s="hush again", m={"k": ["v"]})\ng.register_outputs({"o": 2})', ("--diff",)),
        Act("up", None, (*_YES, "--diff")),
    ),
    "previews": (
        Act("up", _LIFE, _YES), Act("refresh", None, _PREVIEW),
        Act("refresh", None, _PREVIEW, cloud={"a": {"value": 99, "tags": {"x": [1], "z": {"q": 1}}}, "b": None}),
        Act("refresh", None, _TREE), Act("refresh", None, (*_TREE, "--show-sames")), Act("destroy", None, _PREVIEW),
        Act("destroy", None, _TREE), Act("destroy", None, (*_PREVIEW, "--refresh")), Act("destroy", None, (*_TREE, "--refresh")),
        Act("refresh", None, ("--yes",)), Act("destroy", None, ("--yes", "--refresh")),
    ),
    "previews_of_options": (
        Act("up", _ODD, _YES, cloud={"+found": {"value": 7, "tier": "basic"}}),
        Act("destroy", None, _PREVIEW), Act("destroy", None, _TREE), Act("refresh", None, _TREE),
        Act("refresh", None, _PREVIEW, faults=[fault("read", "a", "unreachable")]),
        Act("refresh", None, _TREE, faults=[fault("read", "a", "init", message="not ready")]),
        Act("preview", None, ("--refresh", "--diff"), cloud={"z": {"value": 6}}), Act("preview", None, ("--refresh",)),
    ),
    "outputs_that_go": (
        Act("up", 'Thing("g", O(id="found"))\npulumi.export("x", [1])', _YES, cloud={"+found": {"value": 7, "tier": "basic"}}),
        Act("refresh", None, (*_PREVIEW, "--expect-no-changes"), cloud={"found": {"value": 8}}),
        Act("destroy", None, _TREE), Act("destroy", None, (*_YES, "--refresh")),
    ),
}  # fmt: skip


def _rows_sorted(lines: list[str]) -> list[str]:
    """The rows, from the heading on to the first section, in alphabetical order."""
    result: list[str] = []
    rows: list[str] = []
    for line in lines:
        if re.match(r" (\+ |~ |- |\+-|\+\+|--|> |= |=>|< |<<|  ) \S+:\S+ \S+", line):
            rows.append(line)
        else:
            result += sorted(rows)
            rows = []
            result.append(line)
    return result + sorted(rows)


def _trees_sorted(lines: list[str]) -> list[str]:
    """The trees of what is read or deleted side by side, in alphabetical order; the heading stays where it is."""
    starts = [i for i, line in enumerate(lines) if re.match(r"\s*(\S{1,2}\s*)?\S+:\S+:\S+: \(", line)]
    if not starts:
        return lines
    end = next((i for i in range(starts[0], len(lines)) if re.match(r"[A-Z]", lines[i])), len(lines))
    bounds = [*(start for start in starts if start < end), end]
    trees = sorted(lines[start:stop] for start, stop in pairwise(bounds))
    return [*lines[: starts[0]], *(line for tree in trees for line in tree), *lines[end:]]


def _diagnostics_sorted(lines: list[str]) -> list[str]:
    if "Diagnostics:" not in lines:
        return lines
    start = lines.index("Diagnostics:") + 1
    end = next((i for i in range(start, len(lines)) if lines[i] and not lines[i].startswith(" ")), len(lines))
    blocks: list[list[str]] = []
    for line in lines[start:end]:
        if re.match(r"  \S", line):
            blocks.append([])
        blocks[-1].append(re.sub(r"^ {4}\t", " " * 8, line))
    return [*lines[:start], *(line for block in sorted(blocks) for line in block), *lines[end:]]


def _without_interruption(lines: list[str]) -> list[str]:
    """Without what Python says when the CLI interrupts the program after a failure (it may say so, or not)."""
    last = max((i for i, line in enumerate(lines) if line == "    KeyboardInterrupt"), default=-1)
    first = next((i for i, line in enumerate(lines) if line == "    Traceback (most recent call last):"), 0)
    if last < 0:
        return lines
    kept = [*lines[:first], *lines[last + 1 :]]
    return [re.sub(r"(Stack \S+ \*\*.*); \d+ messages?$", r"\1", line) for line in kept]


def normal(sandbox: Sandbox, text: str, ordered: bool = True) -> str:
    """What is left of a text when chance is taken out of it."""
    text = re.sub(r"<\{%[^%]*%\}>", "", text)
    text = sandbox.named(re.sub(r" \(\d+(\.\d+)?s\)", "", text))
    text = re.sub(r"Duration: \S+", "Duration: T", text)
    kept = [line.rstrip() for line in text.splitlines() if not line.startswith("@ ")]
    lines = [line for line in kept if line]
    # What is said of a stack before it is known how it ends depends on when it is said.
    lines = [line for line in lines if not re.match(r".{4}pulumi:pulumi:Stack \S+( running.*)?$", line)]
    lines = lines if ordered else _trees_sorted(lines)
    return "\n".join(_diagnostics_sorted(_rows_sorted(_without_interruption(lines))))


def tell(story: Sequence[Act], sandbox: Sandbox) -> str:
    """What an engine prints for a story."""
    sandbox.init()
    parts = []
    for act in story:
        sandbox.prepare(act)
        command = [act.run, "--stack", STACK, *act.flags]
        done = subprocess.run(
            sandbox.command(*command), cwd=sandbox.project, env=sandbox.process_env, capture_output=True, text=True,
            timeout=120,
        )  # fmt: skip
        shown = " ".join([act.run, *act.flags])
        said = normal(sandbox, done.stdout, ordered=act.run in ("up", "preview"))
        parts.append(f"$ {shown}\n{said}\n= {done.returncode}")
        errors = normal(sandbox, done.stderr)
        if errors:
            parts.append(f"! {errors}")
    return "\n".join(parts).replace(str(sandbox.root), "") + "\n"


def main(names: list[str]) -> None:
    """Record the named stories, or all."""
    RECORDED.mkdir(exist_ok=True)
    for name in names or STORIES:
        with tempfile.TemporaryDirectory() as folder:
            text = tell(STORIES[name], Sandbox(Path(folder) / "sandbox", "cli", cli_virtualenv()))
        (RECORDED / f"{name}.txt").write_text(text)
        sys.stdout.write(f"{name} {re.findall('^= .*', text, re.MULTILINE)}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
