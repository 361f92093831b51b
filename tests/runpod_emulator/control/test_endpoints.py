"""Endpoints over real HTTP: life cycle, defaults, rules, releases."""

from typing import Any

import pytest

from tests.runpod_emulator.control.support import IMAGE, Cloud, endpoint_body, worker


async def test_an_endpoint_lives_and_dies(cloud: Cloud) -> None:
    """Create, read, list, change, delete, with the published status codes."""
    made = await cloud.endpoint()
    path = f"/v2/serverless/{made['id']}"
    assert (await cloud.get(path)).json == made
    assert (await cloud.get("/v2/serverless")).json["endpoints"] == [made]
    changed = await cloud.patch(path, {"name": "other"})
    assert (changed.status, changed.json) == (200, {**made, "name": "other"})
    gone = await cloud.delete(path)
    assert (gone.status, gone.text) == (204, "")
    assert (await cloud.get(path)).status == 404
    assert (await cloud.delete(path)).status == 404
    assert cloud.fleet.changed == [made["id"], made["id"]]
    assert cloud.fleet.deleted == [made["id"]]


async def test_defaults_are_runpods(cloud: Cloud) -> None:
    """What is left out comes back as the live service fills it: timeout 0, FlashBoot off, workers 0/3/10."""
    made = await cloud.endpoint()
    expected = {
        "args": "",
        "entrypoint": [],
        "cmd": [],
        "disk": 20,
        "env": {},
        "ports": [],
        "registry": None,
        "gpu": {"pools": ["ADA_24"], "count": 1, "allowedCudaVersions": [], "minCudaVersion": None},
        "workers": {"min": 0, "max": 3, "idleTimeout": 10},
        "dataCenterIds": [],
        "networkVolumes": [],
        "timeout": 0,
        "flashboot": "OFF",
    }
    assert {key: made[key] for key in expected} == expected
    assert made["id"].isalnum()
    assert made["id"].islower()
    assert made["requestUrls"]["run"] == f"{cloud.ctx.base_url}/v2/{made['id']}/run"
    assert made["requestUrls"]["status"].endswith("/status/{job_id}")


async def test_idle_timeout_is_left_out_for_a_queue_on_request_count(cloud: Cloud) -> None:
    """QUEUE with REQUEST_COUNT has no idle timeout: not in the answer, and refused in the request."""
    by_count = {"type": "REQUEST_COUNT", "requestCount": 1}
    made = await cloud.endpoint(scaling=by_count)
    assert made["workers"] == {"min": 0, "max": 3}
    refused = await cloud.post("/v2/serverless", endpoint_body(scaling=by_count, workers={"idleTimeout": 5}))
    assert refused.status == 422
    assert refused.json["detail"] == "idleTimeout does not apply to queue-based endpoints scaling on requestCount"
    again = await cloud.patch(f"/v2/serverless/{made['id']}", {"scaling": {"type": "QUEUE_DELAY", "queueDelay": 0.5}})
    assert again.json["workers"]["idleTimeout"] == 10


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"bogus": 1}, "$: additional properties 'bogus' not allowed"),
        ({"name": ""}, "$.name: minLength: got 0, want 1"),
        ({"name": 7}, "$.name: got number, want string"),
        ({"type": "BATCH"}, "$.type: value must be one of 'QUEUE', 'LOAD_BALANCER'"),
        ({"workers": {"idleTimeout": 3601}}, "$.workers.idleTimeout: maximum: got 3601, want 3600"),
        ({"workers": {"min": True}}, "$.workers.min: got boolean, want integer"),
        ({"scaling": {"type": "QUEUE_DELAY"}}, "$.scaling: missing property 'queueDelay'"),
        ({"scaling": {"type": "QUEUE_DELAY", "queueDelay": 0.4}}, "$.scaling.queueDelay: minimum: got 0.4, want 0.5"),
        ({"disk": 0}, "$.disk: minimum: got 0, want 1"),
        ({"env": {"A": 1}}, "$.env.A: got number, want string"),
        ({"gpu": {"pools": []}}, "$.gpu.pools: minItems: got 0, want 1"),
        ({"gpu": {"pools": ["ADA_24"], "excludedTypes": ["-x"]}}, "does not match pattern"),
        ({"gpu": {"pools": ["ADA_24"], "minCudaVersion": "12"}}, "$.gpu.minCudaVersion: '12' does not match pattern"),
        ({"gpu": {"count": 1}}, "$.gpu: missing property 'pools'"),
        ({"type": "LOAD_BALANCER"}, "$.scaling.type: value must be 'REQUEST_COUNT'"),
        ({"image": None}, "$: missing property 'image'"),
        ({"registry": 5}, "$.registry: got number, want null or string"),
    ],
)
async def test_a_body_outside_the_schema_is_422(cloud: Cloud, change: dict[str, Any], error: str) -> None:
    """Each mistake has its own message with its path."""
    body = endpoint_body(**change)
    answer = await cloud.post("/v2/serverless", body)
    assert answer.status == 422
    assert answer.headers["Content-Type"].startswith("application/problem+json")
    assert any(error in line for line in answer.json["errors"]), answer.text


