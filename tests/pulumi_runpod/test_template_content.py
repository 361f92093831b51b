"""A template's content reaches its endpoint: in the same preview, key by key, and never as an id."""

from typing import Any

import grpc
import pytest

from pulumi_runpod.provider.template_content import content_of, merge
from pulumi_runpod.provider.values import UNKNOWN, Secret, has_unknown, secret_texts
from tests.pulumi_runpod.cloud import Cloud
from tests.pulumi_runpod.engine_player import CheckFailed, Player, State, engine
from tests.pulumi_runpod.test_life_cycles import ENDPOINT, TEMPLATE

OWN = {key: value for key, value in ENDPOINT.items() if key != "image"}
CONTENT_KEYS = ("image", "args", "entrypoint", "cmd", "disk", "env", "ports", "registry", "allowedCudaVersions",
                "serverless", "secretEnvKeys")  # fmt: skip


def travelling(template: State | None, outputs: dict[str, Any] | None = None) -> dict[str, Any]:
    """The nested input as the SDK sends it: a map with one secret value is secret as a whole."""
    given = outputs if outputs is not None else (template.outputs if template else {})
    content = {key: given.get(key) for key in CONTENT_KEYS if given.get(key) is not None}
    env = content.get("env")
    if isinstance(env, dict) and any(isinstance(value, Secret) for value in env.values()):
        content["env"] = Secret(env)
    return {"id": template.id if template and template.id else UNKNOWN, **content}


async def test_a_change_of_the_template_is_one_update_of_the_endpoint(player: Player, cloud: Cloud) -> None:
    """Preview of the template, preview of the endpoint from its planned outputs, then both for real."""
    template, endpoint = State("Template", "t"), State("Endpoint", "llm")
    env = {"A": "1", "HF_TOKEN": Secret("hf_tokentokentoken")}
    await player.up(template, {**TEMPLATE, "env": env, "registry": "", "args": "serve"})
    await player.up(endpoint, {**OWN, "template": travelling(template), "env": {"B": "2"}})
    assert await player.up(endpoint, {**OWN, "template": travelling(template), "env": {"B": "2"}}) == "same"

    changed = {**TEMPLATE, "image": "good:2", "env": {**env, "A": "5"}, "args": "serve"}
    planned = await player.update_preview(template, await player.check(template, changed))
    news = await player.check(endpoint, {**OWN, "template": travelling(template, planned), "env": {"B": "2"}})
    diff = await player.diff(endpoint, news)
    assert diff.paths == {"image": "UPDATE", "env.A": "UPDATE"}
    assert not has_unknown(await player.update_preview(endpoint, news))

    await player.up(template, changed)
    await player.up(endpoint, {**OWN, "template": travelling(template), "env": {"B": "2"}})
    remote = await cloud.call("GET", f"/v2/serverless/{endpoint.id}")
    assert (remote["image"], remote["args"]) == ("good:2", "serve")
    assert remote["env"] == {"A": "5", "HF_TOKEN": "hf_tokentokentoken", "B": "2"}
    assert all("templateId" not in body for body in cloud.sent("POST", "/v2/serverless"))
    assert all("templateId" not in body for body in cloud.sent("PATCH", "/v2/serverless"))
    assert player.leaks("hf_tokentokentoken") == []


async def test_a_new_template_is_known_in_the_first_preview(player: Player) -> None:
    """Its id is not, its image is."""
    template, endpoint = State("Template", "t"), State("Endpoint", "llm")
    planned = await player.create_preview(template, await player.check(template, {**TEMPLATE, "disk": 30}))
    inputs = await player.check(endpoint, {**OWN, "template": travelling(template, planned)})
    assert inputs["image"] == "good:1"
    assert inputs["disk"] == 30
    assert inputs["templateId"] is UNKNOWN


async def test_a_template_by_id_is_read(player: Player, cloud: Cloud) -> None:
    """A template that nobody here manages; a change of it shows at the next preview."""
    made = await cloud.call("POST", "/v2/templates", {**TEMPLATE, "serverless": True})
    endpoint = State("Endpoint", "llm")
    await player.up(endpoint, {**OWN, "templateId": made["id"]})
    assert endpoint.outputs["image"] == "good:1"
    await cloud.call("PATCH", f"/v2/templates/{made['id']}", {"image": "good:3"})
    await player.configure({"apiUrl": cloud.url, "jobsUrl": f"{cloud.url}/v2"})  # another run of the engine
    assert await player.up(endpoint, {**OWN, "templateId": made["id"]}) == "update"
    assert endpoint.outputs["image"] == "good:3"


async def test_a_missing_template_fails_check(player: Player) -> None:
    """With the id and the property."""
    with pytest.raises(CheckFailed) as caught:
        await player.check(State("Endpoint", "llm"), {**OWN, "templateId": "nope"})
    assert caught.value.failures == {"templateId": "names the template nope, which does not exist"}


