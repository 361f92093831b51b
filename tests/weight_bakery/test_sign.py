"""Signing: an executable called cosign on PATH is run on digests; without it nothing begins."""

import json
import os
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tests.support.tools import RegistryProcess
from tests.weight_bakery.support import write_model
from weight_bakery import SigningError
from weight_bakery._references import RegistryReference
from weight_bakery._request import Credentials
from weight_bakery._sign import sign
from weight_bakery.cli import bake_command

RECORDER = f"""#!{sys.executable}
import json, os, pathlib, sys
login = pathlib.Path(os.environ.get("DOCKER_CONFIG", "/nowhere"), "config.json")
seen = {{"arguments": sys.argv[1:], "environment": dict(os.environ),
        "login": json.loads(login.read_text()) if login.exists() else None}}
pathlib.Path(__file__).with_name("seen.json").write_text(json.dumps(seen))
"""
"""Stands for cosign: writes down how it was called."""


@pytest.fixture
def cosign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on PATH with a recording `cosign`."""
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "cosign"
    program.write_text(RECORDER)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setenv("COSIGN_PASSWORD", "for cosign")
    return program


def bake(tmp_path: Path, to: str, *more: str) -> Result:
    model = write_model(tmp_path / "Tiny")
    arguments = ["--model", str(model), "--to", to, "--lock", str(tmp_path / "weights.lock"), *more]
    return CliRunner().invoke(bake_command, arguments, env={"XDG_CACHE_HOME": str(tmp_path / "cache")})


@pytest.mark.tools
@pytest.mark.parametrize(
    ("more", "key"), [(["--sign", "k; touch x"], ["--key", "k; touch x"]), (["--sign"], ["--key", "env.key"])]
)
def test_image_and_documents_are_signed_by_digest(
    tmp_path: Path, registry: RegistryProcess, cosign: Path, monkeypatch: pytest.MonkeyPatch,
    more: list[str], key: list[str],
) -> None:  # fmt: skip
    """No shell reads the key; cosign gets its own settings, but no token of another service."""
    monkeypatch.setenv("VLLM_RUNPOD_SIGN_KEY", "env.key")
    done = bake(tmp_path, f"{registry.host}/sign/tiny:v1", "--json", *more)
    assert done.exit_code == 0, done.output
    receipt = json.loads(done.stdout.splitlines()[-1])["receipt"]
    digests = [receipt["digest"], *(item["digest"] for item in receipt["attached"])]
    assert len(digests) == 3
    seen = json.loads(cosign.with_name("seen.json").read_text())
    images = [f"{registry.host}/sign/tiny@{digest}" for digest in digests]
    assert seen["arguments"] == ["sign", "--yes", *key, *images]
    assert seen["environment"]["COSIGN_PASSWORD"] == "for cosign"
    assert "HF_TOKEN" not in seen["environment"]


def test_without_cosign_nothing_begins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line before a byte moves."""
    monkeypatch.setenv("PATH", str(tmp_path))
    done = bake(tmp_path, "127.0.0.1:1/m:v1", "--sign")
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr == (
        "error: cosign is not on PATH, so the image cannot be signed; install cosign, or leave --sign out\n"
    )


def test_a_layout_cannot_be_signed(tmp_path: Path, cosign: Path) -> None:
    """cosign signs what is in a registry."""
    done = bake(tmp_path, f"oci:{tmp_path}/images:v1", "--sign")
    assert done.exit_code == 1
    assert "cosign signs images in a registry" in done.stderr
    assert not (tmp_path / "images").exists()


@pytest.mark.tools
def test_a_failure_of_cosign_is_one_line(tmp_path: Path, registry: RegistryProcess, cosign: Path) -> None:
    """Its last words, and that the image is there."""
    cosign.write_text("#!/bin/sh\necho noise >&2; echo 'no such key' >&2; exit 3\n")
    done = bake(tmp_path, f"{registry.host}/sign/fails:v1", "--sign", "k")
    assert done.exit_code == 1
    assert done.stderr.splitlines()[-1].startswith(
        "error: cosign ended with 3: no such key; the image is there, but not"
    )


def test_a_login_reaches_cosign_as_a_file_that_is_gone_afterwards(cosign: Path) -> None:
    """Not as an argument, which every user of the machine could read."""
    reference = RegistryReference("registry.example", "m", "v1")
    sign(str(cosign), reference, ["sha256:1"], key=None, credentials=Credentials("me", "a-password"))
    seen = json.loads(cosign.with_name("seen.json").read_text())
    assert seen["arguments"] == ["sign", "--yes", "registry.example/m@sha256:1"]
    assert seen["login"] == {"auths": {"registry.example": {"auth": "bWU6YS1wYXNzd29yZA=="}}}
    assert not Path(seen["environment"]["DOCKER_CONFIG"]).exists()


def test_a_cosign_that_cannot_run_is_one_line(tmp_path: Path) -> None:
    """Not a program."""
    (tmp_path / "cosign").write_text("")
    with pytest.raises(SigningError, match="cannot be run: Permission denied"):
        sign(str(tmp_path / "cosign"), RegistryReference("r.example", "m", None), ["x"], key=None, credentials=None)
