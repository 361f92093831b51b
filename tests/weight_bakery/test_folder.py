"""A folder as a source: what is followed, what is refused, what is noticed."""

import os
from pathlib import Path

import pytest

from tests.weight_bakery.support import write_model
from weight_bakery import BakeRequest, CorruptWeights, ModelNotFound, SourceChanged, SourceError, UnsafePath, bake
from weight_bakery._source_folder import FolderSource


def request_for(folder: Path, tmp_path: Path) -> BakeRequest:
    """A bake into a layout."""
    return BakeRequest(model=str(folder), to=f"oci:{tmp_path}/layout:v1")


def test_hidden_files_are_not_part_of_a_folder(tmp_path: Path) -> None:
    """`.git`, `.cache` and the like."""
    folder = write_model(tmp_path / "m")
    (folder / ".cache").mkdir()
    (folder / ".cache" / "x.safetensors").touch()
    (folder / ".hidden.json").touch()
    assert not any(file.path.startswith(".") for file in FolderSource(folder).inventory().files)


@pytest.mark.parametrize("target", ["../outside.safetensors", "/etc/hostname"])
def test_links_out_of_the_folder_are_refused(tmp_path: Path, target: str) -> None:
    """A model from somewhere must not put this machine's files into an image."""
    folder = write_model(tmp_path / "m")
    (tmp_path / "outside.safetensors").write_bytes(b"x")
    (folder / "extra.safetensors").symlink_to(target)
    with pytest.raises(UnsafePath, match=r"extra\.safetensors is a link that points out of the folder"):
        bake(request_for(folder, tmp_path))


def test_other_odd_files_are_refused(tmp_path: Path) -> None:
    """Dangling links, links to folders, pipes."""
    folder = write_model(tmp_path / "m")
    odd = folder / "odd"
    odd.symlink_to("nowhere")
    with pytest.raises(UnsafePath, match="leads nowhere"):
        FolderSource(folder).inventory()
    odd.unlink()
    (folder / "real").mkdir()
    odd.symlink_to("real")
    with pytest.raises(UnsafePath, match="is a link to a folder"):
        FolderSource(folder).inventory()
    odd.unlink()
    os.mkfifo(odd)
    with pytest.raises(UnsafePath, match="is not a regular file"):
        FolderSource(folder).inventory()


def test_links_inside_the_folder_and_into_the_hub_cache_work(tmp_path: Path) -> None:
    """A snapshot of the Hugging Face cache is a folder of links to its blobs."""
    plain = write_model(tmp_path / "plain" / "abc")
    snapshot = tmp_path / "models--o--m" / "snapshots" / "abc"
    blobs = tmp_path / "models--o--m" / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    for path in plain.iterdir():
        (blobs / f"blob-{path.name}").write_bytes(path.read_bytes())
        (snapshot / path.name).symlink_to(f"../../blobs/blob-{path.name}")
    (plain / "linked.json").symlink_to("config.json")
    (snapshot / "linked.json").symlink_to("config.json")
    first = bake(request_for(plain, tmp_path / "a"))
    second = bake(request_for(snapshot, tmp_path / "b"))
    assert first.digest == second.digest


def test_a_file_that_changes_while_it_is_read_is_noticed(tmp_path: Path) -> None:
    """Before, during and after the read."""
    folder = write_model(tmp_path / "m", shards=1)
    source = FolderSource(folder)
    source.inventory()
    path = folder / "model.safetensors"

    def read_while_it_changes() -> None:
        with source.open(path.name) as reader:
            reader.read(10)
            path.write_bytes(path.read_bytes() + b"more")

    with pytest.raises(SourceChanged, match="changed while it was being baked"):
        read_while_it_changes()
    with pytest.raises(SourceChanged, match="changed"), source.open(path.name):
        pass
    path.unlink()
    with pytest.raises(SourceChanged, match="disappeared"), source.open(path.name):
        pass


def test_a_link_made_to_a_file_does_not_count_as_a_change(tmp_path: Path) -> None:
    """Package installers hard-link files out of a folder: that changes the inode's times, never the content."""
    folder = write_model(tmp_path / "m", shards=1)
    source = FolderSource(folder)
    inventory = source.inventory()
    path = folder / "model.safetensors"
    os.link(path, tmp_path / "before the read")
    with source.open(path.name) as reader:
        reader.read(10)
        os.link(path, tmp_path / "during the read")
    stamps = [
        {file.path: file.stamp for file in files}[path.name] for files in (inventory.files, source.inventory().files)
    ]
    assert stamps[0] != stamps[1], "the memory of digests is stricter"


def test_mistakes_are_one_line_and_leave_nothing(tmp_path: Path) -> None:
    """A missing folder, a cut-off shard, a config that is not JSON."""
    with pytest.raises(ModelNotFound, match="is not a folder"):
        bake(request_for(tmp_path / "missing", tmp_path))
    folder = write_model(tmp_path / "m")
    shard = folder / "model-00002-of-00002.safetensors"
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-100])
    with pytest.raises(CorruptWeights, match=r"model-00002-of-00002\.safetensors holds 6900 bytes of tensors"):
        bake(request_for(folder, tmp_path))
    shard.write_bytes(whole)
    (folder / "config.json").write_text("{")
    with pytest.raises(SourceError, match=r"config\.json is not valid JSON"):
        bake(request_for(folder, tmp_path))
    assert not (tmp_path / "layout").exists()
