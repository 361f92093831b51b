# ruff: noqa: E501 - a case of a table is one line
"""The command line: flags, exit codes, what is written and what is never written, and one clear line for bad input."""

import gzip
import json
import os
import re
from pathlib import Path

import pytest

import pulumi_embedded
from tests.pulumi_embedded.support import PASSPHRASE, STACK, Sandbox, run_here
from tests.pulumi_embedded.virtualenv import own_virtualenv

ONE = 'Thing("a", value=1)'
SECRET = "a-very-secret-value"
WITH_SECRETS = f"""
c = pulumi.Config()
a = Thing("a", password=c.require_secret("key"), value={{"k": pulumi.Output.secret("{SECRET}-2")}})
pulumi.export("s", pulumi.Output.secret("{SECRET}-3"))
pulumi.export("plain", "shown")
print("the program says", "{SECRET}")
"""


@pytest.fixture
def sandbox(tmp_path: Path) -> Sandbox:
    """A project, and no stack yet."""
    return Sandbox(tmp_path / "sandbox", "embedded", own_virtualenv())


def _files(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and "cloud" not in path.parts and "__pycache__" not in path.parts
    }


def _without(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, name: str, value: str | None = None) -> None:
    env = {key: item for key, item in sandbox.env.items() if key != name}
    if value is not None:
        env[name] = value
    monkeypatch.setattr(Sandbox, "env", property(lambda _: env))


