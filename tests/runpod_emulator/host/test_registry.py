"""Pulls over real HTTP: authentication, faults, and what is asked for twice and what is not."""

from pathlib import Path

import pytest

from runpod_emulator.host import DigestMismatch, ImageNotFound, RegistryRefused, RegistryUnreachable
from tests.runpod_emulator.host.registry import BASIC, PASSWORD, USER, Registry, serving
from tests.runpod_emulator.host.support import File, Image, bench, folder, tar

IMAGE_FILES = [
    tar([folder("models"), File("models/w", b"weights " * 20_000)]),
    tar([File("models/name", b"pulled\n")]),
]


def image(**form: bool) -> Image:
    return Image(IMAGE_FILES, {"Cmd": ["/bin/sh", "-c", "cat /models/name"]}, **form)  # type: ignore[arg-type]


@pytest.mark.parametrize("auth", ["none", "basic", "bearer"])
@pytest.mark.parametrize("form", [{}, {"gzipped": True, "docker": True, "index": True}], ids=["oci", "docker"])
async def test_an_image_is_pulled_and_runs(tmp_path: Path, auth: str, form: dict[str, bool]) -> None:
    """With each way to authenticate; no credential is written anywhere."""
    async with bench(tmp_path) as host, serving(Registry(image(**form), auth=auth)) as registry:  # type: ignore[arg-type]
        assert await host.run(registry.reference, registry_auth=(USER, PASSWORD)) == (0, ["pulled"])
        stored = b"".join(path.read_bytes() for path in host.config.state_dir.rglob("*") if path.is_file())
        assert PASSWORD.encode() not in stored
        assert registry.token.encode() not in stored
        assert any("pulled in" in line for line in host.said("w1", "system"))
        assert host.containers[0].timings.pull_s > 0


async def test_layers_are_taken_apart_once_and_their_blobs_dropped(tmp_path: Path) -> None:
    """The next start asks for the manifest and nothing else; the disk holds the weights once."""
    async with bench(tmp_path) as host, serving(Registry(image())) as registry:
        await host.run(registry.reference)
        registry.asked.clear()
        await host.run(registry.reference)
        assert registry.asked == ["/v2/me/llm/manifests/1"]
        names = {path.name for path in (host.config.cache_dir / "blobs/sha256").iterdir()}
        assert not names & {name.removeprefix("sha256:") for name in registry.image.layer_digests}


async def test_an_image_named_by_digest_starts_without_its_registry(tmp_path: Path) -> None:
    """Once pulled it cannot change, so nobody needs to be asked."""
    async with bench(tmp_path) as host, serving(Registry(image())) as registry:
        pinned = f"127.0.0.1:{registry.port}/me/llm@{registry.image.digest}"
        await host.run(pinned)
        registry.asked.clear()
        assert (await host.run(pinned))[0] == 0
        assert registry.asked == []


@pytest.mark.parametrize("auth", ["basic", "bearer"])
@pytest.mark.parametrize("credentials", [None, (USER, "wrong-password")])
async def test_a_refusal_says_what_to_do_and_shows_no_password(
    tmp_path: Path, auth: str, credentials: tuple[str, str] | None
) -> None:
    """Without a credential it asks for one, with one it asks to check it."""
    async with bench(tmp_path) as host, serving(Registry(image(), auth=auth)) as registry:  # type: ignore[arg-type]
        with pytest.raises(RegistryRefused) as caught:
            await host.run(registry.reference, registry_auth=credentials)
    assert ("check the endpoint's registry credential" if credentials else "give the endpoint a") in str(caught.value)
    assert "wrong-password" not in str(caught.value)


async def test_credentials_do_not_follow_a_redirect(tmp_path: Path) -> None:
    """Blobs often lie on another host; that one gets no Authorization."""
    content = Registry(image())
    async with bench(tmp_path) as host, serving(content) as storage:
        registry = Registry(image(), auth="basic", redirect_blobs_to=f"http://127.0.0.1:{storage.port}/v2/me/llm/blobs")
        async with serving(registry):
            assert (await host.run(registry.reference, registry_auth=(USER, PASSWORD)))[0] == 0
    assert set(storage.authorizations.values()) == {None}
    assert BASIC in registry.authorizations.values()


async def test_a_redirect_to_plain_http_elsewhere_is_not_followed(tmp_path: Path) -> None:
    """Nor is anything asked of that host."""
    async with bench(tmp_path) as host, serving(Registry(image(), redirect_blobs_to="http://192.0.2.1")) as registry:
        with pytest.raises(RegistryUnreachable, match=r"sends us to http://192\.0\.2\.1, which is not https"):
            await host.run(registry.reference)


async def test_a_wrong_byte_is_named_and_not_kept(tmp_path: Path) -> None:
    """Image, layer, both digests; neither blob nor layer stays in the cache."""
    async with bench(tmp_path) as host, serving(Registry(image(), altered=True)) as registry:
        with pytest.raises(DigestMismatch, match=r"layer \d of 2 \(sha256:.* expected sha256:.*, found sha256:"):
            await host.run(registry.reference)
        for kind in ("layers/*", "roots/*", "tmp/*"):
            assert not list(host.config.cache_dir.glob(kind))
        names = {f"sha256:{path.name}" for path in (host.config.cache_dir / "blobs/sha256").iterdir()}
        assert not names & set(registry.image.layer_digests)


@pytest.mark.parametrize("fault", ["fail_first", "cut_first"])
async def test_a_fault_that_passes_is_got_over(tmp_path: Path, fault: str) -> None:
    """A 503 and an answer that breaks off are tried again."""
    async with bench(tmp_path) as host, serving(Registry(image(), **{fault: 2})) as registry:  # type: ignore[arg-type]
        assert (await host.run(registry.reference))[0] == 0


async def test_a_missing_image_is_not_found(tmp_path: Path) -> None:
    """And a registry that does not run is unreachable: two different remedies."""
    async with bench(tmp_path) as host, serving(Registry(image())) as registry:
        with pytest.raises(ImageNotFound, match="has no such manifest; push it"):
            await host.run(f"127.0.0.1:{registry.port}/me/other:1")
        reference = registry.reference
        assert await host.host.image_exists(reference) is True
    async with bench(tmp_path / "b") as host:
        with pytest.raises(RegistryUnreachable, match="check that it runs"):
            await host.run(reference)


async def test_a_layer_that_is_here_already_is_not_fetched(tmp_path: Path) -> None:
    """Whatever image and registry it came with."""
    async with bench(tmp_path) as host, serving(Registry(image())) as registry:
        await host.run(Image([IMAGE_FILES[0]], {"Cmd": ["/bin/sh", "-c", "true"]}))
        await host.run(registry.reference)
        fetched = [path.rpartition("/")[2] for path in registry.asked]
        assert registry.image.layer_digests[0] not in fetched
        assert registry.image.layer_digests[1] in fetched
