"""What the texts after --model, --to and --base mean."""

from pathlib import Path

import pytest

from weight_bakery import (
    BadRequest,
    FolderModel,
    HubModel,
    LayoutReference,
    RegistryReference,
    image_name,
    parse_image,
    parse_model,
    parse_target,
)

DIGEST = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("oci:images:v1", LayoutReference(Path("images"), "v1")),
        ("oci:/a/b.c/d:v1.2", LayoutReference(Path("/a/b.c/d"), "v1.2")),
        (f"oci:images:v1@{DIGEST}", LayoutReference(Path("images"), "v1", DIGEST)),
        (f"oci:images@{DIGEST}", LayoutReference(Path("images"), None, DIGEST)),
        ("127.0.0.1:5000/a/b:t", RegistryReference("127.0.0.1:5000", "a/b", "t")),
        ("localhost/a", RegistryReference("localhost", "a", None)),
        ("ghcr.io/me/model", RegistryReference("ghcr.io", "me/model", None)),
        (f"ghcr.io/me/model:v1@{DIGEST}", RegistryReference("ghcr.io", "me/model", "v1", DIGEST)),
        ("vllm/vllm-openai:v0.33.0", RegistryReference("docker.io", "vllm/vllm-openai", "v0.33.0")),
        ("debian:13", RegistryReference("docker.io", "library/debian", "13")),
        ("index.docker.io/me/x:1", RegistryReference("docker.io", "me/x", "1")),
    ],
)
def test_image_references(text: str, expected: LayoutReference | RegistryReference) -> None:
    """Layouts, registries, Docker's short names; each prints as something that means the same."""
    parsed = parse_image(text, option="--base")
    assert parsed == expected
    assert parse_image(str(parsed), option="--base") == expected


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1:5000", "http://127.0.0.1:5000"),
        ("localhost:5000", "http://localhost:5000"),
        ("[::1]:5000", "http://[::1]:5000"),
        ("127.0.0.1.example.com", "https://127.0.0.1.example.com"),
        ("10.0.0.1:5000", "https://10.0.0.1:5000"),
        ("ghcr.io", "https://ghcr.io"),
        ("docker.io", "https://registry-1.docker.io"),
    ],
)
def test_plain_http_is_for_this_machine_only(host: str, url: str) -> None:
    """A name that merely looks like loopback gets https."""
    assert RegistryReference(host, "a", None).api_url == url


@pytest.mark.parametrize(
    "text",
    ["oci:images", "oci::v1", "oci:images:", "oci:images:bad tag", "https://ghcr.io/a/b", "ghcr.io/A/b", "ghcr.io/a/b:",
     "ghcr.io/a@sha256:12", f"ghcr.io/a/b@{DIGEST}", f"oci:a:b@{DIGEST}", "smollm2", "", "ghcr.io/a//b", "-x.y/z:1"],
)  # fmt: skip
def test_targets_that_mean_nothing_are_refused(text: str) -> None:
    """One line that names the option and shows the right form."""
    with pytest.raises(BadRequest, match=r"--to .*; (write|name)") as caught:
        parse_target(text)
    assert "\n" not in str(caught.value)


def test_a_target_without_tag_is_latest() -> None:
    """As docker reads it."""
    assert str(parse_target("ghcr.io/me/x")) == "ghcr.io/me/x:latest"


def test_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An existing folder wins; a path-like text is a folder even when it is missing; the rest are Hub ids."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "owner" / "model").mkdir(parents=True)
    assert parse_model("owner/model") == FolderModel(Path("owner/model"))
    assert parse_model("./missing") == FolderModel(Path("missing"))
    assert parse_model("owner/other") == HubModel("owner/other")
    assert parse_model("owner/other@refs/pr/1") == HubModel("owner/other", "refs/pr/1")
    assert parse_model("gpt2") == HubModel("gpt2")
    (tmp_path / "file.gguf").touch()
    for text in ("file.gguf", "a/b/c", "owner/model x", "owner/other@", "a/../b", ""):
        with pytest.raises(BadRequest, match="--model"):
            parse_model(text)


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("Qwen/Qwen3-8B", "qwen3-8b"),
        ("SmolLM2-135M-Instruct", "smollm2-135m-instruct"),
        ("My Model (v2)", "my-model-v2"),
        ("___", "model"),
    ],
)
def test_image_names(model: str, name: str) -> None:
    """The last part of the id, lower case, odd characters as dashes."""
    assert image_name(model) == name