def test_a_preview_of_a_stack_that_is_not_there_creates_everything_and_writes_nothing(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From a clean clone: no stack, no state, no passphrase."""
    _without(sandbox, monkeypatch, "PULUMI_CONFIG_PASSPHRASE")
    sandbox.program(ONE)
    before = _files(sandbox.root)
    code, output = sandbox.run("preview", "--stack", "prod", "--diff")
    assert code == 0, output
    assert "Resources:\n    + 2 to create\n" in output
    assert _files(sandbox.root) == before
    assert list((sandbox.root / "state").iterdir()) == []


def test_a_preview_of_an_existing_stack_writes_nothing(sandbox: Sandbox) -> None:
    """Neither the state nor the configuration, not even a lock that comes and goes."""
    sandbox.init()
    sandbox.program(ONE)
    assert sandbox.outcome("up").exit == 0
    sandbox.program('Thing("b", password="fresh-secret")')
    before = _files(sandbox.root)
    code, output = sandbox.run("preview", "--stack", STACK)
    assert code == 0, output
    assert "    + 1 to create\n    - 1 to delete\n    2 changes. 1 unchanged\n" in output
    after = _files(sandbox.root)
    after.pop("events.json", None)
    before.pop("events.json", None)
    assert after == before


def test_no_secret_is_shown_logged_or_stored(sandbox: Sandbox) -> None:
    """Looked for in every output and every file after every command."""
    sandbox.init()
    assert sandbox.run("config", "set", "--stack", STACK, "--secret", "key", SECRET)[0] == 0
    sandbox.program(WITH_SECRETS)
    commands = (
        ("preview", "--diff"), ("preview", "--json"), ("up", "--yes", "--diff", "--event-log", str(sandbox.root / "log")),
        ("up", "--yes", "--json"), ("refresh", "--yes"), ("stack", "output"), ("stack", "output", "--json"),
        ("stack", "output", "s"), ("config",), ("stack", "export"), ("stack", "history", "--json"),
        ("destroy", "--yes", "--preview-only"),
    )  # fmt: skip
    for command in commands:
        code, output = sandbox.run(*command, "--stack", STACK)
        assert code == 0, output
        assert SECRET not in output, command
        for name, content in _files(sandbox.root).items():
            assert SECRET.encode() not in content or name == "project/__main__.py", (command, name)
    assert sandbox.run("stack", "output", "s", "--show-secrets", "--stack", STACK)[1].strip() == f"{SECRET}-3"
    assert sandbox.run("config", "get", "key", "--stack", STACK)[1].strip() == SECRET
    assert f'\\"{SECRET}-3\\"' in sandbox.run("stack", "export", "--show-secrets", "--stack", STACK)[1]


def test_a_wrong_passphrase_is_refused_where_nothing_is_secret_yet(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise it would be found out in the middle of the first update that has a secret."""
    sandbox.init()
    sandbox.program('Thing("a")')
    assert sandbox.outcome("up").exit == 0
    before = sandbox.state_file.read_bytes()
    _without(sandbox, monkeypatch, "PULUMI_CONFIG_PASSPHRASE", "wrong")
    for command in (["preview"], ["up", "--yes"], ["refresh", "--yes"], ["destroy", "--yes"]):
        code, output = sandbox.run(*command, "--stack", STACK)
        assert code != 0
        assert "error: incorrect passphrase: PULUMI_CONFIG_PASSPHRASE" in output
    assert sandbox.state_file.read_bytes() == before


def test_a_wrong_passphrase_is_refused_in_one_line(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """And nothing is changed."""
    sandbox.init()
    sandbox.program('Thing("a", password="fresh-secret")')
    assert sandbox.outcome("up").exit == 0
    before = sandbox.state_file.read_bytes()
    _without(sandbox, monkeypatch, "PULUMI_CONFIG_PASSPHRASE", "wrong")
    for command in ("up", "refresh", "destroy"):
        code, output = sandbox.run(command, "--yes", "--stack", STACK)
        assert code == 1
        lines = [line for line in output.splitlines() if line.startswith("error:")]
        assert lines == [
            "error: incorrect passphrase: PULUMI_CONFIG_PASSPHRASE (or PULUMI_CONFIG_PASSPHRASE_FILE) does not open "
            "this stack's secrets"
        ]
    assert sandbox.state_file.read_bytes() == before


def test_the_passphrase_may_come_from_a_file(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """PULUMI_CONFIG_PASSPHRASE_FILE, as with the CLI; a missing file is named."""
    sandbox.init()
    assert sandbox.run("config", "set", "--stack", STACK, "--secret", "key", SECRET)[0] == 0
    file = sandbox.root / "passphrase"
    file.write_text(f"{PASSPHRASE}\n")
    env = {k: v for k, v in sandbox.env.items() if k != "PULUMI_CONFIG_PASSPHRASE"}
    monkeypatch.setattr(Sandbox, "env", property(lambda _: {**env, "PULUMI_CONFIG_PASSPHRASE_FILE": str(file)}))
    assert sandbox.run("config", "get", "key", "--stack", STACK) == (0, f"{SECRET}\n")
    file.unlink()
    code, output = sandbox.run("config", "get", "key", "--stack", STACK)
    assert code == 1
    assert f"PULUMI_CONFIG_PASSPHRASE_FILE: cannot read {file}" in output


def test_configuration_keeps_comments_and_order(sandbox: Sandbox) -> None:
    """A value set by a command changes its own line and no other; the salt is written only where there is none."""
    file = sandbox.project / "Pulumi.dev.yaml"
    file.write_text("# why this stack is\nconfig:\n  shop:b: two # second\n  shop:a: 'one'\n  other:list: [1, 2]\n")
    sandbox.init()
    salted = file.read_text()
    assert salted.startswith("encryptionsalt: v1:") or "\nencryptionsalt: v1:" in salted
    assert sandbox.run("config", "set", "--stack", STACK, "a", "three")[0] == 0
    assert sandbox.run("config", "set", "--stack", STACK, "--secret", "demo:token", SECRET)[0] == 0
    text = file.read_text()
    assert "# why this stack is" in text
    assert "  shop:b: two # second\n  shop:a: 'three'\n  other:list: [1, 2]\n  demo:token:\n    secure: v1:" in text
    assert [line for line in text.splitlines() if "encryptionsalt" in line] == [
        line for line in salted.splitlines() if "encryptionsalt" in line
    ]
    assert sandbox.run("config", "rm", "--stack", STACK, "b")[0] == 0
    code, output = sandbox.run("config", "--stack", STACK)
    assert code == 0
    assert output == "KEY         VALUE\ndemo:token  [secret]\nother:list  [1,2]\na           three\n"
    assert sandbox.run("config", "get", "--stack", STACK, "a") == (0, "three\n")
    assert sandbox.run("config", "get", "--stack", STACK, "nope") == (
        1, "error: configuration key 'nope' not found for stack 'dev'\n",
    )  # fmt: skip


def test_stack_commands(sandbox: Sandbox) -> None:
    """init, ls, output, export, rm."""
    sandbox.init()
    assert sandbox.run("stack", "init", STACK)[0] == 1
    sandbox.program('pulumi.export("n", 3)\npulumi.export("o", {"a": [1]})')
    assert sandbox.outcome("up").exit == 0
    assert STACK in sandbox.run("stack", "ls")[1]
    assert json.loads(sandbox.run("stack", "ls", "--json")[1])[0]["resourceCount"] == 1
    assert sandbox.run("stack", "output", "n", "--stack", STACK) == (0, "3\n")
    assert json.loads(sandbox.run("stack", "output", "--json", "--stack", STACK)[1]) == {"n": 3, "o": {"a": [1]}}
    assert sandbox.run("stack", "output", "nope", "--stack", STACK) == (
        1, "error: current stack does not have output property 'nope'\n",
    )  # fmt: skip
    exported = json.loads(sandbox.run("stack", "export", "--stack", STACK)[1])
    assert exported["version"] == 3
    assert exported["deployment"]["resources"][0]["type"] == "pulumi:pulumi:Stack"
    code, output = sandbox.run("stack", "rm", STACK, "--yes")
    assert code == 1
    assert "still has resources" in output
    assert sandbox.run("destroy", "--yes", "--remove", "--stack", STACK)[0] == 0
    assert STACK not in sandbox.run("stack", "ls")[1]
    assert sandbox.run("stack", "output", "--stack", STACK)[0] == 6


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("up", "--stack", "nope", "--yes"), 6, "no stack named 'nope' found"),
        (("up", "--stack", STACK), 2, "--yes or --skip-preview must be passed in to proceed"),
        (("up", "--stack", STACK, "--yes", "--target", "x"), 1, "does not support --target"),
        (("preview", "--stack", STACK, "--policy-pack", "p"), 1, "does not support --policy-pack"),
        (("preview", "--stack", STACK, "--save-plan", "p"), 1, "does not support --save-plan"),
        (("up", "--stack", STACK, "--yes", "-t", "x"), 1, "does not support"),
        (("destroy", "--stack", STACK, "--yes", "--exclude-protected"), 1, "does not support --exclude-protected"),
        (("preview", "--stack", "a/b"), 2, "'a/b' is not a stack of a file backend"),
        (("preview", "--stack", "organization/other/dev"), 2, "belongs to project other"),
        (("preview", "--stack", "no spaces"), 2, "is not a stack name"),
        (("preview", "--bogus"), 2, "--bogus"),
        (("config", "get", "--stack", STACK, "a:b:c"), 1, "is not a configuration key"),
        (("config", "set", "--stack", STACK, "--path", "a.b", "1"), 1, "does not support `config set --path`"),
        (("stack", "init", "x", "--secrets-provider", "awskms"), 1, "does not support the secrets provider `awskms`"),
    ],
)  # fmt: skip
def test_bad_requests_get_one_line_and_a_code(
    sandbox: Sandbox, arguments: tuple[str, ...], code: int, message: str
) -> None:
    """What was wrong, by its name; nothing is done."""
    sandbox.init()
    got, output = sandbox.run(*arguments)
    assert (got, message in output) == (code, True), output
    assert "Traceback" not in output


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: x\nruntime: nodejs\n", "does not support the runtime `nodejs`"),
        ("runtime: python\n", "`name` is missing"),
        ("name: [\n", "Pulumi.yaml cannot be read: line 2, column 1: "),
        ("name: x\nruntime: {name: python, options: {toolchain: uv}}\n", "does not support the toolchain `uv`"),
        ("name: x\nruntime: python\n", "no backend: set backend.url in Pulumi.yaml"),
        ("name: x\nruntime: python\nbackend: {url: 's3://b'}\n", "does not support the backend s3://b"),
        ("name: x\nruntime: python\nplugins: {providers: [{name: a}]}\n", "plugins.providers[0] needs `name` and `path`"),
        ("name: x\nruntime: python\nplugins: {analyzers: [{name: a, path: b}]}\n", "does not support `plugins.analyzers`"),
    ],
)  # fmt: skip
def test_a_bad_project_file_is_named(sandbox: Sandbox, text: str, message: str) -> None:
    """The key, and the way out."""
    (sandbox.project / "Pulumi.yaml").write_text(text)
    code, output = sandbox.run("preview", "--stack", STACK)
    assert code == 1
    assert message in output


