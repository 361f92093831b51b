"""Rewriting paths for workers without namespaces."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runpod_emulator.config import Mount
from runpod_emulator.host._plain import prefixes, rewritten

PATHS = {"/models": "/R/models", "/opt/vllm": "/venv", "/opt/vllm-worker": "/R/opt/vllm-worker"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/models", "/R/models"),
        ("/models/m/config.json", "/R/models/m/config.json"),
        ("/opt/vllm-worker/code:/opt/vllm/bin:/usr/bin", "/R/opt/vllm-worker/code:/venv/bin:/usr/bin"),
        ("--model=/models/m", "--model=/R/models/m"),
        ('{"path": "/models/m"}', '{"path": "/R/models/m"}'),
        ("cat /models/a;ls /models", "cat /R/models/a;ls /R/models"),
        ("/modelsx", "/modelsx"),
        ("/my/models", "/my/models"),
        ("http://host/models", "http://host/models"),
        ("http://host:80/models", "http://host:80/models"),
        ("./models", "./models"),
        ("/models-old", "/models-old"),
        ("org/models", "org/models"),
    ],
)
def test_only_whole_paths_are_rewritten(text: str, expected: str) -> None:
    """Where an in-image path begins a path; never within another one or a URL."""
    assert rewritten(text, PATHS) == expected


@given(st.text(max_size=80))
def test_text_without_such_a_path_stays(text: str) -> None:
    """And no text breaks it."""
    if not any(path in text for path in PATHS):
        assert rewritten(text, PATHS) == text


def test_prefixes_are_what_only_the_image_has(tmp_path: Path) -> None:
    """Folders that every host has keep meaning the host's; those below /opt are taken one by one."""
    for name in ("models", "opt/vllm-worker", "usr/bin", "etc"):
        (tmp_path / name).mkdir(parents=True)
    volume = tmp_path / "v"
    found = prefixes(tmp_path, [Mount(Path("/srv/venv"), "/opt/vllm/"), Mount(Path("/same"), "/same")], volume)
    assert found == {
        "/models": f"{tmp_path}/models",
        "/opt/vllm-worker": f"{tmp_path}/opt/vllm-worker",
        "/opt/vllm": "/srv/venv",
        "/runpod-volume": str(volume),
    }