async def test_one_missing_field_blames_its_neighbours_as_the_service_does(cloud: Cloud) -> None:
    """A missing required field makes valid neighbours "additional": noise that clients must live with."""
    body = endpoint_body(name=None)
    errors = (await cloud.post("/v2/serverless", body)).json["errors"]
    assert errors == ["$: missing property 'name'", "$: additional properties 'type', 'gpu', 'scaling' not allowed"]


@pytest.mark.parametrize(
    ("change", "detail"),
    [
        ({"gpu": None}, "exactly one of gpu or cpu"),
        ({"cpu": [{"id": "cpu3c", "vcpuCount": 2}]}, "exactly one of gpu or cpu"),
        ({"gpu": None, "cpu": [{"id": "cpu3c", "vcpuCount": 6}]}, "power of two"),
        ({"gpu": None, "cpu": [{"id": "cpu3c", "vcpuCount": 64}]}, "between 2 and 32"),
        ({"gpu": None, "cpu": [{"id": "abacus", "vcpuCount": 2}]}, "unknown CPU flavor 'abacus'"),
        ({"gpu": {"pools": ["NOPE"]}}, "unknown GPU pool 'NOPE'"),
        ({"gpu": {"pools": ["ADA_24"], "excludedTypes": ["NVIDIA L4"]}}, "not in the selected pools"),
        ({"gpu": {"pools": ["ADA_24"], "excludedTypes": [" NVIDIA GeForce RTX 4090 "]}}, "at least one GPU type"),
        (
            {"gpu": {"pools": ["ADA_24"], "allowedCudaVersions": ["12.8"], "minCudaVersion": "12.6"}},
            "mutually exclusive",
        ),
        ({"dataCenterIds": ["MOON-1"]}, "unknown data center 'MOON-1'"),
        ({"networkVolumes": ["nosuch"]}, "network volume 'nosuch' not found"),
        ({"registry": "nosuch"}, "registry credential 'nosuch' not found"),
        ({"args": "a b", "cmd": ["a", "c"]}, "different commands"),
        ({"workers": {"max": 11}}, "Max workers across all endpoints must not exceed your workers quota (10)."),
    ],
)
async def test_a_rule_between_fields_is_400(cloud: Cloud, change: dict[str, Any], detail: str) -> None:
    """The schema cannot say it, so the handler does, and nothing is created."""
    answer = await cloud.post("/v2/serverless", endpoint_body(**change))
    assert answer.status == 400
    assert detail in answer.json["detail"]
    assert (await cloud.get("/v2/serverless")).json["endpoints"] == []


