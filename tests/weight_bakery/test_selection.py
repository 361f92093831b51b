"""Which files are baked."""

import pytest

from weight_bakery import BadRequest, Inventory, MissingShard, NoConfig, NoWeights, SourceFile, UnsafePath
from weight_bakery._selection import check_shards, select


def inventory(*paths: str) -> Inventory:
    """An inventory with these paths."""
    return Inventory("hub", "owner/model", None, tuple(SourceFile(path, 10) for path in sorted(paths)))


FULL = (
    "config.json", "generation_config.json", "tokenizer.json", "tokenizer.model", "chat_template.jinja", "vocab.txt",
    "merges.txt", "modeling_custom.py", "LICENSE.md", "README.md", ".gitattributes", "figure.png",
    "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "model.safetensors.index.json",
    "pytorch_model-00001-of-00002.bin", "pytorch_model.bin.index.json", "model.gguf", "onnx/model.onnx",
    "tf_model.h5", "flax_model.msgpack", "consolidated.safetensors", "original/consolidated.00.pth", "optimizer.pt",
    "training_args.bin",
)  # fmt: skip


def test_safetensors_come_first_and_everything_needed_stays() -> None:
    """Duplicates in other formats are left out, each with a reason; tokenizer, template, code and licence stay."""
    selection = select(inventory(*FULL))
    assert [file.path for file in selection.weights] == [
        "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors",
    ]  # fmt: skip
    assert {file.path for file in selection.others} == {
        "config.json", "generation_config.json", "tokenizer.json", "tokenizer.model", "chat_template.jinja",
        "vocab.txt", "merges.txt", "modeling_custom.py", "LICENSE.md", "model.safetensors.index.json",
    }  # fmt: skip
    reasons = {item.file.path: item.reason for item in selection.left_out}
    assert set(reasons) == set(FULL) - {file.path for file in selection.files}
    assert reasons["model.gguf"] == "the weights are taken as safetensors"
    assert reasons["consolidated.safetensors"] == "the same tensors are in the Hugging Face shards"
    assert reasons["pytorch_model.bin.index.json"] == "index of weights that are left out"
    assert reasons["optimizer.pt"] == "training state"


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        (("pytorch_model.bin", "pytorch_model-2.bin"), r"only pytorch_model-2\.bin and 1 more; .* --include '\*\.bin'"),
        (("m-Q4_K_M.gguf",), r"no safetensors, only m-Q4_K_M\.gguf; .* --include '\*\.gguf'"),
    ],
)
def test_without_safetensors_the_user_says_what_is_meant(paths: tuple[str, ...], message: str) -> None:
    """Older formats are not taken by themselves; named, they are."""
    files = inventory("config.json", "training_args.bin", *paths)
    with pytest.raises(NoWeights, match=message):
        select(files)
    assert [file.path for file in select(files, include=paths).weights] == sorted(paths)


def test_consolidated_shards_are_taken_when_there_are_no_others() -> None:
    """A repository in Mistral's own format is whole as it is."""
    weights = select(inventory("config.json", "consolidated.safetensors")).weights
    assert [file.path for file in weights] == ["consolidated.safetensors"]


def test_include_picks_weights_and_keeps_the_rest() -> None:
    """One of many GGUF files, with config and tokenizer as always."""
    files = inventory("config.json", "tokenizer.json", "m-Q4_K_M.gguf", "m-Q8_0.gguf", "model.safetensors", "README.md")
    selection = select(files, include=["*Q4_K_M.gguf", "README.md"])
    assert [file.path for file in selection.files] == ["README.md", "config.json", "m-Q4_K_M.gguf", "tokenizer.json"]


def test_exclude_wins() -> None:
    """Over the rules and over include."""
    selection = select(inventory("config.json", "model.safetensors", "extra.json"), include=["*"], exclude=["extra.*"])
    assert "extra.json" not in {file.path for file in selection.files}


def test_a_glob_that_matches_nothing_is_a_mistake() -> None:
    """A misspelt glob must not silently change nothing."""
    with pytest.raises(BadRequest, match=r"--exclude '\*\.foo' matches no file"):
        select(inventory("config.json", "model.safetensors"), exclude=["*.foo"])


@pytest.mark.parametrize(
    ("paths", "error", "message"),
    [
        (("model.safetensors",), NoConfig, "owner/model has no config.json"),
        (("sub/config.json", "model.safetensors"), NoConfig, "has no config.json"),
        (("config.json", "tokenizer.json"), NoWeights, "has no weight files"),
        (("config.json", "model.onnx", "optimizer.bin"), NoWeights, "has no weight files"),
        (("config.json", "../model.safetensors"), UnsafePath, "not a plain relative path"),
        (("config.json", "/etc/model.safetensors"), UnsafePath, "not a plain relative path"),
        (("config.json", "a/.wh.model.safetensors"), UnsafePath, "starts with '.wh.'"),
    ],
)
def test_models_that_cannot_be_served_are_refused(paths: tuple[str, ...], error: type[Exception], message: str) -> None:
    """In one line each."""
    with pytest.raises(error, match=message):
        select(inventory(*paths))


def test_an_index_must_name_files_that_are_there() -> None:
    """A missing shard is found before anything moves; shards are looked for beside their index."""
    selection = select(inventory("config.json", "sub/a.safetensors", "sub/model.safetensors.index.json"))
    check_shards("sub/model.safetensors.index.json", {"a.safetensors"}, selection)
    with pytest.raises(MissingShard, match=r"names 'b\.safetensors' and 1 more, which is not there"):
        check_shards("sub/model.safetensors.index.json", {"b.safetensors", "c.safetensors"}, selection)


def test_what_a_glob_left_out_is_not_called_missing() -> None:
    """The remedy is the glob and not a download."""
    files = inventory("config.json", "a.safetensors", "b.safetensors", "model.safetensors.index.json")
    with pytest.raises(NoConfig, match=r"config\.json is left out by --exclude"):
        select(files, exclude=["config.json"])
    with pytest.raises(NoWeights, match=r"--exclude leaves out a\.safetensors, and no other weights are taken"):
        select(files, exclude=["*.safetensors"])
    for globs, reason in (({"exclude": ["b*"]}, "excluded"), ({"include": ["a*"]}, "not named by --include")):
        chosen = select(files, **globs)
        with pytest.raises(MissingShard, match=rf"names 'b.safetensors', which is left out \({reason}\)"):
            check_shards("model.safetensors.index.json", {"a.safetensors", "b.safetensors"}, chosen)
