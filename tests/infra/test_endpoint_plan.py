"""The plan of a VllmEndpoint: pure, so tested without any engine."""

from dataclasses import replace
from typing import Any

import pulumi
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components import (
    DEFAULT_MODEL,
    DEFAULT_WORKER_IMAGE,
    OWN_VARIABLES,
    GpuPlan,
    InvalidArguments,
    Scaling,
    ScalingPlan,
    VllmEndpointArgs,
    WorkersPlan,
    plan_vllm_endpoint,
    worker_environment,
)

BAKED = VllmEndpointArgs(image="oci:images/m:v1", weights="baked")


def mistakes(args: VllmEndpointArgs) -> dict[str, str]:
    """What is wrong with `args`, by argument."""
    with pytest.raises(InvalidArguments) as caught:
        plan_vllm_endpoint(args)
    return dict(caught.value.mistakes)


def test_a_name_alone_is_useful() -> None:
    """RunPod's own worker serves a small model on one kind of card, from zero workers to one."""
    plan = plan_vllm_endpoint(VllmEndpointArgs())
    assert plan.template is not None
    assert plan.template.image == DEFAULT_WORKER_IMAGE
    assert plan.template.env == {"MODEL_NAME": "HuggingFaceTB/SmolLM2-135M-Instruct"}
    assert plan.endpoint.env == {"RUNPOD_INIT_TIMEOUT": "1200"}
    assert plan.template.disk == 150
    assert plan.endpoint.gpu == GpuPlan(("ADA_24",), (), 1, (), None)
    assert plan.endpoint.workers == WorkersPlan(0, 1, 60)
    assert plan.endpoint.scaling == ScalingPlan("QUEUE_DELAY", queue_delay=4)
    assert plan.warnings == ()


def test_a_baked_image_decides_its_model_itself() -> None:
    """Naming the Hub id would make the worker download what it has."""
    plan = plan_vllm_endpoint(replace(BAKED, model="org/model", served_model_name="chat", max_model_len=2048))
    assert plan.template is not None
    assert plan.template.env == {"OPENAI_SERVED_MODEL_NAME_OVERRIDE": "chat"}
    assert plan.endpoint.env == {"MAX_MODEL_LEN": "2048"}
    assert plan.template.disk == 20


def test_everything_reaches_the_worker_under_runpods_names() -> None:
    """Each argument has its variable, and the text that worker-vllm reads."""
    args = VllmEndpointArgs(
        model="org/model",
        revision="v1",
        served_model_name="chat",
        max_model_len=4096,
        max_num_seqs=8,
        quantization="fp8",
        dtype="bfloat16",
        gpu_memory_utilization=0.92,
        trust_remote_code=True,
        max_concurrency=16,
        gpu_count=2,
        init_timeout_s=900,
        env={"VLLM_LOGGING_LEVEL": "DEBUG"},
    )
    assert worker_environment(args) == {
        "MODEL_NAME": "org/model",
        "MODEL_REVISION": "v1",
        "OPENAI_SERVED_MODEL_NAME_OVERRIDE": "chat",
        "MAX_MODEL_LEN": "4096",
        "MAX_NUM_SEQS": "8",
        "QUANTIZATION": "fp8",
        "DTYPE": "bfloat16",
        "GPU_MEMORY_UTILIZATION": "0.92",
        "TRUST_REMOTE_CODE": "true",
        "TENSOR_PARALLEL_SIZE": "2",
        "MAX_CONCURRENCY": "16",
        "RUNPOD_INIT_TIMEOUT": "900",
        "VLLM_LOGGING_LEVEL": "DEBUG",
    }


async def test_the_token_is_a_secret() -> None:
    """Given in clear, it still leaves as a secret."""
    token = worker_environment(VllmEndpointArgs(hf_token="hf_abcdefgh"))["HF_TOKEN"]
    assert isinstance(token, pulumi.Output)
    assert await token.is_secret()
    assert "hf_abcdefgh" not in repr(VllmEndpointArgs(hf_token="hf_abcdefgh"))


def test_how_it_runs_is_not_in_the_template() -> None:
    """So a change of the context length is one update, of the endpoint, and the template stays as it is."""
    before, after = (plan_vllm_endpoint(replace(BAKED, max_model_len=length)) for length in (2048, 4096))
    assert before.template == after.template
    assert before.endpoint != after.endpoint


def test_scaling_by_requests_has_no_idle_timeout() -> None:
    """RunPod refuses one there."""
    plan = plan_vllm_endpoint(VllmEndpointArgs(scaling=Scaling("REQUEST_COUNT", 5)))
    assert plan.endpoint.scaling == ScalingPlan("REQUEST_COUNT", request_count=5)
    assert plan.endpoint.workers.idle_timeout is None


def test_more_than_three_pools_are_warned_about() -> None:
    """The API accepts them; the workers may never start."""
    pools = ("ADA_24", "AMPERE_24", "AMPERE_48", "AMPERE_80")
    plan = plan_vllm_endpoint(VllmEndpointArgs(gpu_pools=pools))
    assert "4 GPU pools" in plan.warnings[0]


