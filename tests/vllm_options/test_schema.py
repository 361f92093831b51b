"""vLLM's options as data, and values read against them."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vllm_options import BadValue, Option, UnknownVersion, latest_version, options, versions

ROOT = Path(__file__).resolve().parents[2]
SCHEMA = options(latest_version())


def option(name: str) -> Option:
    return SCHEMA.by_env[name]


def test_the_schema_holds_what_everybody_uses() -> None:
    """A few options, with kind, default and help as vLLM documents them."""
    assert len(SCHEMA) > 200
    length = option("MAX_MODEL_LEN")
    assert (length.flag, length.kind, length.default) == ("--max-model-len", "size_or_auto", None)
    assert length.help
    eager = option("ENFORCE_EAGER")
    assert (eager.kind, eager.negatable, eager.default) == ("bool", True, False)
    assert "bfloat16" in (option("DTYPE").choices or ())
    assert option("TENSOR_PARALLEL_SIZE").aliases == ("-tp",)
    assert option("SERVED_MODEL_NAME").many == "list"
    assert option("MIDDLEWARE").many == "repeat"
    assert "VLLM_CPU_KVCACHE_SPACE" in SCHEMA.environment


def test_every_option_is_found_by_each_of_its_names() -> None:
    """Variable, flag, aliases, negation, underscores for dashes."""
    for entry in SCHEMA:
        assert SCHEMA.by_env[entry.env] is entry
        names = [entry.flag, f"{entry.flag}=x", entry.flag.replace("-", "_").replace("__", "--", 1), *entry.aliases]
        names += [f"--no-{entry.flag[2:]}"] if entry.negatable else []
        for name in names:
            assert SCHEMA.by_flag(name) is entry, name
    assert SCHEMA.by_flag("--nothing") is None


def test_an_unknown_version_names_the_known_ones() -> None:
    """With the way to add one."""
    with pytest.raises(UnknownVersion, match=rf"no options are known for vLLM 0\.1; known: .*{latest_version()}"):
        options("0.1")


@pytest.mark.parametrize(
    ("name", "text", "arguments"),
    [
        ("MAX_MODEL_LEN", "4096", ("--max-model-len=4096",)),
        ("MAX_MODEL_LEN", " 4k ", ("--max-model-len=4k",)),
        ("MAX_MODEL_LEN", "auto", ("--max-model-len=auto",)),
        ("MAX_MODEL_LEN", "-1", ("--max-model-len=-1",)),
        ("GPU_MEMORY_UTILIZATION", "0.9", ("--gpu-memory-utilization=0.9",)),
        ("ENFORCE_EAGER", "Yes", ("--enforce-eager",)),
        ("ENFORCE_EAGER", "0", ("--no-enforce-eager",)),
        ("DISABLE_LOG_STATS", "true", ("--disable-log-stats",)),
        ("DISABLE_LOG_STATS", "false", ()),
        ("DTYPE", "BFloat16", ("--dtype=bfloat16",)),
        ("LOG_LEVEL", "info", ("--log-level=INFO",)),
        ("SERVED_MODEL_NAME", "a, b", ("--served-model-name", "a", "b")),
        ("SERVED_MODEL_NAME", '["a", "b c"]', ("--served-model-name", "a", "b c")),
        ("LORA_MODULES", '[{"name": "x", "path": "ü"}]', ("--lora-modules", '{"name": "x", "path": "ü"}')),
        ("LORA_MODULES", '{"name": "x", "path": "y"}', ("--lora-modules", '{"name": "x", "path": "y"}')),
        ("MIDDLEWARE", "a.b,c.d", ("--middleware=a.b", "--middleware=c.d")),
        ("COMPILATION_CONFIG", '{"mode": 3}', ('--compilation-config={"mode": 3}',)),
        ("KV_TRANSFER_CONFIG", '{"x": 80m, "y": "8k"}', ('--kv-transfer-config={"x": 80m, "y": "8k"}',)),
        ("HF_OVERRIDES", '{"a": 1}', ('--hf-overrides={"a": 1}',)),
        ("CHAT_TEMPLATE", "--not-a-flag", ("--chat-template=--not-a-flag",)),
    ],
)
def test_values_become_arguments(name: str, text: str, arguments: tuple[str, ...]) -> None:
    """One variable, the arguments that vLLM's parser takes."""
    assert option(name).arguments(text) == arguments


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("MAX_MODEL_LEN", "many", "is not a whole number, nor one like 4k"),
        ("MAX_MODEL_LEN", "1.5K", "is not a whole number"),
        ("MAX_NUM_SEQS", "1.5", "is not a whole number"),
        ("MAX_NUM_SEQS", "٣", "is not a whole number"),
        ("GPU_MEMORY_UTILIZATION", "nan", "is not a finite number"),
        ("GPU_MEMORY_UTILIZATION", "90%", "is not a number"),
        ("ENFORCE_EAGER", "maybe", "is neither yes nor no"),
        ("DTYPE", "bf16", "is not one of auto, bfloat16"),
        ("COMPILATION_CONFIG", "{mode: 3}", "is not valid JSON"),
        ("HF_OVERRIDES", '{"a"', "is not valid JSON"),
        ("LORA_MODULES", '[{"a"', "is not valid JSON"),
        ("SERVED_MODEL_NAME", ",", "is an empty list"),
        ("SERVED_MODEL_NAME", "a,--b", "begins with a dash"),
    ],
)
def test_wrong_values_are_refused_with_a_reason(name: str, text: str, reason: str) -> None:
    """The variable and what would be right."""
    with pytest.raises(BadValue) as caught:
        option(name).arguments(text)
    assert caught.value.name == name
    assert reason in caught.value.reason


