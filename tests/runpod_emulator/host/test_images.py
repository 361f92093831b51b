"""Images from layouts: every byte counts, also on the second start; the cache holds what is shared once."""

import asyncio
import json
import os
from pathlib import Path

import pytest

from runpod_emulator.host import BadImage, BadReference, DigestMismatch, DiskFull, HostError, ImageNotFound, Unsupported
from runpod_emulator.host._errors import disk_errors
from tests.runpod_emulator.host.support import Bench, File, Image, bench, digest, folder, shell_image, tar


def blob(host: Bench, name: str) -> Path:
    assert host.config.image_root is not None
    return host.config.image_root / "images/blobs/sha256" / name.removeprefix("sha256:")


def alter(path: Path, *, keep_times: bool = False) -> None:
    """Change one byte in place."""
    before, data = path.stat(), bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    if keep_times:
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def cached(host: Bench) -> dict[str, int]:
    return {
        kind: len(list((host.config.cache_dir / kind).glob("*")))
        for kind in ("layers", "roots", "blobs/sha256", "tmp")
    }  # fmt: skip


async def test_an_altered_byte_stops_the_start(tmp_path: Path) -> None:
    """The message names image, layer, expected and found digest; nothing of the layer is kept."""
    image = shell_image("cat /models/w", File("models/w", b"weights" * 1000))
    async with bench(tmp_path) as host:
        image.write(tmp_path / "root/images")
        alter(blob(host, image.layer_digests[0]))
        with pytest.raises(DigestMismatch) as caught:
            await host.run("oci:images:1")
        assert cached(host) == {"layers": 0, "roots": 0, "blobs/sha256": 0, "tmp": 0}
    assert "image oci:images:1: layer 1 of 1" in str(caught.value)
    assert image.layer_digests[0] in caught.value.expected
    assert caught.value.actual.startswith("sha256:")
    assert caught.value.actual not in caught.value.expected


@pytest.mark.parametrize("keep_times", [False, True])
async def test_an_altered_byte_stops_the_next_start_too(tmp_path: Path, keep_times: bool) -> None:
    """Although the root is in the cache, and even if the file's modification time is set back."""
    image = shell_image("cat /models/w", File("models/w", b"weights\n" * 1000))
    async with bench(tmp_path) as host:
        image.write(tmp_path / "root/images")
        assert (await host.run("oci:images:1"))[0] == 0
        alter(blob(host, image.layer_digests[0]), keep_times=keep_times)
        with pytest.raises(DigestMismatch):
            await host.run("oci:images:1")


async def test_an_unchanged_layout_is_hashed_once(tmp_path: Path) -> None:
    """The second start reads no layer; a new file with the same bytes is hashed again."""
    image = shell_image("exit 0", File("models/w", b"weights\n" * 1000))
    async with bench(tmp_path) as host:
        image.write(tmp_path / "root/images")
        for _ in range(2):
            await host.run("oci:images:1")
        assert not any("verified in" in line or "unpacked in" in line for line in host.said("w2", "system"))
        path = blob(host, image.layer_digests[0])
        path.write_bytes(path.read_bytes())
        await host.run("oci:images:1")
        assert any("verified in" in line for line in host.said("w3", "system"))


@pytest.mark.parametrize("which", ["manifest", "config"])
async def test_altered_documents_stop_the_start(tmp_path: Path, which: str) -> None:
    """A changed Env would change the worker as surely as a changed weight."""
    image = shell_image("exit 0", Env=["A=aaaa"])
    async with bench(tmp_path) as host:
        image.write(tmp_path / "root/images")
        config = json.loads(image.manifest)["config"]["digest"]
        alter(blob(host, image.digest if which == "manifest" else config))
        with pytest.raises(DigestMismatch, match="document sha256:"):
            await host.run("oci:images:1")


