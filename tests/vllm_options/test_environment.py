"""A worker's whole environment, read."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vllm_options import Plan, latest_version, options, read_environment
from vllm_options._names import nearest, score

SCHEMA = options(latest_version())

# What a container based on a CUDA image has in its environment, and must not be taken for mistakes.
ORDINARY = {
    "PATH": "/usr/bin", "HOME": "/root", "HOSTNAME": "x", "PWD": "/", "SHLVL": "1", "_": "x", "TERM": "xterm",
    "LANG": "C", "LC_ALL": "C", "NVIDIA_VISIBLE_DEVICES": "all", "NVIDIA_REQUIRE_CUDA": "cuda>=13", "NCCL_VERSION": "2",
    "CUDA_VERSION": "13.0.1", "LD_LIBRARY_PATH": "/x", "LIBRARY_PATH": "/x", "NV_CUDA_LIB_VERSION": "1",
    "DEBIAN_FRONTEND": "noninteractive", "UV_LINK_MODE": "copy", "TORCH_CUDA_ARCH_LIST": "9.0", "SSL_CERT_FILE": "/x",
    "VLLM_USAGE_SOURCE": "production-docker-image", "VLLM_ENABLE_CUDA_COMPATIBILITY": "0", "PYTHONPATH": "/x",
    "TOKENIZERS_PARALLELISM": "false", "HF_HOME": "/x", "RUNPOD_POD_ID": "x", "RUNPOD_GPU_COUNT": "1",
    "RUNPOD_INIT_TIMEOUT": "800", "PUBLIC_KEY": "x", "LOG_FORMAT": "json", "MY_APP_MODE": "x", "CURL_CA_BUNDLE": "/x",
}  # fmt: skip


def read(**environment: str) -> Plan:
    return read_environment({"MODEL_NAME": "org/model", **environment}, SCHEMA)


def told(plan: Plan) -> list[str]:
    return [str(problem) for problem in plan.problems]


def test_an_ordinary_container_has_no_mistakes() -> None:
    """Other people's variables are left alone."""
    plan = read(**ORDINARY)
    assert told(plan) == []
    assert plan.arguments == ()
    assert "PYTHONPATH" not in plan.environment
    assert not [name for name in plan.environment if name.startswith("RUNPOD_")]
    assert plan.environment["LD_LIBRARY_PATH"] == "/x"


def test_runpods_names_become_options() -> None:
    """The names of RunPod's worker work unchanged."""
    plan = read(
        MODEL_REVISION="abc", TOKENIZER_NAME="t", MAX_MODEL_LEN="4096", MAX_NUM_SEQS="16", QUANTIZATION="awq",
        GPU_MEMORY_UTILIZATION="0.9", TENSOR_PARALLEL_SIZE="2", OPENAI_SERVED_MODEL_NAME_OVERRIDE="name,other",
        ENABLE_AUTO_TOOL_CHOICE="true", CUSTOM_CHAT_TEMPLATE="{{ x }}", MAX_NUM_BATCHED_TOKENS="0",
    )  # fmt: skip
    assert told(plan) == []
    assert sorted(plan.arguments) == sorted(
        ("--revision=abc", "--tokenizer=t", "--max-model-len=4096", "--max-num-seqs=16", "--quantization=awq",
         "--gpu-memory-utilization=0.9", "--tensor-parallel-size=2", "--served-model-name", "name", "other",
         "--enable-auto-tool-choice", "--chat-template={{ x }}"),
    )  # fmt: skip
    assert (plan.model, plan.served_names) == ("org/model", ("name", "other"))
    assert plan.settings.max_concurrency == 16
    assert "MAX_NUM_BATCHED_TOKENS" not in plan.given


