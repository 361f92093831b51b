"""The stack's configuration: what is read, and every way of getting it wrong."""

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from settings import InvalidSettings, Settings, camel, documentation, read_settings
from tests.infra.support import BASIC, ROOT, config, stack_file
from values import Fields, Flag, Integer, Number, Strings, Text, Texts, Unreadable

KEYS = sorted(camel(name) for name in Settings.__dataclass_fields__)


def read(**values: Any) -> Settings:
    """Settings of a stack that says the least, changed by `values` (None takes a key away)."""
    return read_settings(config(**(BASIC | values)), ())


def mistakes(**values: Any) -> dict[str, str]:
    """The mistakes that such a stack has, by key."""
    with pytest.raises(InvalidSettings) as caught:
        read(**values)
    return {mistake.key: mistake.reason for mistake in caught.value.mistakes}


def test_the_least_is_enough() -> None:
    """An image, a model and a pool; the rest has defaults."""
    settings = read()
    assert (settings.model, settings.image, settings.gpus.pools) == ("org/model", "host.example/worker:v1", ("ADA_24",))
    assert (settings.min_workers, settings.max_workers, settings.gpu_count) == (0, 1, 1)
    assert not settings.baked


def test_every_kind_of_value_is_read() -> None:
    """Pulumi gives text; the settings have types."""
    settings = read(
        maxModelLen=4096,
        gpuMemoryUtilization=0.9,
        trustRemoteCode=True,
        dataCenters=["EU-RO-1"],
        env={"A": "x", "B": 2, "C": True},
        scaling={"type": "REQUEST_COUNT", "requestCount": 3},
        dtype="bfloat16",
    )
    assert settings.max_model_len == 4096
    assert settings.gpu_memory_utilization == 0.9
    assert settings.trust_remote_code is True
    assert settings.data_centers == ("EU-RO-1",)
    assert settings.env == {"A": "x", "B": "2", "C": "true"}
    assert settings.scaling == {"type": "REQUEST_COUNT", "requestCount": 3}
    assert settings.dtype == "bfloat16"


@pytest.mark.parametrize("stack", ["local", "dev", "prod"])
def test_the_committed_stacks_hold_together(stack: str) -> None:
    """Each stack file of the repository is read without a mistake."""
    settings = read_settings(stack_file(stack), (), stack=stack)
    assert settings.baked is (stack != "dev")
    assert (settings.min_workers, settings.max_workers) == {"local": (1, 1), "dev": (0, 1), "prod": (1, 3)}[stack]
    assert settings.require_digest is (stack == "prod")


def test_all_mistakes_come_at_once() -> None:
    """Nobody has to run it five times to find five mistakes; each is named by its key."""
    with pytest.raises(InvalidSettings) as caught:
        read_settings(
            config(**BASIC, maxModelLenn=1, minWorkers=3, flashboot="on", gpuCount="two", volumeSize=5),
            (),
            stack="prod",
        )
    assert str(caught.value) == (
        "5 mistakes in the configuration of stack prod (Pulumi.prod.yaml):\n"
        "  vllm-runpod:maxModelLenn is not a key (did you mean maxModelLen?); "
        "docs/reference/stack-configuration.md has them all\n"
        "  vllm-runpod:flashboot is 'on'; it must be OFF or FLASHBOOT or PRIORITY_FLASHBOOT\n"
        "  vllm-runpod:gpuCount is 'two'; it must be a whole number from 1 to 64\n"
        "  vllm-runpod:volumeSize is 5; it must be a whole number from 10 to 4096\n"
        "  vllm-runpod:minWorkers is 3, above maxWorkers (1); lower it or raise that"
    )


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("max_model_len", "maxModelLen"),
        ("MaxModelLen", "maxModelLen"),
        ("workersMin", "minWorkers"),
        ("gpuType", "gpuTypes"),
        ("servedmodelname", "servedModelName"),
    ],
)
def test_an_unknown_key_is_told_its_name(wrong: str, right: str) -> None:
    """Case, underscores and a missing letter are forgiven in the suggestion."""
    reason = mistakes(**{wrong: "1"})[wrong]
    assert reason.startswith("is not a key")
    assert right in reason or wrong == "workersMin"