async def test_weights_come_from_the_image_only(tmp_path: Path) -> None:
    """The layout is gone: the cached root could serve, but the image is not what was named any more."""
    async with bench(tmp_path) as host:
        image = shell_image("exit 0", File("models/w", b"x"))
        image.write(tmp_path / "root/images")
        await host.run("oci:images:1")
        blob(host, image.layer_digests[0]).unlink()
        with pytest.raises(BadImage, match=r"layer 1 of 1 .* is missing from images/blobs"):
            await host.run("oci:images:1")


@pytest.mark.parametrize("form", [{"gzipped": True}, {"index": True}, {"docker": True, "gzipped": True, "index": True}])
async def test_other_forms_of_image_are_read(tmp_path: Path, form: dict[str, bool]) -> None:
    """gzip, an index with several platforms, Docker's media types."""
    layers = [tar([folder("models"), File("models/w", b"from the layer\n")])]
    image = Image(layers, {"Cmd": ["/bin/sh", "-c", "cat /models/w"]}, **form)  # type: ignore[arg-type]
    async with bench(tmp_path) as host:
        assert await host.run(image) == (0, ["from the layer"])


async def test_zstd_is_refused_by_name(tmp_path: Path) -> None:
    """The standard library reads it from Python 3.14 on."""
    image = Image([tar([folder("a")])], {"Cmd": ["true"]}, layer_type="application/vnd.oci.image.layer.v1.tar+zstd")
    async with bench(tmp_path) as host:
        with pytest.raises(Unsupported, match=r"layer 1 is compressed with zstd.*push it uncompressed or with gzip"):
            await host.run(image)


async def test_a_tag_that_is_not_there_shows_those_that_are(tmp_path: Path) -> None:
    """So that a typing error is seen at once."""
    async with bench(tmp_path) as host:
        shell_image("true").write(tmp_path / "root/images", "right")
        with pytest.raises(ImageNotFound, match='its layout has "right"; bake'):
            await host.run("oci:images:wrong")


async def test_a_digest_beats_a_tag_that_moved_on(tmp_path: Path) -> None:
    """What was pinned is what runs; a digest nobody has is an error."""
    async with bench(tmp_path) as host:
        old = shell_image("echo old").write(tmp_path / "root/images")
        shell_image("echo new").write(tmp_path / "root/images")
        assert (await host.run("oci:images:1"))[1] == ["new"]
        assert (await host.run(f"oci:images:1@{old}"))[1] == ["old"]
        with pytest.raises(BadImage, match="is missing from images/blobs"):
            await host.run(f"oci:images:1@{digest(b'x')}")


async def test_a_blob_that_is_a_link_out_of_the_layout_is_refused(tmp_path: Path) -> None:
    """Not even if the bytes are right."""
    async with bench(tmp_path) as host:
        image = shell_image("true")
        image.write(tmp_path / "root/images")
        path = blob(host, image.layer_digests[0])
        path.rename(tmp_path / "elsewhere")
        path.symlink_to(tmp_path / "elsewhere")
        with pytest.raises(BadReference, match="link out of the layout"):
            await host.run("oci:images:1")


async def test_images_share_layers(tmp_path: Path) -> None:
    """A new code layer over the same weights unpacks only the code, and the disk holds the weights once."""
    weights, config = tar([folder("models"), File("models/w", b"w" * 100_000)]), {"Cmd": ["/bin/sh", "-c", "cat /code"]}
    async with bench(tmp_path) as host:
        for text in (b"one\n", b"two\n"):
            assert (await host.run(Image([weights, tar([File("code", text)])], config)))[1] == [text.decode().strip()]
        assert cached(host)["layers"] == 3
        assert any("layer 1/2" in line and "already here" in line for line in host.said("w2", "system"))
        inodes = {path.stat().st_ino for path in host.config.cache_dir.glob("roots/*/rootfs/models/w")}
    assert len(inodes) == 1