def test_concurrency_follows_its_own_name_first() -> None:
    """MAX_CONCURRENCY, else MAX_NUM_SEQS, else 30; without an override the model has its own name."""
    assert read().settings.max_concurrency == 30
    assert read(MAX_CONCURRENCY="5", MAX_NUM_SEQS="16").settings.max_concurrency == 5
    assert read().served_names == ("org/model",)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("MAX_MODEL_LENGTH", "MAX_MODEL_LEN"),
        ("MODEL_MAX_LEN", "MAX_MODEL_LEN"),
        ("MAXMODELLEN", "MAX_MODEL_LEN"),
        ("TENSOR_PARALLEL", "TENSOR_PARALLEL_SIZE"),
        ("GPU_MEM_UTILIZATION", "GPU_MEMORY_UTILIZATION"),
        ("QUANTISATION", "QUANTIZATION"),
        ("ENABLE_AUTO_TOOLS_CHOICE", "ENABLE_AUTO_TOOL_CHOICE"),
        ("MAX_NUM_SEQ", "MAX_NUM_SEQS"),
        ("MODEL_NAMES", "MODEL_NAME"),
        ("MAX_CONCURENCY", "MAX_CONCURRENCY"),
        ("VLLM_CPU_KV_CACHE_SPACE", "VLLM_CPU_KVCACHE_SPACE"),
    ],
)
def test_a_mistyped_name_is_refused_with_what_was_meant(name: str, meant: str) -> None:
    """Never silence; and WORKER_IGNORE_ENV is the way out."""
    (problem,) = read(**{name: "1"}).problems
    assert problem.name == name
    assert f"did you mean {meant}?" in problem.hint
    if not name.startswith("VLLM_"):
        assert told(read(**{name: "1", "WORKER_IGNORE_ENV": f"OTHER, {name}"})) == []


def test_all_mistakes_are_told_at_once() -> None:
    """Values, names, removed options, contradictions and reserved names, each on its own line."""
    plan = read_environment(
        {
            "MAX_MODEL_LENGTH": "1", "DTYPE": "bf17", "ENFORCE_EAGER": "maybe", "SWAP_SPACE": "4", "REVISION": "a",
            "MODEL_REVISION": "b", "UDS": "/x", "MODEL": "m", "MAX_CONCURRENCY": "0", "REQUEST_TIMEOUT": "soon",
            "WORKER_WARMUP": "perhaps", "VLLM_EXTRA_ARGS": "--max-modl-len 5 'x", "COMPILATION_CONFIG": "{",
            "VLLM_PORT": "70000", "SSL_KEYFILE": "/x",
        },
        SCHEMA,
    )  # fmt: skip
    assert {problem.name for problem in plan.problems} == {
        "MAX_MODEL_LENGTH", "DTYPE", "ENFORCE_EAGER", "SWAP_SPACE", "MODEL_REVISION", "UDS", "MODEL", "MAX_CONCURRENCY",
        "REQUEST_TIMEOUT", "WORKER_WARMUP", "VLLM_EXTRA_ARGS", "COMPILATION_CONFIG", "VLLM_PORT", "SSL_KEYFILE",
        "MODEL_NAME",
    }  # fmt: skip


def test_limits_are_read() -> None:
    """Off unless asked for; 0 is off too, and what is no limit is refused."""
    off = read().settings
    assert (off.worker_max_tokens, off.worker_require_max_tokens, off.worker_tag_rate) == (0, False, 0)
    assert (off.worker_allowed_models, off.worker_metrics_interval) == (frozenset(), 60)
    plan = read(
        WORKER_MAX_TOKENS="4096", WORKER_REQUIRE_MAX_TOKENS="true", WORKER_ALLOWED_MODELS="a, b/c ,",
        WORKER_TAG_RATE="0", WORKER_METRICS_INTERVAL="0",
    )  # fmt: skip
    assert told(plan) == []
    assert (plan.settings.worker_max_tokens, plan.settings.worker_require_max_tokens) == (4096, True)
    assert plan.settings.worker_allowed_models == {"a", "b/c"}
    assert (plan.settings.worker_tag_rate, plan.settings.worker_metrics_interval) == (0, 0)
    assert not [name for name in plan.environment if name.startswith("WORKER_")]
    wrong = read(
        WORKER_MAX_TOKENS="-1", WORKER_REQUIRE_MAX_TOKENS="often", WORKER_ALLOWED_MODELS=" , ", WORKER_TAG_RATE="1.5",
        WORKER_METRICS_INTERVAL="-3",
    )  # fmt: skip
    assert {problem.name for problem in wrong.problems} == {
        "WORKER_MAX_TOKENS", "WORKER_REQUIRE_MAX_TOKENS", "WORKER_ALLOWED_MODELS", "WORKER_TAG_RATE",
        "WORKER_METRICS_INTERVAL",
    }  # fmt: skip