def test_other_namespaces_are_left_alone() -> None:
    """The provider's keys are the provider's."""
    assert read_settings({**config(**BASIC), "runpod:apiUrl": "http://127.0.0.1:1"}, ()).model == "org/model"


@pytest.mark.parametrize(
    ("values", "key", "part"),
    [
        ({"bake": {"to": "ghcr.io/a/b:v1"}}, "image", "excludes bake"),
        ({"image": None}, "image", "is missing, and so is bake"),
        ({"image": None, "bake": {"to": "ghcr.io/a/b:v1"}, "model": None}, "model", "bake needs to know which one"),
        ({"image": None, "bake": {"to": "ghcr.io/a/b:v1"}, "weights": "download"}, "weights", "leave it out"),
        ({"image": None, "bake": {"to": "ghcr.io/a/b"}}, "bake", "write it like ghcr.io/you/model:v1"),
        ({"image": None, "bake": {"to": f"ghcr.io/a/b:v1@sha256:{'0' * 64}"}}, "bake", "write it like"),
        ({"image": None, "bake": {"two": "x"}}, "bake", "unknown field two (did you mean to?)"),
        ({"image": None, "bake": {}}, "bake", "lacks to"),
        ({"image": None, "bake": "ghcr.io/a/b:v1"}, "bake", "is a text; it must be a map of"),
        ({"weights": "download", "model": None}, "model", "a worker that downloads"),
        ({"weights": "baked", "revision": "main"}, "revision", "has no effect"),
        ({"requireDigest": True}, "image", "append @sha256:"),
        ({"registryUsername": "u"}, "registryPassword", "is missing"),
        ({"gpuTypes": ["NVIDIA L4"]}, "gpuTypes", "excludes gpuPools"),
        ({"gpuPools": None}, "gpuTypes", "is missing, and so is gpuPools"),
        ({"gpuPools": "ADA_42"}, "gpuPools", "has unknown GPU pool `ADA_42` (did you mean `ADA_24`?)"),
        ({"gpuPools": None, "gpuTypes": ["NVIDIA A30"]}, "gpuTypes", "in no serverless pool"),
        ({"gpuPools": ["ADA_24", "ADA_24"]}, "gpuPools", "names ADA_24 twice"),
        ({"gpuPools": []}, "gpuPools", "at least one entry"),
        ({"minCudaVersion": "13"}, "minCudaVersion", 'write it like "13.0", in quotes'),
        ({"minCudaVersion": "13.0", "allowedCudaVersions": ["13.0"]}, "minCudaVersion", "excludes allowedCudaVersions"),
        ({"volumeSize": 50}, "dataCenters", "must name exactly one"),
        ({"volumeType": "STANDARD"}, "volumeType", "no effect without volumeSize"),
        ({"idleTimeout": 9, "scaling": {"type": "REQUEST_COUNT", "requestCount": 1}}, "idleTimeout", "excludes"),
        ({"scaling": {"type": "REQUEST_COUNT"}}, "scaling", "lacks requestCount"),
        ({"scaling": {"type": "QUEUE_DELAY", "requestCount": 1}}, "scaling", "does not belong to the type QUEUE_DELAY"),
        ({"scaling": {"type": "FAST"}}, "scaling", "has a field type that is 'FAST'"),
        ({"scaling": {"type": "QUEUE_DELAY", "queueDelay": 0}}, "scaling", "number above"),
        ({"env": ["A"]}, "env", "is a list; it must be a map"),
        ({"env": {"A": None}}, "env", "has a null under A"),
        ({"gpuMemoryUtilization": 1.5}, "gpuMemoryUtilization", "at most 1"),
        ({"trustRemoteCode": "yes"}, "trustRemoteCode", "must be true or false"),
        ({"model": " "}, "model", "is empty"),
        ({"model": "just-a-name"}, "model", "write it like HuggingFaceTB/"),
        ({"dtype": "bf16"}, "dtype", "(did you mean bfloat16?)"),
    ],
)
def test_what_does_not_hold_together_is_refused(values: dict[str, Any], key: str, part: str) -> None:
    """One mistake each, under the key that the user has to change."""
    found = mistakes(**values)
    assert part in found[key], found


