"""Docker's stored logins and the helpers they name: found, or refused in one line that holds no secret."""

import base64
import json
import os
from pathlib import Path

import pytest

from redaction import forget_secrets
from weight_bakery import BadRequest, Credentials
from weight_bakery import _registry_auth as auth
from weight_bakery._registry_auth import docker_credentials


def helper(folder: Path, name: str, script: str) -> None:
    """A credential helper."""
    path = folder / f"docker-credential-{name}"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def config(folder: Path, **content: object) -> Path:
    """Docker's config.json."""
    (folder / "config.json").write_text(json.dumps(content))
    return folder


@pytest.fixture(autouse=True)
def _place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.defpath}")
    forget_secrets()


def test_a_helper_for_one_host_wins_over_the_store_and_the_file(tmp_path: Path) -> None:
    """credHelpers first, then credsStore, then what stands in auths, as docker does it."""
    helper(tmp_path, "one", 'echo \'{"Username":"one","Secret":"secret-one"}\'')
    helper(tmp_path, "all", 'echo \'{"Username":"all","Secret":"secret-all"}\'')
    entry = {"auth": base64.b64encode(b"file:secret-file").decode()}
    folder = config(
        tmp_path, credHelpers={"a.example": "one"}, credsStore="all", auths={"a.example": entry, "c.example": entry}
    )
    assert docker_credentials(folder, "a.example") == Credentials("one", "secret-one")
    assert docker_credentials(folder, "b.example") == Credentials("all", "secret-all")


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("exit 3", r"docker-credential-bad failed: ?;? ?.*repair the helper"),
        ("echo 'locked: hunter-secret' >&2; exit 1", r"docker-credential-bad failed: locked"),
        ("echo nonsense", r"docker-credential-bad answered something that is not a login"),
        ("echo '[]'", r"docker-credential-bad answered something that is not a login"),
        ("sleep 30", r"docker-credential-bad did not answer within 0 s"),
    ],
)
def test_a_helper_that_fails_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, message: str
) -> None:
    """Exit codes, garbage and silence; the way out is told with each."""
    monkeypatch.setattr(auth, "_HELPER_TIMEOUT_S", 0.3)
    helper(tmp_path, "bad", script)
    with pytest.raises(BadRequest, match=message) as caught:
        docker_credentials(config(tmp_path, credsStore="bad"), "a.example")
    assert "\n" not in str(caught.value)
    assert "environment variables" in str(caught.value)


def test_a_helper_is_never_a_shell_command(tmp_path: Path) -> None:
    """Names that are no plain file names are refused, and one that is missing is named."""
    for name in ("x; touch owned", "../x", "a b", "$(id)"):
        with pytest.raises(BadRequest, match="names a credential helper"):
            docker_credentials(config(tmp_path, credsStore=name), "a.example")
    assert not (tmp_path / "owned").exists()
    with pytest.raises(BadRequest, match=r"docker-credential-absent, which is not on PATH"):
        docker_credentials(config(tmp_path, credHelpers={"a.example": "absent"}), "a.example")


@pytest.mark.parametrize("content", ["{", "[]", '{"auths": [1]}', '{"auths": {"a.example": {"auth": "%%%"}}}'])
def test_a_damaged_config_is_one_line(tmp_path: Path, content: str) -> None:
    """The file is named, and what to do."""
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(BadRequest, match=r"config.json.*(log in again|docker login)"):
        docker_credentials(tmp_path, "a.example")


def test_an_identity_token_is_kept_apart_from_a_password(tmp_path: Path) -> None:
    """What docker stores for registries with OAuth."""
    entry = {"auth": base64.b64encode(b"00000000-0000:").decode(), "identitytoken": "a-long-token"}
    found = docker_credentials(config(tmp_path, auths={"me.azurecr.io": entry}), "me.azurecr.io")
    assert found is not None
    assert found.identity_token == "a-long-token"