async def test_a_layer_that_lost_its_content_is_unpacked_again(tmp_path: Path) -> None:
    """As after a power cut: the file is there, its bytes are not."""
    weights, config = (
        tar([folder("models"), File("models/w", b"w" * 1000)]),
        {"Cmd": ["/bin/sh", "-c", "wc -c </models/w"]},
    )
    async with bench(tmp_path) as host:
        await host.run(Image([weights], config))
        os.truncate(next(host.config.cache_dir.glob("layers/*/files/1")), 3)
        assert (await host.run(Image([weights, tar([File("b")])], config)))[1] == ["1000"]
        assert any("incomplete, it is unpacked again" in line for line in host.said("w2", "system"))


async def test_prune_keeps_what_is_named_and_what_runs(tmp_path: Path) -> None:
    """Everything else goes, layers that nobody needs any more included."""
    async with bench(tmp_path) as host:
        images = [shell_image(script) for script in ("sleep 100", "exit 0", "exit 1")]
        running = await host.start(images[0])
        for image in images[1:]:
            await host.run(Image([tar([File(image.digest)]), *image.layers], image.config))
        kept = host.containers[1].image_digest
        pruned = await host.host.prune([kept])
        assert (pruned.images, pruned.layers) == (1, 1)
        assert {path.parent.name for path in host.config.cache_dir.glob("roots/*/image.json")} == {
            name.removeprefix("sha256:") for name in (kept, running.image_digest)
        }
        await running.stop(0)
        assert (await host.host.prune()).images == 2
        assert cached(host) == {"layers": 0, "roots": 0, "blobs/sha256": 0, "tmp": 0}


async def test_two_images_at_once_share_a_layer_without_quarrel(tmp_path: Path) -> None:
    """Each needs it, one unpacks it."""
    weights = tar([folder("models"), File("models/w", b"w" * 500_000)])
    async with bench(tmp_path) as host:
        images = [Image([weights, tar([File("n", b"%d\n" % n)])], {"Cmd": ["/bin/cat", "/n"]}) for n in range(4)]
        async with asyncio.timeout(20):
            results = await asyncio.gather(
                *(host.run(image, entrypoint=("/bin/sh", "-c", "cat /n")) for image in images)
            )
        assert [said for _, said in results] == [[str(n)] for n in range(4)]
        assert cached(host)["layers"] == 5


async def test_image_exists_is_true_or_a_reason(tmp_path: Path) -> None:
    """For the control plane's 422: one line, no layer is read."""
    async with bench(tmp_path) as host:
        image = shell_image("true")
        image.write(tmp_path / "root/images")
        alter(blob(host, image.layer_digests[0]))
        assert await host.host.image_exists("oci:images:1", None) is True
        for name in ("oci:images:none", "oci:none:1", "oci:../x:1", "not a reference", "127.0.0.1:1/x:1"):
            reason = await host.host.image_exists(name, None)
            assert isinstance(reason, str)
            assert name in reason
            assert "\n" not in reason


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda m: m.pop("layers"), "is no image manifest"),
        (lambda m: m["layers"].append(m["layers"][0]), "2 layers, its config 1 diff_ids"),
        (lambda m: m["layers"][0].pop("size"), "layer 1 is no descriptor"),
        (lambda m: m["config"].update(digest="sha256:x"), "config in manifest .* is no descriptor"),
        (lambda m: m["layers"][0].update(mediaType="x/y"), "media type 'x/y'"),
    ],
)
async def test_a_malformed_manifest_is_refused(tmp_path: Path, damage: object, message: str) -> None:
    """With right digests: the author's mistake, and it says what."""
    image = shell_image("true")
    document = json.loads(image.manifest)
    assert callable(damage)
    damage(document)
    image.manifest = json.dumps(document).encode()
    image.blobs[digest(image.manifest)] = image.manifest
    async with bench(tmp_path) as host:
        with pytest.raises(HostError, match=message):
            await host.run(image)


def test_a_full_disk_is_said_in_one_line(tmp_path: Path) -> None:
    """A real ENOSPC, from the device that always gives it."""
    with (
        pytest.raises(
            DiskFull, match=r"no space left on the disk of .*; free some, or start the emulator with --state"
        ),
        disk_errors(tmp_path),
        Path("/dev/full").open("wb", buffering=0) as file,
    ):
        file.write(b"x")