def test_a_bad_stack_file_is_one_line(sandbox: Sandbox) -> None:
    """Where the YAML breaks off; which value cannot be decrypted, and what to do about it."""
    sandbox.init()
    sandbox.program("pass")
    assert sandbox.run("config", "set", "--stack", STACK, "--secret", "key", "a-secret-value")[0] == 0
    file = sandbox.project / f"Pulumi.{STACK}.yaml"
    good = file.read_text()
    file.write_text(re.sub(r"(secure: ['\"]?v1:[^:]*:).", r"\1!", good))
    code, output = sandbox.run("preview", "--stack", STACK)
    assert code != 0
    assert re.search(
        rf"^error: .*Pulumi.{STACK}.yaml: \S+:key: a secret cannot be decrypted.*set it again", output, re.M
    )
    file.write_text("config: [1\n")
    code, output = sandbox.run("preview", "--stack", STACK)
    assert code != 0
    assert [line for line in output.splitlines() if line] == [
        line
        for line in output.splitlines()
        if line.startswith("error: ") and "cannot be read: line 2, column 1: " in line
    ]


def test_a_damaged_state_is_refused(sandbox: Sandbox) -> None:
    """Edited resources, an impossible order, other secrets providers, unknown features: named, and left alone."""
    sandbox.init()
    sandbox.program('a = Thing("a", value=1)\nThing("b", value=a.url)')
    assert sandbox.outcome("up").exit == 0
    good = json.loads(sandbox.state_file.read_text())

    def refused(change: dict[str, object], top: dict[str, object] | None = None) -> str:
        document = json.loads(json.dumps(good))
        document["checkpoint"]["latest"].update(change)
        document.update(top or {})
        sandbox.state_file.write_text(json.dumps(document))
        code, output = sandbox.run("up", "--stack", STACK, "--yes")
        assert code == 1
        assert json.loads(sandbox.state_file.read_text()) == document
        return output

    resources = good["checkpoint"]["latest"]["resources"]
    assert "snapshot integrity error" in refused({"resources": list(reversed(resources))})
    assert "magic cookie mismatch" in refused({"manifest": {"version": "x", "magic": "y"}})
    assert "does not support the secrets provider `awskms`" in refused({"secrets_providers": {"type": "awskms"}})
    assert "does not support state features views" in refused({}, {"version": 4, "features": ["views"]})
    assert "checkpoint version 9 is not supported" in refused({}, {"version": 9})
    assert "`manifest` is no object" in refused({"manifest": 3})
    assert "`resources` is no list of objects" in refused({"resources": {"a": 1}})
    assert "`resources[0]` has no `urn`" in refused({"resources": [{"urn": 5, "type": "a:b:C"}]})
    assert "`pending_operations[0]` has no `resource`" in refused({"pending_operations": [{"type": "creating"}]})
    assert "`checkpoint` is no object" in refused({}, {"checkpoint": []})
    for damaged in (b"{", b"", b"\xff\xfe{}", b"\x1f\x8bgarbage", gzip.compress(b"{}" * 99)[:-9]):
        sandbox.state_file.write_bytes(damaged)
        code, output = sandbox.run("up", "--stack", STACK, "--yes")
        assert code == 1
        assert f"{sandbox.state_file} is not a checkpoint: " in output
        assert f"restore {sandbox.state_file}.bak" in output