async def test_the_quota_counts_every_endpoint(cloud: Cloud) -> None:
    """The sum of workers.max is limited, also on PATCH; what is not touched is not counted again."""
    first = await cloud.endpoint(workers={"max": 6})
    second = await cloud.endpoint(workers={"max": 4})
    refused = await cloud.patch(f"/v2/serverless/{second['id']}", {"workers": {"max": 5}})
    assert refused.status == 400
    assert refused.json["detail"].endswith("at most 4.")
    assert (await cloud.patch(f"/v2/serverless/{first['id']}", {"workers": {"min": 1}})).status == 200


async def test_patch_cannot_change_type_or_family(cloud: Cloud) -> None:
    """`type` is unknown to PATCH (422); gpu on a CPU endpoint and the reverse are 400."""
    gpu = await cloud.endpoint()
    cpu = await cloud.endpoint(gpu=None, cpu=[{"id": "cpu5c", "vcpuCount": 4}])
    assert cpu["cpu"] == [{"id": "cpu5c", "vcpuCount": 4, "memory": 8}]
    assert "gpu" not in cpu
    assert (await cloud.patch(f"/v2/serverless/{gpu['id']}", {"type": "QUEUE"})).status == 422
    assert (await cloud.patch(f"/v2/serverless/{cpu['id']}", {"gpu": {"count": 2}})).status == 400
    refused = await cloud.patch(f"/v2/serverless/{gpu['id']}", {"cpu": [{"id": "cpu3c", "vcpuCount": 2}]})
    assert refused.status == 400
    both = {"gpu": {"count": 1}, "cpu": [{"id": "cpu3c", "vcpuCount": 2}]}
    assert (await cloud.patch(f"/v2/serverless/{gpu['id']}", both)).status == 400


async def test_patch_replaces_and_clears(cloud: Cloud) -> None:
    """Maps and lists are replaced whole; each clearing form of the reference clears."""
    volume, registry = await cloud.volume(), await cloud.registry()
    made = await cloud.endpoint(
        env={"A": "1", "B": "2"},
        ports=["8000/http"],
        registry=registry["id"],
        networkVolumes=[volume["id"]],
        dataCenterIds=["US-KS-2"],
        gpu={
            "pools": ["AMPERE_24"],
            "excludedTypes": [" NVIDIA L4 "],
            "count": 2,
            "allowedCudaVersions": ["12.8"],
        },
    )
    assert made["gpu"]["excludedTypes"] == ["NVIDIA L4"]
    path = f"/v2/serverless/{made['id']}"
    assert (await cloud.patch(path, {"env": {"B": "3"}})).json["env"] == {"B": "3"}
    cuda = await cloud.patch(path, {"gpu": {"minCudaVersion": "12.6"}})
    assert cuda.status == 400, "a floor beside a set needs the set cleared in the same PATCH"
    cuda = await cloud.patch(path, {"gpu": {"minCudaVersion": "12.6", "allowedCudaVersions": []}})
    assert cuda.json["gpu"] == {
        "pools": ["AMPERE_24"],
        "excludedTypes": ["NVIDIA L4"],
        "count": 2,
        "allowedCudaVersions": [],
        "minCudaVersion": "12.6",
    }
    widened = await cloud.patch(path, {"gpu": {"pools": ["AMPERE_24"], "minCudaVersion": ""}})
    assert "excludedTypes" not in widened.json["gpu"]
    assert widened.json["gpu"]["minCudaVersion"] is None
    assert (await cloud.patch(path, {"gpu": {"excludedTypes": ["NVIDIA L4"]}})).status == 422
    cleared = (await cloud.patch(path, {"registry": None, "ports": [], "networkVolumes": [], "dataCenterIds": []})).json
    assert [cleared[key] for key in ("registry", "ports", "networkVolumes", "dataCenterIds")] == [None, [], [], []]