@pytest.mark.parametrize(
    ("changes", "argument", "part"),
    [
        ({"min_workers": 2}, "min_workers", "is 2, above max_workers (1)"),
        ({"min_workers": -1}, "min_workers", "at least 0"),
        ({"idle_timeout_s": 5, "scaling": Scaling("REQUEST_COUNT", 1)}, "idle_timeout_s", "excludes scaling"),
        ({"idle_timeout_s": 5000}, "idle_timeout_s", "from 1 to 3600"),
        ({"scaling": Scaling("QUEUE_DELAY", 0.1)}, "scaling", "at least 0.5"),
        ({"scaling": Scaling("REQUEST_COUNT", 1.5)}, "scaling", "whole number"),
        ({"execution_timeout_s": 1}, "execution_timeout_s", "from 5 s to 7 days"),
        ({"gpu_pools": ()}, "gpu_pools", "name at least one"),
        ({"gpu_count": 0}, "gpu_count", "at least 1"),
        ({"min_cuda_version": "12.8", "allowed_cuda_versions": ["13.0"]}, "min_cuda_version", "excludes"),
        ({"network_volumes": ["v1"]}, "data_centers", "pins workers"),
        ({"weights": "baked"}, "image", "needs the image"),
        ({"weights": "baked", "image": "a/b", "revision": "v1"}, "revision", "excludes"),
        ({"max_model_len": 0}, "max_model_len", "at least 1"),
        ({"gpu_memory_utilization": 2.0}, "gpu_memory_utilization", "at most 1"),
        ({"init_timeout_s": 0}, "init_timeout_s", "at least 1"),
        ({"env": {"MAX_MODEL_LEN": "1"}}, "env.MAX_MODEL_LEN", "belongs to max_model_len"),
        ({"env": {"HF_TOKEN": "x"}}, "env.HF_TOKEN", "belongs to hf_token"),
        ({"env": {"RUNPOD_WEBHOOK_PING": "x"}}, "env.RUNPOD_WEBHOOK_PING", "set by RunPod itself"),
        ({"env": {"A-B": "x"}}, "env.A-B", "not a usable variable name"),
        ({"env": {"": "x"}}, "env.", "not a usable variable name"),
    ],
)
def test_each_mistake_is_named(changes: dict[str, Any], argument: str, part: str) -> None:
    """By the argument that has to change."""
    assert part in mistakes(VllmEndpointArgs(**changes))[argument]


def test_all_mistakes_come_at_once() -> None:
    """Container, placement and workers are looked at before anything is said."""
    found = mistakes(VllmEndpointArgs(max_num_seqs=0, gpu_count=0, min_workers=9))
    assert set(found) == {"max_num_seqs", "gpu_count", "min_workers"}


def test_what_vllm_would_refuse_is_refused_before() -> None:
    """For our own images the options of their vLLM are known, misspelt variables included."""
    found = mistakes(replace(BAKED, dtype="bf17", env={"MAX_NUM_BATCHED_TOKEN": "1"}))
    assert set(found) == {"dtype", "env.MAX_NUM_BATCHED_TOKEN"}
    assert "did you mean MAX_NUM_BATCHED_TOKENS" in found["env.MAX_NUM_BATCHED_TOKEN"]


def test_another_image_may_know_other_options() -> None:
    """Of a foreign worker only the names are checked."""
    assert plan_vllm_endpoint(VllmEndpointArgs(dtype="bf17", env={"MAX_NUM_BATCHED_TOKEN": "1"}))


async def test_what_is_known_later_is_passed_on_unread() -> None:
    """An image, a registry or a volume that a resource brings is not looked at."""
    later: pulumi.Output[str] = pulumi.Output.from_input("x")
    plan = plan_vllm_endpoint(
        VllmEndpointArgs(
            image=later, registry=later, network_volumes=[later], data_centers=["EU-RO-1"], env={"A": later}
        )
    )
    assert plan.template is not None
    assert plan.template.image is later
    assert plan.template.registry is later
    assert plan.endpoint.env["A"] is later
    assert plan.endpoint.network_volumes == (later,)


def test_every_own_variable_names_an_argument() -> None:
    """The table that messages are made from is right."""
    assert set(OWN_VARIABLES.values()) <= set(VllmEndpointArgs.__dataclass_fields__)


@given(
    st.builds(
        VllmEndpointArgs,
        max_model_len=st.none() | st.integers(-1, 9000),
        max_num_seqs=st.none() | st.integers(-1, 99),
        gpu_count=st.integers(-1, 9),
        min_workers=st.integers(-1, 5),
        max_workers=st.integers(-1, 5),
        idle_timeout_s=st.none() | st.integers(-1, 5000),
        scaling=st.builds(Scaling, st.sampled_from(["QUEUE_DELAY", "REQUEST_COUNT"]), st.floats(0, 10)),
        execution_timeout_s=st.integers(0, 700_000),
        env=st.dictionaries(st.text("AB_1", max_size=3), st.text(max_size=3)),
    )
)
def test_a_plan_is_one_that_runpod_takes(args: VllmEndpointArgs) -> None:
    """Either a plan within RunPod's documented limits, or named mistakes."""
    try:
        plan = plan_vllm_endpoint(args)
    except InvalidArguments:
        return
    assert plan.template is not None
    assert 0 <= plan.endpoint.workers.min <= plan.endpoint.workers.max
    assert (plan.endpoint.workers.idle_timeout is None) == (plan.endpoint.scaling.type == "REQUEST_COUNT")
    assert (plan.endpoint.scaling.queue_delay is None) != (plan.endpoint.scaling.request_count is None)
    assert 5000 <= plan.endpoint.timeout_ms <= 604_800_000
    assert not set(plan.template.env) & set(plan.endpoint.env)
    assert {**plan.template.env, **plan.endpoint.env} == worker_environment(replace(args, model=DEFAULT_MODEL))
    assert plan_vllm_endpoint(args) == plan