@pytest.mark.parametrize(
    ("program", "message"),
    [
        ('pulumi.CustomResource("demo:index:Thing", "a", {"f": pulumi.StringAsset("x")})', "property `f`: pulumi_embedded does not support assets"),
        ('pulumi.ComponentResource("demo:index:G", "a", {}, remote=True)', "does not support remote components"),
        ('Thing("a", O(transforms=[lambda args: None]))', "transforms"),
        ('pulumi.runtime.register_resource_transform(lambda args: None)\nThing("a")', "transforms"),
        ('pulumi.StackReference("x")', "does not support the built-in resource type pulumi:pulumi:StackReference"),
        ('Thing("a", O(custom_timeouts=pulumi.CustomTimeouts(create="5 minutes")))', "unable to parse customTimeout Value 5 minutes"),
        ('pulumi.require_pulumi_version(">=99")', "does not satisfy the version range"),
    ],
)  # fmt: skip
def test_what_a_program_asks_for_in_vain_is_named(sandbox: Sandbox, program: str, message: str) -> None:
    """Refused by name, never ignored; no traceback of the engine's."""
    sandbox.program(program)
    code, output = sandbox.run("preview", "--stack", STACK)
    assert code == 1, output
    assert message in output


def test_a_failed_step_ends_the_program_quietly(sandbox: Sandbox) -> None:
    """The provider's message first, and no traceback of ours or the SDK's."""
    sandbox.init()
    sandbox.program('a = Thing("a", value=1)\nThing("b", value=a.url)')
    sandbox.faults([{"rpc": "create", "name": "a", "kind": "error", "message": "no capacity in EU"}])
    code, output = sandbox.run("up", "--stack", STACK, "--yes", "--skip-preview")
    assert code == 1
    diagnostics = output.split("Diagnostics:\n", 1)[1].splitlines()
    assert diagnostics[:2] == ["  demo:index:Thing (a):", "    error: no capacity in EU"]
    assert "Traceback" not in output
    assert "KeyboardInterrupt" not in output
    assert diagnostics[3:5] == ["  pulumi:pulumi:Stack (shop-dev):", "    error: update failed"]
    assert diagnostics.count("    error: no capacity in EU") == 1