async def test_args_and_lists_are_one_command(cloud: Cloud) -> None:
    """`entrypoint` and `cmd` are stored in `args`; what comes back can be sent back."""
    made = await cloud.endpoint(entrypoint=["python3", "-m"], cmd=["server", "--name", "a b"])
    assert made["args"] == '{"entrypoint": ["python3", "-m"], "cmd": ["server", "--name", "a b"]}'
    path = f"/v2/serverless/{made['id']}"
    same = await cloud.patch(path, {key: made[key] for key in ("args", "entrypoint", "cmd")})
    assert same.json == made
    only_cmd = (await cloud.patch(path, {"cmd": ["other"]})).json
    assert (only_cmd["entrypoint"], only_cmd["cmd"]) == (["python3", "-m"], ["other"])
    shell = (await cloud.patch(path, {"args": "serve 'a b' --x"})).json
    assert (shell["args"], shell["entrypoint"], shell["cmd"]) == ("serve 'a b' --x", [], ["serve", "a b", "--x"])
    cleared = (await cloud.patch(path, {"entrypoint": [], "cmd": []})).json
    assert (cleared["args"], cleared["entrypoint"], cleared["cmd"]) == ("", [], [])


async def test_a_template_is_expanded_once(cloud: Cloud) -> None:
    """Body over template, env merged by key; the template's id never comes back and later edits do not reach."""
    template = await cloud.template(
        serverless=True,
        image="registry.example/base:7",
        disk=40,
        env={"A": "1", "B": "2"},
        ports=["80/http"],
        allowedCudaVersions=["12.8"],
    )
    made = await cloud.endpoint(templateId=template["id"], image=None, env={"B": "3", "C": "4"}, disk=60)
    assert (made["image"], made["disk"], made["ports"]) == ("registry.example/base:7", 60, ["80/http"])
    assert made["env"] == {"A": "1", "B": "3", "C": "4"}
    assert made["gpu"]["allowedCudaVersions"] == ["12.8"]
    assert "templateId" not in made
    await cloud.patch(f"/v2/templates/{template['id']}", {"image": "registry.example/base:8"})
    assert (await cloud.get(f"/v2/serverless/{made['id']}")).json == made
    floor = await cloud.endpoint(
        templateId=template["id"], image=None, gpu={"pools": ["ADA_24"], "minCudaVersion": "12.4"}
    )
    assert floor["gpu"]["allowedCudaVersions"] == [], "a set is not seeded beside a floor"
    patched = (await cloud.patch(f"/v2/serverless/{made['id']}", {"templateId": template["id"]})).json
    assert (patched["image"], patched["env"]) == ("registry.example/base:8", {"A": "1", "B": "2"})


async def test_only_a_known_serverless_template_serves(cloud: Cloud) -> None:
    """Unknown: 404. A pod's template: 422. A public one is as good as an own one."""
    pod = await cloud.template()
    unknown = await cloud.post("/v2/serverless", endpoint_body(templateId="nosuch", image=None))
    assert unknown.status == 404
    assert (await cloud.post("/v2/serverless", endpoint_body(templateId=pod["id"], image=None))).status == 422
    public = (await cloud.get("/v2/catalog/templates")).json["templates"]
    serverless = next(template for template in public if template["serverless"])
    assert (await cloud.endpoint(templateId=serverless["id"], image=None))["image"] == serverless["image"]


async def test_an_unknown_image_is_422_in_prose(cloud: Cloud) -> None:
    """The host looks into the registry, with the credential, before anything is stored."""
    registry = await cloud.registry()
    cloud.host.missing_images = {"registry.example/none:1": False, "registry.example/down:1": "no route to it"}
    for image, words in (("none", "not found in its registry"), ("down", "no route to it")):
        body = endpoint_body(image=f"registry.example/{image}:1", registry=registry["id"])
        answer = await cloud.post("/v2/serverless", body)
        assert answer.status == 422
        assert words in answer.json["detail"]
        assert "errors" not in answer.json
    assert cloud.host.asked[0][1] == ("user", "very-secret-password")
    made = await cloud.endpoint()
    path = f"/v2/serverless/{made['id']}"
    asked = len(cloud.host.asked)
    assert (await cloud.patch(path, {"name": "n"})).status == 200
    assert len(cloud.host.asked) == asked, "an unchanged image is not looked up again"
    assert (await cloud.patch(path, {"image": "registry.example/none:1"})).status == 422
    assert (await cloud.get(path)).json["image"] == IMAGE


