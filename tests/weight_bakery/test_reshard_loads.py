"""What was split loads bit for bit in the libraries that vLLM loads with: safetensors and transformers."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.weight_bakery.support import Layout
from weight_bakery import BakeRequest, bake

pytestmark = pytest.mark.slow
_PYTHON = Path(__file__).resolve().parents[2] / ".local/envs/vllm/bin/python"

# One process, since the imports take longer than all the rest: it makes a model, waits for the bake, and compares.
CHILD = """
import json, sys, torch
from pathlib import Path
from safetensors import safe_open
from transformers import LlamaConfig, LlamaForCausalLM
one, many = map(Path, sys.argv[1:])
torch.manual_seed(7)
config = LlamaConfig(hidden_size=128, intermediate_size=256, num_hidden_layers=4, num_attention_heads=4,
                     num_key_value_heads=2, vocab_size=4096, dtype="bfloat16")
LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(one)
print("made", flush=True)
sys.stdin.readline()
index = json.loads((many / "model.safetensors.index.json").read_text())["weight_map"]
with safe_open(one / "model.safetensors", "pt") as whole:
    assert set(whole.keys()) == set(index)
    for name, file in index.items():
        with safe_open(many / file, "pt") as part:
            a, b = whole.get_tensor(name), part.get_tensor(name)
            assert part.metadata() == whole.metadata()
            assert a.dtype == b.dtype and a.shape == b.shape
            assert torch.equal(a.view(torch.uint8), b.view(torch.uint8)), name
first, second = (LlamaForCausalLM.from_pretrained(path, dtype="bfloat16") for path in (one, many))
tokens = torch.arange(32).unsqueeze(0)
assert torch.equal(first(tokens).logits, second(tokens).logits)
print(len(set(index.values())), flush=True)
"""


@pytest.mark.timeout(600)
def test_transformers_loads_what_was_split(tmp_path: Path) -> None:
    """Every tensor is equal bit by bit, and a forward pass gives the same logits."""
    if not _PYTHON.exists():
        pytest.skip("vLLM's environment is not installed (make setup-all)")
    model, unpacked = tmp_path / "Tiny", tmp_path / "unpacked"
    unpacked.mkdir()
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "2"}
    environment.pop("PYTHONPATH", None)
    with subprocess.Popen(
        [_PYTHON, "-c", CHILD, model, unpacked], env=environment, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as child:  # fmt: skip
        try:
            assert child.stdout is not None
            assert child.stdout.readline() == "made\n"
            bake(BakeRequest(model=str(model), to=f"oci:{tmp_path}/out:v1", max_layer_size=1024 * 1024))
            for path, content in Layout(tmp_path / "out").files("v1").items():
                (unpacked / Path(path).name).write_bytes(content)
            said, complaints = child.communicate("compare\n", timeout=500)
        finally:
            child.kill()
    assert child.returncode == 0, complaints[-2000:]
    assert not (unpacked / "model.safetensors").exists()
    assert int(said) >= 3