def test_an_error_of_several_lines_is_shown_whole_and_once(sandbox: Sandbox) -> None:
    """Nothing repeats a part of it."""
    sandbox.program('raise pulumi.RunError("1 mistake in stack dev:\\n  shop:size: must be a number")')
    code, output = sandbox.run("preview", "--stack", STACK)
    assert code == 1, output
    assert "    error: 1 mistake in stack dev:\n      shop:size: must be a number\n" in output
    diagnostics = output.split("Diagnostics:\n", 1)[1]
    assert diagnostics.count("1 mistake") == diagnostics.count("shop:size") == 1


def test_beside_json_the_last_error_says_the_cause_whole(sandbox: Sandbox) -> None:
    """The document is for a machine."""
    sandbox.program('raise pulumi.RunError("1 mistake in stack dev:\\n  shop:size: must be a number")')
    code, output = sandbox.run("preview", "--stack", STACK, "--json")
    assert code == 1, output
    assert output.endswith("error: preview failed: 1 mistake in stack dev:\n  shop:size: must be a number\n")


def test_a_refused_property_is_named_without_its_value(sandbox: Sandbox) -> None:
    """Of a provider and of a resource: the value may be secret."""
    sandbox.init()
    assert sandbox.run("config", "set", "--stack", STACK, "demo:region", "nowhere")[0] == 0
    sandbox.program('Thing("a")\nThing("b")\nThing("c")')
    code, output = sandbox.run("preview", "--stack", STACK)
    assert code == 1, output
    sentence = "pulumi:providers:demo resource 'default': property region has a problem: there is no such region"
    assert f"    error: {sentence}\n" in output
    assert "nowhere" not in output
    assert "a bug in" not in output
    assert sandbox.run("config", "set", "--stack", STACK, "demo:region", "here")[0] == 0
    sandbox.program('Thing("a", value="bad")')
    output = sandbox.run("preview", "--stack", STACK)[1]
    assert "demo:index:Thing resource 'a': property value has a problem: must not be bad\n" in output


