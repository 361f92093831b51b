"""Our data about vLLM against the installed vLLM: options, their arguments, and what it finds out about its models."""

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from vllm_options import latest_version, options

ROOT = Path(__file__).resolve().parents[2]
VLLM_PYTHON = ROOT / ".local" / "envs" / "vllm" / "bin" / "python"

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.timeout(420),
    pytest.mark.skipif(not VLLM_PYTHON.exists(), reason="no vLLM environment in .local/envs/vllm"),
]


@dataclass(frozen=True)
class Answers:
    """What one process with vLLM loaded said: the folder it dumped into, and the arguments that it refused."""

    folder: Path
    refused: dict[str, str]


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> Answers:
    """One start of vLLM for all that is asked."""
    home, folder = tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("dumped")
    ran = subprocess.run(
        [VLLM_PYTHON, Path(__file__).with_name("ask_vllm.py"), ROOT / "tools", folder],
        input=json.dumps(every_option(home)), capture_output=True, text=True, timeout=400, check=False,
        env={"PATH": os.defpath, "HOME": str(home)},
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr[-3000:]
    (result,) = [line for line in ran.stdout.splitlines() if line.startswith("RESULT ")]
    return Answers(folder, json.loads(result.removeprefix("RESULT ")))


def every_option(folder: Path) -> dict[str, list[str]]:
    """Arguments for a variable of each option, and a whole command line."""
    samples = {"bool": "false", "flag": "true", "int": "3", "float": "0.5", "size": "4k", "size_or_auto": "auto",
               "json": "{}", "json_or_str": "x", "str": "x"}  # fmt: skip
    config = folder / "config.yaml"
    config.write_text("max-model-len: 2048\n")
    special = {"LORA_MODULES": '[{"name": "a", "path": "b"}, "c=d"]', "CONFIG": str(config)}
    cases: dict[str, list[str]] = {}
    for entry in options(latest_version()):
        known = [str(word) for word in (*(entry.choices or ()), *entry.suggestions)]
        text = special.get(entry.env) or (known[0] if known else samples[entry.kind])
        cases[entry.env] = ["--model=m", *entry.arguments(text)]
    cases["all together"] = [
        "--model=m",
        *(
            word
            for name in ("CONFIG", "LORA_MODULES", "DTYPE", "MIDDLEWARE", "MAX_MODEL_LEN")
            for word in cases[name][1:]
        ),
    ]
    return {**cases, "no such option": ["--model=m", "--no-such-option=1"]}


def test_the_options_are_what_the_installed_vllm_says(answers: Answers) -> None:
    """Dumping again gives the same bytes."""
    (dumped,) = answers.folder.glob("[0-9]*.json")
    assert dumped.read_bytes() == (ROOT / "src" / "vllm_options" / "data" / dumped.name).read_bytes()


def test_vllms_own_parser_takes_the_arguments_of_every_option(answers: Answers) -> None:
    """What is written for a variable is what vLLM reads, for each kind of option and in a whole command line."""
    assert set(answers.refused) == {"no such option"}, answers.refused


def test_the_model_infos_are_what_the_installed_vllm_finds(answers: Answers) -> None:
    """Dumping again gives the same bytes."""
    (dumped,) = answers.folder.glob("modelinfos-*.json")
    kept = ROOT / "images" / "vllm-baked" / "vllm_worker" / "data" / dumped.name
    assert dumped.read_bytes() == kept.read_bytes()
