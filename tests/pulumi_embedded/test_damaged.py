"""What people, editors and other CLIs leave behind or ask for: taken as the CLI takes it, or refused in one line."""

import copy
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pulumi_embedded._backend import Backend
from pulumi_embedded._checkpoint import checkpoint_bytes, load_deployment, parse_checkpoint
from pulumi_embedded._cli import main
from pulumi_embedded._config import StackConfig
from pulumi_embedded._crypto import PassphraseCrypter, passphrase_from_environment
from pulumi_embedded._errors import (
    BackendError,
    ConfigError,
    EngineError,
    PassphraseError,
    PluginError,
    ProjectError,
    StateError,
)
from pulumi_embedded._plugin import start_plugin
from pulumi_embedded._project import Project, load_project
from pulumi_embedded._state import Deployment, ResourceState
from pulumi_embedded._statejson import NoSecrets, Sealer
from pulumi_embedded._values import Secret

_A, _B = ("urn:pulumi:dev::shop::demo:index:Thing::a", "urn:pulumi:dev::shop::demo:index:Thing::b")


@pytest.fixture(scope="module")
def crypter() -> PassphraseCrypter:
    return PassphraseCrypter.create("pass")


@pytest.fixture(scope="module")
def document(crypter: PassphraseCrypter) -> dict[str, Any]:
    """A state with one of everything."""
    kind = "demo:index:Thing"
    a = ResourceState(_A, kind, True, "a-1", {"password": Secret("hunter22"), "n": 1}, {"list": [1, {"x": None}]})
    b = ResourceState(
        _B, kind, True, "b-1", parent=_A, dependencies=[_A], property_dependencies={"value": [_A], "other": []},
        aliases=[_A], custom_timeouts={"create": 5.0}, init_errors=["not yet"], protect=True,
    )  # fmt: skip
    data = checkpoint_bytes("dev", Deployment([a, b], secrets_state=crypter.state), Sealer(crypter))
    made: dict[str, Any] = json.loads(data)
    return made


def _loaded(document: dict[str, Any], crypter: PassphraseCrypter) -> Deployment:
    read = parse_checkpoint(json.dumps(document).encode(), "dev.json")
    return load_deployment(read["checkpoint"].get("latest"), Sealer(crypter), "dev.json")