def test_the_programs_own_traceback_is_its_own(sandbox: Sandbox) -> None:
    """Frames of the program, none of the machinery."""
    sandbox.program('def broken():\n    raise ValueError("bad idea")\nbroken()')
    code, output = sandbox.run("preview", "--stack", STACK)
    assert code == 1
    assert "ValueError: bad idea" in output
    assert "in broken" in output
    assert "_runner.py" not in output
    assert "run_in_stack" not in output


def test_plain_lines_tell_what_happens(sandbox: Sandbox) -> None:
    """Progress, the provider's status, differences, summary, outputs and duration, without a terminal."""
    sandbox.init()
    sandbox.program('a = Thing("a", value=1, password="fresh-secret")\npulumi.export("url", a.serial)')
    output = sandbox.run("up", "--stack", STACK, "--yes", "--skip-preview")[1]
    for text in (" +  demo:index:Thing a creating (0s)\n", "making a\n", " +  demo:index:Thing a created (0.", "made a",
                 "Outputs:\n    url: 1\n", "Resources:\n    + 2 created\n", "\nDuration: "):  # fmt: skip
        assert text in output
    sandbox.program('a = Thing("a", value=2, fixed=1, password="other-secret")\npulumi.export("url", a.serial)')
    output = sandbox.run("preview", "--stack", STACK)[1]
    for text in (" ++ demo:index:Thing a create replacement [diff: +fixed~password,value]\n",
                 " +- demo:index:Thing a replace [diff: +fixed~password,value]\n",
                 "Resources:\n    +-1 to replace\n    1 unchanged\n"):  # fmt: skip
        assert text in output, output


def test_the_json_preview_has_the_clis_form(sandbox: Sandbox) -> None:
    """One document: config, steps with states, reasons and detailed differences, change summary."""
    sandbox.init()
    sandbox.program('Thing("a", value=1, fixed=1)')
    assert sandbox.outcome("up").exit == 0
    sandbox.program('Thing("a", value=1, fixed=2)')
    code, output = sandbox.run("preview", "--json", "--stack", STACK)
    assert code == 0
    document = json.loads(output)
    assert document["changeSummary"] == {"replace": 1, "same": 1}
    assert [step["op"] for step in document["steps"]] == ["same", "replace"]
    step = document["steps"][1]
    assert step["diffReasons"] == step["replaceReasons"] == ["fixed"]
    assert step["detailedDiff"] == {"fixed": {"kind": "update-replace", "inputDiff": True}}
    assert step["oldState"]["inputs"]["fixed"] == 1
    assert step["newState"]["inputs"]["fixed"] == 2
    assert isinstance(document["duration"], int)