async def test_without_a_key_a_template_by_id_is_unknown(player: Player, cloud: Cloud) -> None:
    """The preview shows the content as unknown and warns; it never shows a deletion. The real run asks again."""
    made = await cloud.call("POST", "/v2/templates", {**TEMPLATE, "serverless": True, "env": {"A": "1", "B": "2"}})
    own = {**OWN, "image": "good:9", "env": {"C": "3"}, "templateId": made["id"]}
    endpoint = State("Endpoint", "llm")
    await player.up(endpoint, own)
    async with engine() as keyless:
        await keyless.configure({"apiUrl": cloud.url})
        inputs = await keyless.check(endpoint, own)
        assert any("the content of template" in warning for warning in keyless.warnings)
        diff = await keyless.diff(endpoint, inputs)
        assert "DELETE" not in diff.paths.values()
        planned = await keyless.update_preview(endpoint, inputs)
        assert planned["image"] == "good:9"
        assert planned["env"] is UNKNOWN
        with pytest.raises(grpc.aio.AioRpcError, match="there is no RunPod API key"):
            await keyless.update(endpoint, inputs)
    await player.update(endpoint, inputs)
    assert (await cloud.call("GET", f"/v2/serverless/{endpoint.id}"))["env"] == {"A": "1", "B": "2", "C": "3"}


@pytest.mark.parametrize(
    ("own", "content", "expected"),
    [
        ({}, {"image": "a", "disk": 5}, {"image": "a", "disk": 5}),
        ({"image": "b"}, {"image": "a"}, {"image": "b"}),
        ({"args": "x"}, {"args": "y", "cmd": ["y"]}, {"args": "x"}),
        ({}, {"args": "y z", "entrypoint": [], "cmd": ["y", "z"]}, {"args": "y z"}),
        ({}, {"args": '{"cmd": ["y"]}', "entrypoint": [], "cmd": ["y"]}, {"cmd": ["y"]}),
        ({"cmd": ["x"]}, {"args": "", "entrypoint": ["e"], "cmd": ["y"]}, {"cmd": ["x"], "entrypoint": ["e"]}),
        ({"cmd": ["x"]}, {"args": "", "entrypoint": UNKNOWN, "cmd": ["y"]}, {"cmd": ["x"], "entrypoint": UNKNOWN}),
        ({}, {"registry": "", "ports": [], "env": {}}, {}),
        ({"env": {"A": "1"}}, {"env": {"A": "2", "B": "3"}}, {"env": {"A": "1", "B": "3"}}),
        ({"env": {"A": "1"}}, {"env": UNKNOWN}, {"env": UNKNOWN}),
        (
            {"gpu": {"pools": ["p"]}},
            {"allowedCudaVersions": ["13.0"]},
            {"gpu": {"pools": ["p"], "allowedCudaVersions": ["13.0"]}},
        ),
        (
            {"gpu": {"pools": ["p"], "minCudaVersion": "12.8"}},
            {"allowedCudaVersions": ["13.0"]},
            {"gpu": {"pools": ["p"], "minCudaVersion": "12.8"}},
        ),
        ({"cpu": []}, {"allowedCudaVersions": ["13.0"]}, {"cpu": []}),
    ],
)
def test_the_own_fields_win(own: dict[str, Any], content: dict[str, Any], expected: dict[str, Any]) -> None:
    """RunPod's own rules of expansion."""
    assert merge(own, content) == expected


def test_only_the_really_secret_values_stay_secret() -> None:
    """The SDK hides the whole map; the template says which names deserve it."""
    content = content_of({"id": "t", "env": Secret({"A": "1", "T": "x"}), "secretEnvKeys": ["T"]})
    assert content["env"] == {"A": "1", "T": Secret("x")}
    assert content_of({"id": "t", "env": Secret({"A": "1"})})["env"] == Secret({"A": "1"})


@pytest.mark.parametrize(
    "command",
    [{"args": Secret("--key hush-hush")}, {"cmd": ["--key", Secret("hush-hush")]}, {"cmd": Secret(["hush-hush"])}],
)
async def test_a_secret_command_is_secret_in_every_spelling(player: Player, command: dict[str, Any]) -> None:
    """RunPod answers with all three spellings; what one of them hides, none of the others may show in the state."""
    template, endpoint = State("Template", "t"), State("Endpoint", "llm")
    program = {**{key: value for key, value in TEMPLATE.items() if key not in ("args", "cmd", "entrypoint")}, **command}
    await player.up(template, program)
    assert await player.up(template, program) == "same"
    await player.up(endpoint, {**OWN, "template": travelling(template)})
    for state in (template, endpoint):
        await player.refresh(state)
        assert "hush-hush" in "".join(secret_texts(state.outputs))
        assert "hush-hush" not in _shown(state.inputs) + _shown(state.outputs)


def _shown(value: Any) -> str:
    if isinstance(value, Secret):
        return ""
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return str(value) if items is None else " ".join(map(_shown, items))