def _places(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    if path:
        yield path
    if isinstance(value, dict | list):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield from _places(value[key], (*path, key))


def test_whatever_stands_anywhere_in_a_state_is_used_or_refused(
    document: dict[str, Any], crypter: PassphraseCrypter
) -> None:
    """Each value of a state replaced by each kind of wrong one, or left out: never anything but an error of ours."""
    refused = []
    for place in _places(document):
        for wrong in (None, 7, -1.5, "x", True, [], [7], {}, {"a": 1}, ...):
            damaged = copy.deepcopy(document)
            holder: Any = damaged
            for key in place[:-1]:
                holder = holder[key]
            if wrong is ...:
                del holder[place[-1]]
            else:
                holder[place[-1]] = wrong
            try:
                checkpoint_bytes("dev", _loaded(damaged, crypter), Sealer(crypter))
            except EngineError as error:
                refused.append(str(error))
    assert len(refused) > 200
    assert not [text for text in refused if "hunter22" in text]


def test_a_damaged_entry_is_named(document: dict[str, Any], crypter: PassphraseCrypter) -> None:
    """The place in the file, the resource and the property, and what to restore."""
    damaged = copy.deepcopy(document)
    damaged["checkpoint"]["latest"]["resources"][1]["dependencies"] = [7]
    with pytest.raises(StateError, match=rf"`resources\[1\]` \({_B}\): `dependencies` is no list of text; restore dev"):
        _loaded(damaged, crypter)
    damaged = copy.deepcopy(document)
    del damaged["checkpoint"]["latest"]["resources"][0]["inputs"]["password"]["ciphertext"]
    with pytest.raises(StateError, match=f"the value at {_A}/inputs/password in the state is damaged; restore"):
        _loaded(damaged, crypter)


def test_null_stands_for_nothing_as_older_clis_wrote_it(document: dict[str, Any], crypter: PassphraseCrypter) -> None:
    """`"propertyDependencies": {"size": null}` and `"outputs": null` are empty."""
    old = copy.deepcopy(document)
    b = old["checkpoint"]["latest"]["resources"][1]
    b["propertyDependencies"]["other"] = b["outputs"] = b["aliases"] = None
    state = _loaded(old, crypter).resources[1]
    assert state.property_dependencies == {"value": [_A], "other": []}
    assert (state.outputs, state.aliases) == ({}, [])


def _project(folder: Path, **more: Any) -> Project:
    return Project(name="shop", root=folder, main="", backend_url="", virtualenv=None, **more)


def test_configuration_values_are_the_clis(tmp_path: Path) -> None:
    """YAML's dates, times and numbers reach the program as the CLI tells them; recorded from `pulumi config`."""
    told = {
        "2026-01-01": "2026-01-01 00:00:00 +0000 UTC",
        "2026-01-01T10:20:30Z": "2026-01-01 10:20:30 +0000 UTC",
        "2026-01-01T10:20:30.5+02:00": "2026-01-01 10:20:30.5 +0200 +0200",
        '"2026-01-01"': "2026-01-01",
        "0.1": "0.1", "1e21": "1e+21", "123456789.5": "123456789.5", ".5": "0.5", "3.0": "3", "1e6": "1000000",
        "12345678.0": "12345678", "1e-7": "1e-7", "0o17": "15", "1_000": "1000", "-0": "0", "on": "on",
        "9007199254740993": "9007199254740993", "True": "true", "12:30": "12:30",
        "[1.0, 0x1f, yes, ~, 9007199254740993]": '[1,31,"yes",null,9007199254740993]',
        "{v: 1.10, day: 2026-01-01}": '{"v":1.1,"day":"2026-01-01 00:00:00 +0000 UTC"}',
    }  # fmt: skip
    lines = "".join(f"  shop:k{index}: {text}\n" for index, text in enumerate(told))
    (tmp_path / "Pulumi.dev.yaml").write_text(f"config:\n{lines}")
    config = StackConfig(_project(tmp_path), "dev")
    expected = {f"shop:k{index}": text for index, text in enumerate(told.values())}
    assert {key: value.text for key, value in config.values(NoSecrets()).items()} == expected
    assert {key: value.text for key, value in config.masked().items()} == expected
    assert json.dumps(config.history_form())
    (tmp_path / "Pulumi.dev.yaml").write_text("config:\n  shop:k: .inf\n")
    with pytest.raises(ConfigError, match="inf is no number that a configuration can hold"):
        StackConfig(_project(tmp_path), "dev").values(NoSecrets())


def test_files_that_are_no_text_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stack file, project file, passphrase file, the backend's own file, a plugin's list: the file and why."""
    bad = b"\xff\xfe"
    (tmp_path / "Pulumi.dev.yaml").write_bytes(bad)
    with pytest.raises(ConfigError, match=r"Pulumi.dev.yaml cannot be read: .*can't decode byte 0xff"):
        StackConfig(_project(tmp_path), "dev")
    (tmp_path / "Pulumi.yaml").write_bytes(bad)
    with pytest.raises(ProjectError, match=r"Pulumi.yaml cannot be read: .*can't decode byte 0xff"):
        load_project(tmp_path)
    (tmp_path / "Pulumi.yaml").write_text("{name: shop, runtime: python, plugins: {providers: 5}}")
    with pytest.raises(ProjectError, match=r"plugins.providers must be a list"):
        load_project(tmp_path)
    (tmp_path / "key").write_bytes(bad)
    monkeypatch.delenv("PULUMI_CONFIG_PASSPHRASE", raising=False)
    monkeypatch.setitem(os.environ, "PULUMI_CONFIG_PASSPHRASE_FILE", str(tmp_path / "key"))
    with pytest.raises(PassphraseError, match=r"PULUMI_CONFIG_PASSPHRASE_FILE: cannot read .*no UTF-8 text"):
        passphrase_from_environment()
    (tmp_path / ".pulumi").mkdir()
    (tmp_path / ".pulumi" / "meta.yaml").write_bytes(bad)
    with pytest.raises(BackendError, match=r"meta.yaml cannot be read: .*can't decode byte 0xff"):
        Backend(tmp_path, "shop")


async def test_a_plugin_that_stays_silent_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It neither ends nor says where it can be reached: told with what to do, and its process is ended."""
    plugin = tmp_path / "pulumi-resource-demo"
    plugin.write_text(f"#!/bin/sh\necho $$ > {tmp_path}/pid\necho loading >&2\nexec sleep 60\n")
    plugin.chmod(0o755)
    monkeypatch.setattr("pulumi_embedded._plugin._START_TIMEOUT_S", 1.0)
    project = _project(tmp_path, plugin_paths={"demo": tmp_path})
    with pytest.raises(PluginError, match=r"^the plugin 'demo' did not start: it named no port .* 1 s.*\n  loading$"):
        await start_plugin(project, "demo", "127.0.0.1:1")
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["import", "a:b:C", "x", "id"], "`import`"),
        (["state", "delete", "urn"], "`state`"),
        (["stack", "select", "dev"], "`stack select`"),
        (["config", "set-all"], "`config set-all`"),
        (["up", "-t", "urn"], "-t"),
        (["up", "-c", "a=b"], "-c"),
    ],
)
def test_commands_of_the_cli_that_are_not_there_are_refused_by_name(
    arguments: list[str], what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whoever knows the CLI learns that its command is meant, and where it is to be had."""
    assert main(arguments) == 1
    refusal = f"error: pulumi_embedded does not support {what}; use the pulumi CLI for it (the state is the same)\n"
    assert capsys.readouterr().err == refusal


@pytest.mark.parametrize("text", ["{", "[]", "{}", '"x"'])
def test_a_damaged_history_is_named(tmp_path: Path, text: str) -> None:
    """The file, and that it may be removed."""
    folder = tmp_path / ".pulumi" / "history" / "shop" / "dev"
    folder.mkdir(parents=True)
    (folder / "dev-1.history.json").write_text(text)
    with pytest.raises(BackendError, match=r"dev-1.history.json .*no part of the state and may be removed"):
        Backend(tmp_path, "shop").history("dev")