async def test_volumes_and_data_centers_must_agree(cloud: Cloud) -> None:
    """One volume per data centre, and only where the endpoint may run."""
    one, two = await cloud.volume(), await cloud.volume()
    far = await cloud.volume(dataCenter="EU-RO-1")
    both = await cloud.post("/v2/serverless", endpoint_body(networkVolumes=[one["id"], two["id"]]))
    assert both.status == 400
    assert "both in US-KS-2" in both.json["detail"]
    apart = endpoint_body(networkVolumes=[far["id"]], dataCenterIds=["US-KS-2"])
    assert (await cloud.post("/v2/serverless", apart)).status == 400
    await cloud.endpoint(networkVolumes=[one["id"], far["id"]])


async def test_a_release_for_what_restarts_workers_and_only_for_that(cloud: Cloud) -> None:
    """Container and compute changes bump the version and append a diff; scaling, name and timeout do not."""
    made = await cloud.endpoint()
    path = f"/v2/serverless/{made['id']}"
    for quiet in (
        {"name": "n"},
        {"workers": {"min": 1, "max": 2, "idleTimeout": 5}},
        {"scaling": {"type": "QUEUE_DELAY", "queueDelay": 9}},
        {"timeout": 600000},
        {"flashboot": "FLASHBOOT"},
        {"image": IMAGE, "env": {}, "cmd": []},
    ):
        assert (await cloud.patch(path, quiet)).status == 200
    assert (await cloud.get(path + "/releases")).json["endpointVersion"] == 1
    await cloud.patch(path, {"image": "registry.example/llm:2", "env": {"A": "1"}})
    await cloud.patch(path, {"gpu": {"count": 2}})
    cloud.fleet.shown[made["id"]] = [worker("w1", version=3), worker("w2", version=2), worker("w3", version=3)]
    seen = (await cloud.get(path + "/releases")).json
    assert seen["endpointVersion"] == 3
    assert seen["rollout"] == {"inProgress": True, "workersOnLatest": 2, "workersTotal": 3, "percentOnLatest": 66}
    assert [release["version"] for release in seen["releases"]] == [3, 2, 1]
    assert [release["workerCount"] for release in seen["releases"]] == [2, 1, 0]
    assert seen["releases"][0]["diff"] == [{"field": "gpuCount", "old": 1, "new": 2}]
    assert seen["releases"][1]["diff"] == [
        {"field": "template.imageName", "old": IMAGE, "new": "registry.example/llm:2"},
        {"field": "template.env", "old": {}, "new": {"A": "1"}},
    ]


async def test_workers_are_shown_with_a_summary_that_adds_up(cloud: Cloud) -> None:
    """Stale is version against version; the summary counts exactly the workers shown."""
    made = await cloud.endpoint()
    now = cloud.ctx.clock()
    cloud.fleet.shown[made["id"]] = [
        worker("w1", "RUNNING", started_at=now - 90),
        worker("w2", "INITIALIZING", version=0),
        worker("w3", "THROTTLED"),
    ]
    seen = (await cloud.get(f"/v2/serverless/{made['id']}/workers")).json
    assert seen["summary"] == {
        "running": 1,
        "idle": 0,
        "initializing": 1,
        "throttled": 1,
        "unhealthy": 0,
        "total": 3,
    }
    assert [item["isStale"] for item in seen["workers"]] == [False, True, False]
    assert seen["workers"][0]["uptimeSeconds"] in (89, 90, 91)
    assert seen["workers"][1]["startedAt"] is None
    assert (await cloud.get("/v2/serverless/nosuch/workers")).status == 404


async def test_a_deployment_that_grows_too_large_through_its_template_is_413(cloud: Cloud) -> None:
    """The limit counts the body with the template merged in."""
    template = await cloud.template(serverless=True, env={"A": "x" * 60_000})
    body = endpoint_body(templateId=template["id"], image=None, env={"B": "x" * 60_000})
    assert (await cloud.post("/v2/serverless", body)).status == 413