def test_reserved_names_have_no_effect_and_say_so() -> None:
    """The platform sets PORT by itself: that is no mistake."""
    plan = read(PORT="80", HOST="0.0.0.0", API_KEY="x", VLLM_API_KEY="secret")
    assert told(plan) == []
    assert plan.arguments == ()
    assert plan.settings.port == 80, "vLLM never hears of it"
    assert len(plan.notes) == 3
    assert "VLLM_API_KEY" not in plan.environment


@pytest.mark.parametrize(
    ("words", "problems"),
    [
        ("--max-model-len 4096 -tp 2 --enforce-eager", []),
        ("--max_model_len=4096 --compilation-config.mode 3 --lora-modules a=b c=d --no-enable-prefix-caching", []),
        ("--max-modl-len 4096", ["--max-modl-len is no option", "did you mean --max-model-len?"]),
        ("--dtype bf16", ["--dtype: 'bf16' is not one of"]),
        ("--api-key x", ["--api-key is the worker's to set"]),
        ("--host=0.0.0.0", ["--host is the worker's to set"]),
        ("--hf-token hf_x", ["--hf-token would show a secret", "set HF_TOKEN"]),
        ("4096", ["'4096' belongs to no option"]),
        ("--enforce-eager yes", ["'yes' belongs to no option"]),
        ("'open", ["cannot be split into words"]),
    ],
)
def test_extra_arguments_are_checked_too(words: str, problems: list[str]) -> None:
    """One mistake, one line; what is right goes through word for word and counts as given."""
    plan = read(VLLM_EXTRA_ARGS=words)
    if not problems:
        assert told(plan) == []
        assert plan.arguments == tuple(words.split())
        assert plan.given & {"MAX_MODEL_LEN"}
        return
    (problem,) = told(plan)
    for part in problems:
        assert part in problem


def test_secrets_are_never_arguments() -> None:
    """HF_TOKEN goes to vLLM's environment and to the list of what must not be shown."""
    plan = read(HF_TOKEN="hf_abcdefgh12345678")
    assert plan.environment["HF_TOKEN"] == "hf_abcdefgh12345678"
    assert plan.secrets == ("hf_abcdefgh12345678",)
    assert not any("hf_" in argument for argument in plan.arguments)


def test_every_option_can_be_given_by_its_variable() -> None:
    """The rule is generic: no option is forgotten, whatever the next vLLM brings."""
    samples = {"bool": "true", "flag": "true", "int": "3", "float": "0.5", "size": "4k", "size_or_auto": "4k",
               "json": "{}", "json_or_str": "x", "str": "x"}  # fmt: skip
    for entry in SCHEMA:
        text = str(entry.choices[0]) if entry.choices else samples[entry.kind]
        plan = read(**{entry.env: text})
        if any(problem.name == entry.env for problem in plan.problems):
            assert entry.env in (
                "UDS",
                "GRPC",
                "GRPC_PORT",
                "HEADLESS",
                "ROOT_PATH",
                "ENABLE_SSL_REFRESH",
                "MODEL",
            ) or (entry.env.startswith("SSL_"))
        elif entry.env not in ("HOST", "PORT", "API_KEY", "CONFIG", "HF_TOKEN"):
            assert entry.env in plan.given, entry.env
            assert plan.arguments[0].split("=")[0] == entry.flag


@given(
    st.dictionaries(
        st.sampled_from(
            [*sorted(SCHEMA.by_env), "VLLM_EXTRA_ARGS", "MODEL_NAME", "MAX_CONCURRENCY", "VLLM_PORT", "XYZ"]
        )
        | st.from_regex(r"[A-Z][A-Z0-9_]{0,20}", fullmatch=True),
        st.text(max_size=20),
        max_size=6,
    )
)
def test_any_environment_is_read(environment: dict[str, str]) -> None:
    """Nothing raises; what has no problem is fit to be carried out."""
    plan = read_environment(environment, SCHEMA)
    assert all(problem.name and problem.message for problem in plan.problems)
    if not plan.problems:
        assert plan.model or "VLLM_CONFIG_FILE" in environment
        assert "PYTHONPATH" not in plan.environment


@given(st.from_regex(r"[A-Z_]{1,24}", fullmatch=True), st.from_regex(r"[A-Z_]{1,24}", fullmatch=True))
def test_likeness_has_its_laws(left: str, right: str) -> None:
    """From 0 to 1, and 1 for a name itself."""
    assert 0 <= score(left, right) <= 1
    assert score(left, left) == 1
    assert nearest(left, [left, right]) in (left, right)