@given(st.sampled_from(sorted(SCHEMA.by_env)), st.text(max_size=30))
def test_any_text_is_arguments_or_a_reason(name: str, text: str) -> None:
    """No value makes the reader fail, and no value can become another option."""
    entry = option(name)
    try:
        arguments = entry.arguments(text)
    except BadValue as error:
        assert error.reason  # noqa: PT017 - either outcome is right
        return
    if name == "CONFIG":
        return
    for argument in arguments:
        if argument.startswith("-"):
            assert argument.split("=")[0] in (entry.flag, f"--no-{entry.flag[2:]}")


def test_pins_requirements_and_data_speak_of_one_vllm() -> None:
    """The GPU image, the CPU package, its lock and the option data move together."""
    pins = json.loads((ROOT / "images" / "vllm-baked" / "pins.json").read_text())
    package = pins["cpu_package"]
    assert pins["vllm"] in versions()
    assert pins["vllm"] == latest_version() == package["version"]
    assert pins["base"]["image"] == f"vllm/vllm-openai:v{pins['vllm']}"
    assert pins["base"]["python"] == "3.12", "the Python of the base image, for which the worker's layer is installed"
    assert f"{package['name']}=={package['version']} " in (ROOT / "requirements" / "vllm.txt").read_text()
    assert f"{package['name']}=={package['version']}" in (ROOT / "requirements" / "vllm.in").read_text()
    assert (ROOT / "images/vllm-baked/vllm_worker/data" / f"modelinfos-{pins['vllm']}.json").is_file()
    digest = pins["base"]["digest"]
    assert digest == "" or digest.startswith("sha256:")
    assert pins["base"]["digest_command"].endswith(pins["base"]["image"])


def test_the_dockerfile_builds_from_a_digest_as_an_unprivileged_user() -> None:
    """No tag, no default digest, no token, the same paths and entry point as a baked image."""
    lines = (ROOT / "images" / "vllm-baked" / "Dockerfile").read_text().splitlines()
    assert "FROM vllm/vllm-openai@${VLLM_IMAGE_DIGEST}" in lines
    assert "ARG VLLM_IMAGE_DIGEST" in lines
    assert 'ENTRYPOINT ["python3", "-m", "vllm_worker"]' in lines
    assert "USER worker" in lines
    assert not [line for line in lines if "TOKEN" in line or "http" in line]
    for copied in (line.split()[1] for line in lines if line.startswith("COPY")):
        assert (ROOT / copied).exists(), copied
