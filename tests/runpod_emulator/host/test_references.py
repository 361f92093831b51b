"""Image references: what is understood, and what never leaves --image-root."""

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runpod_emulator.host import BadReference, ImageNotFound
from runpod_emulator.host._references import LayoutReference, RegistryReference, is_loopback, parse

SHA = f"sha256:{'a' * 64}"


def test_a_layout_reference_names_folder_tag_and_digest() -> None:
    """The tag is after the last colon, the digest after the @."""
    assert parse(f"oci:.local/images/llm:v1@{SHA}") == LayoutReference(
        f"oci:.local/images/llm:v1@{SHA}", ".local/images/llm", "v1", SHA
    )


@pytest.mark.parametrize(
    ("image", "host", "repository", "wanted"),
    [
        ("ghcr.io/me/llm:1", "ghcr.io", "me/llm", "1"),
        ("127.0.0.1:5000/llm", "127.0.0.1:5000", "llm", "latest"),
        ("localhost/llm:x", "localhost", "llm", "x"),
        (f"ghcr.io/me/llm:1@{SHA}", "ghcr.io", "me/llm", SHA),
        ("vllm/vllm-openai:v1", "registry-1.docker.io", "vllm/vllm-openai", "v1"),
        ("ubuntu", "registry-1.docker.io", "library/ubuntu", "latest"),
        ("docker.io/ubuntu:24.04", "registry-1.docker.io", "library/ubuntu", "24.04"),
        ("[::1]:5000/a/b", "[::1]:5000", "a/b", "latest"),
    ],
)
def test_a_registry_reference_is_read_as_container_engines_read_it(
    image: str, host: str, repository: str, wanted: str
) -> None:
    """A first part with a dot or a colon is a host, else it is Docker Hub; a digest beats a tag."""
    found = parse(image)
    assert isinstance(found, RegistryReference)
    assert (found.host, found.repository, found.wanted) == (host, repository, wanted)


@pytest.mark.parametrize(
    "image",
    [
        "", "oci:", "oci:dir", "oci:dir:", "oci:/abs:1", "oci:../up:1", "oci:a/../../b:1", "oci:a:b c", "a b/c:1",
        "ghcr.io/UPPER:1", "ghcr.io/a:b:c", "ghcr.io/a@sha256:short", "user:pw@ghcr.io/a", "https://ghcr.io/a",
        "oci:a\0b:1",
    ],
)  # fmt: skip
def test_a_malformed_reference_is_refused_with_the_two_forms(image: str) -> None:
    """The message shows how a reference is written."""
    with pytest.raises(BadReference, match=r"write oci:<folder below --image-root>:<tag>"):
        parse(image)


@given(st.text(max_size=60))
def test_any_text_is_a_reference_or_a_bad_reference(text: str) -> None:
    """No input makes the parser fail in another way."""
    with contextlib.suppress(BadReference):
        assert parse(text).text == text


def test_plain_http_is_for_loopback_only() -> None:
    """Bytes and credentials of other hosts go over https."""
    found = [
        parse(f"{host}/a") for host in ("127.0.0.1:5000", "localhost:5000", "[::1]:5000", "10.0.0.1:5000", "ghcr.io")
    ]
    schemes = [each.base_url.partition(":")[0] for each in found if isinstance(each, RegistryReference)]
    assert schemes == ["http", "http", "http", "https", "https"]
    assert not is_loopback("127.0.0.1.evil.example:80")


def test_a_layout_must_be_below_the_image_root(tmp_path: Path) -> None:
    """Neither a missing root, nor a symlink that leads out, nor a folder without index.json is taken."""
    root, outside = tmp_path / "root", tmp_path / "outside"
    root.mkdir()
    outside.mkdir()
    (outside / "index.json").write_text("{}")
    (root / "link").symlink_to(outside)
    link = parse("oci:link:1")
    assert isinstance(link, LayoutReference)
    with pytest.raises(BadReference, match="leads out of --image-root"):
        link.path(root)
    with pytest.raises(BadReference, match="started without --image-root"):
        link.path(None)
    missing = parse("oci:missing:1")
    assert isinstance(missing, LayoutReference)
    with pytest.raises(ImageNotFound, match="no OCI layout"):
        missing.path(root)