def test_the_backend_url_may_come_from_the_environment(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """PULUMI_BACKEND_URL wins over Pulumi.yaml."""
    other = sandbox.root / "elsewhere"
    other.mkdir()
    env = {**sandbox.env, "PULUMI_BACKEND_URL": f"file://{other}"}
    monkeypatch.setattr(Sandbox, "env", property(lambda _: env))
    assert sandbox.run("stack", "init", STACK)[0] == 0
    assert (other / ".pulumi" / "meta.yaml").read_text() == "version: 1\n"


def test_the_backend_may_be_relative_to_the_project_and_have_options(sandbox: Sandbox) -> None:
    """`file://folder?create_dir=true`, as the CLI's file driver takes it; an unknown option is refused."""
    project = sandbox.project / "Pulumi.yaml"
    text = project.read_text()
    url = f"file://{sandbox.root}/state"
    project.write_text(text.replace(url, "file://deep/er?create_dir=true&no_tmp_dir=true"))
    sandbox.init()
    assert (sandbox.project / "deep/er/.pulumi/stacks/shop/dev.json").exists()
    project.write_text(text.replace(url, "file://deep?prefix=x"))
    code, output = sandbox.run("stack", "ls")
    assert code == 1
    assert "does not support `prefix` in the backend file://deep?prefix=x" in output


def test_the_layout_is_the_clis(sandbox: Sandbox) -> None:
    """State, its predecessor, backups, history with a checkpoint each; the lock is gone."""
    sandbox.init()
    sandbox.program(ONE)
    assert sandbox.outcome("up").exit == 0
    root = sandbox.root / "state" / ".pulumi"
    assert (root / "stacks/shop/dev.json.bak").exists()
    assert len(list((root / "backups/shop/dev").glob("dev.*.json"))) == 1
    assert len(list((root / "history/shop/dev").glob("dev-*.history.json"))) == 1
    assert len(list((root / "history/shop/dev").glob("dev-*.checkpoint.json"))) == 1
    history = json.loads(next((root / "history/shop/dev").glob("*.history.json")).read_text())
    assert (history["kind"], history["result"], history["resourceChanges"]) == ("update", "succeeded", {"create": 2})
    assert not list((root / "locks").glob("**/*.json"))


def test_an_unchanged_update_changes_no_secret_in_the_file(sandbox: Sandbox) -> None:
    """Ciphertexts are used again, so the state does not churn."""
    sandbox.init()
    sandbox.program('Thing("a", password="fresh-secret")\npulumi.export("s", pulumi.Output.secret("another-one"))')
    assert sandbox.outcome("up").exit == 0
    before = sandbox.raw_state()["resources"]
    assert sandbox.outcome("up").exit == 0
    assert sandbox.raw_state()["resources"] == before


def test_global_flags_may_stand_anywhere(sandbox: Sandbox) -> None:
    """As with the CLI: before the command, and after it."""
    sandbox.init()
    for arguments in (["--cwd", str(sandbox.project), "preview"], ["preview", f"--cwd={sandbox.project}"]):
        code, output = run_here(sandbox, [*arguments, "--stack", STACK, "--non-interactive", "--color", "never"])
        assert code == 0, output
    code, output = run_here(sandbox, ["preview", "--stack", STACK, "-C", str(sandbox.root)])
    assert code == 1
    assert "no Pulumi.yaml project file found in" in output


def test_public_names_are_there() -> None:
    """`__all__` tells the truth."""
    for name in pulumi_embedded.__all__:
        assert getattr(pulumi_embedded, name) is not None


def test_the_api_runs_what_the_command_runs(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stack opened from Python: preview, and its outputs."""
    from pulumi_embedded._collect import Collector

    sandbox.init()
    sandbox.program('pulumi.export("n", 3)')
    assert sandbox.outcome("up").exit == 0
    for key, value in sandbox.env.items():
        monkeypatch.setenv(key, value)
    stack = pulumi_embedded.open_stack(STACK, sandbox.project)
    assert stack.outputs() == {"n": 3}
    collector = Collector()
    assert stack.preview(collector, pulumi_embedded.Options(), pulumi_embedded.run_here).ok
    assert collector.counts == {"same": 1}


def test_help_is_quick_and_needs_no_project(tmp_path: Path) -> None:
    """`--help` says what there is."""
    sandbox = Sandbox(tmp_path / "s", "embedded", own_virtualenv())
    code, output = run_here(sandbox, ["--help"])
    assert code == 0
    for command in ("up", "preview", "refresh", "destroy", "stack", "config", "cancel"):
        assert command in output
    assert os.getcwd() not in output  # noqa: PTH109
