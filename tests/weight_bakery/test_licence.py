"""The licence and the gating of a model: found, and kept in the lock and in the image."""

from pathlib import Path

import pytest

from tests.weight_bakery.hub import Hub
from tests.weight_bakery.support import Layout, write_model
from weight_bakery import BakeRequest, bake, bake_async, plan_bake_async, read_lock
from weight_bakery._licence import licence_of


@pytest.mark.parametrize(
    ("card", "licence"),
    [
        ("---\nlicense: apache-2.0\ntags:\n- x\n---\n# Model\n", "apache-2.0"),
        ("---\r\nlicense: 'mit'\r\n---\r\n", "mit"),
        ("---\nlicense: other\nlicense_name: llama3.1\n---\n", "llama3.1"),
        ("---\nlicense: other\n---\n", "other"),
        ("---\nlicense:\n- bsd-3-clause\n---\n", "bsd-3-clause"),
        ("---\ntags: [x]\n---\nlicense: mit\n", None),
        ("# Model\nlicense: mit\n", None),
        ("", None),
    ],
)
def test_the_card_names_the_licence(card: str, licence: str | None) -> None:
    """Only its front matter counts."""
    assert licence_of(card.encode()) == licence


async def test_the_hub_says_licence_and_gating(hub: Hub, tmp_path: Path) -> None:
    """Both are in the plan, in the lock, in the image's labels and in its annotations."""
    hub.extra = {"cardData": {"license": "llama3.1"}, "gated": "manual"}
    request = BakeRequest(
        model="owner/Tiny", to=f"oci:{tmp_path}/layout:v1", hub_endpoint=hub.origin, lock=tmp_path / "weights.lock"
    )
    plan = await plan_bake_async(request)
    assert (plan.licence, plan.gated) == ("llama3.1", "manual")
    await bake_async(request)
    entry = next(iter(read_lock(tmp_path / "weights.lock").images.values()))
    assert (entry.licence, entry.gated) == ("llama3.1", "manual")
    layout = Layout(tmp_path / "layout")
    annotations, labels = layout.manifest("v1")["annotations"], layout.config("v1")["config"]["Labels"]
    for found in (annotations, labels):
        assert (found["io.vllm-runpod.licence"], found["io.vllm-runpod.gated"]) == ("llama3.1", "manual")
    assert annotations["org.opencontainers.image.licenses"] == "llama3.1"
    assert "org.opencontainers.image.licenses" not in labels


def test_a_folder_says_its_licence_in_its_card(tmp_path: Path) -> None:
    """README.md itself stays behind; what it says about the licence does not."""
    folder = write_model(tmp_path / "Tiny")
    (folder / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
    bake(BakeRequest(model=str(folder), to=f"oci:{tmp_path}/layout:v1"))
    annotations = Layout(tmp_path / "layout").manifest("v1")["annotations"]
    assert annotations["org.opencontainers.image.licenses"] == "apache-2.0"
    assert "io.vllm-runpod.gated" not in annotations