def test_secrets_must_be_secret() -> None:
    """A token in clear in a committed file is refused, and not repeated."""
    token = "hf_abcdefghijklmnop"
    found = mistakes(hfToken=token)
    assert found == {
        "hfToken": "stands in the stack file in clear; set it with `pulumi config set --secret hfToken --stack dev`, "
        "and revoke it"
    }
    settings = read_settings(config(**BASIC, hfToken=token), ("vllm-runpod:hfToken",))
    assert settings.hf_token == token
    assert token not in repr(settings)


def test_the_value_of_a_secret_is_not_in_a_mistake() -> None:
    """Also a secret key that is no secret by kind, and one that cannot be read."""
    for key, value in (("maxModelLen", "swordfish"), ("hfToken", "two words swordfish"), ("env", "swordfish")):
        with pytest.raises(InvalidSettings) as caught:
            read_settings(config(**BASIC, **{key: value}), (f"vllm-runpod:{key}",))
        assert key in str(caught.value)
        assert "swordfish" not in str(caught.value)


def test_weights_are_where_the_image_says() -> None:
    """Baked with bake, with a layout, or without a model; otherwise downloaded, unless said otherwise."""
    assert read(image=None, bake={"to": "ghcr.io/a/b:v1"}).baked
    assert read(image="oci:images:v1").baked
    assert read(model=None).baked
    assert not read().baked
    assert read(weights="baked").baked


@given(st.dictionaries(st.sampled_from([*KEYS, "nonsense", "max_model_len"]), st.text()))
def test_no_configuration_is_too_odd(values: dict[str, str]) -> None:
    """Any text under any key gives settings or named mistakes, never a traceback; unknown keys never pass."""
    try:
        read_settings(config(**values), ())
    except InvalidSettings:
        return
    assert set(values) <= set(KEYS)


@given(
    st.sampled_from(
        [
            Text(),
            Text(choices=("A", "B")),
            Integer(1, 9),
            Number(0, 1),
            Flag(),
            Texts(),
            Strings(),
            Fields({"a": Flag()}, ()),
        ]
    ),
    st.one_of(st.text(), st.recursive(st.none() | st.booleans() | st.floats() | st.text(), st.lists).map(json.dumps)),
)
def test_each_kind_reads_or_refuses(kind: Any, text: str) -> None:
    """A kind gives a value or refuses the text; it never fails."""
    with contextlib.suppress(Unreadable):
        assert kind.read(text) is not None


@given(
    st.integers(1, 10**9), st.booleans(), st.lists(st.sampled_from(["ADA_24", "AMPERE_80"]), min_size=1, unique=True)
)
def test_values_survive_the_way_through_pulumi(length: int, trust: bool, pools: list[str]) -> None:
    """What YAML says is what the settings hold."""
    settings = read(maxModelLen=length, trustRemoteCode=trust, gpuPools=pools)
    assert (settings.max_model_len, settings.trust_remote_code, list(settings.gpu_pools)) == (length, trust, pools)


def test_the_page_of_keys_is_up_to_date() -> None:
    """`python infra/settings.py > docs/reference/stack-configuration.md` writes it."""
    page = (ROOT / "docs/reference/stack-configuration.md").read_text()
    assert page == documentation()
    for key in KEYS:
        assert f"| `{key}` |" in page


def test_every_key_is_explained() -> None:
    """No field of the settings without a sentence."""
    for field in Settings.__dataclass_fields__.values():
        assert field.metadata["doc"].endswith(".")
