"""Every rule of Check as a table: the mistake, where it is reported, and words that the message must hold.

`says` is laid over the resource's usual program (None takes a property out of it) and names everything that the rule
looks at, so that mistakes that share no property can be made together. `$volume_a` and the like are ids of what the
test made beforehand: a and c lie in EU-RO-1, b in EUR-IS-1.
"""

from dataclasses import dataclass
from typing import Any

from pulumi_runpod.provider.values import Secret

Json = dict[str, Any]


@dataclass(frozen=True)
class Rule:
    name: str
    kind: str
    says: Json
    found: dict[str, str]
    """Property path -> words of the message. Exactly these paths are reported."""
    asks: bool = False
    """Whether only RunPod can tell; without a key such a mistake passes."""


def _container(kind: str) -> list[Rule]:
    return [
        Rule("image is text", kind, {"image": 1}, {"image": "must be a string, not a number"}),
        Rule("image is no URL", kind, {"image": "https://ghcr.io/a/b:1"}, {"image": "not a URL; leave https:// out"}),
        Rule("image has no white space", kind, {"image": "a b"}, {"image": "white space"}),
        Rule("no NUL anywhere", kind, {"image": "a\0b"}, {"image": "NUL"}),
        Rule("args is a string", kind, {"args": ["serve"]}, {"args": "must be a string, not a list"}),
        Rule("args and the lists agree", kind, {"args": "a b", "cmd": ["c"]}, {"args": "says another command than"}),
        Rule(
            "args and both lists agree",
            kind,
            {"args": "a", "cmd": ["c"], "entrypoint": ["d"]},
            {"args": "another command than entrypoint and cmd; give either args or the lists"},
        ),
        Rule("JSON in args holds lists", kind, {"args": '{"cmd": "serve"}'}, {"args": "cmd must be a list of strings"}),
        Rule("entrypoint is words", kind, {"entrypoint": "python"}, {"entrypoint": "must be a list, not a string"}),
        Rule("a word of cmd is text", kind, {"cmd": ["a", 1]}, {"cmd[1]": "must be a string"}),
        Rule("disk is at least 1", kind, {"disk": 0}, {"disk": "must be 1 or more, not 0"}),
        Rule("disk is whole", kind, {"disk": 1.5}, {"disk": "must be a whole number"}),
        Rule("disk is finite", kind, {"disk": float("inf")}, {"disk": "must be a whole number, not inf"}),
        Rule("disk is a size", kind, {"disk": 2**60}, {"disk": "RunPod can keep exactly; give a smaller one"}),
        Rule("env is a map", kind, {"env": ["A=1"]}, {"env": "must be a map, not a list"}),
        Rule(
            "env values are text",
            kind,
            {"env": {"A": 1, "B": True}},
            {"env.A": "must be a string", "env.B": "true/false"},
        ),
        Rule("env names have no =", kind, {"env": {"A=1": "x"}}, {'env["A=1"]': "one without ="}),
        Rule("env names have no white space", kind, {"env": {"A B": "x"}}, {'env["A B"]': "without white space"}),
        Rule("env entries have names", kind, {"env": {"": "x"}}, {"env": "has an entry without a name"}),
        Rule(
            "no Output put into a string",
            kind,
            {"env": {"U": "x Calling __str__ on an Output[T] is not supported."}},
            {"env.U": "pulumi.Output.concat"},
        ),
        Rule("ports have a protocol", kind, {"ports": ["8000"]}, {"ports[0]": "such as \"8000/http\", not '8000'"}),
        Rule("the protocol is known", kind, {"ports": ["80/https"]}, {"ports[0]": "a port and its protocol"}),
        Rule("digits are 0 to 9", kind, {"ports": ["٨٠/http"]}, {"ports[0]": "a port and its protocol"}),
        Rule(
            "ports lie in 1 to 65535",
            kind,
            {"ports": ["0/tcp", "22/tcp", "65536/http"]},
            {"ports[0]": "between 1 and 65535, not 0", "ports[2]": "between 1 and 65535, not 65536"},
        ),
        Rule("ten http ports", kind, {"ports": [f"{n}/http" for n in range(1, 12)]}, {"ports": "11 http ports"}),
        Rule("registry is an id", kind, {"registry": 5}, {"registry": "must be a string"}),
        Rule("the registry exists", kind, {"registry": "nope"}, {"registry": "nope, which does not exist"}, asks=True),
        Rule("no stranger", kind, {"imageName": "x"}, {"imageName": "is no such property; did you mean image?"}),
        Rule("names have a spelling", kind, {"dataCenterIDs": []}, {"dataCenterIDs": "is no such property"}),
    ]


def _gpu(**members: Any) -> Json:
    return {"gpu": {"pools": ["ADA_24"], **members}, "cpu": None}


def _cpu(*choices: Json) -> Json:
    return {"gpu": None, "cpu": list(choices)}


def _scaling(kind: str = "QUEUE", workers: Json | None = None, **members: Any) -> Json:
    return {"type": kind, "workers": workers or {"max": 1}, "scaling": members}


_LB: Json = {"type": "LOAD_BALANCER", "scaling": {"type": "REQUEST_COUNT", "requestCount": 4}, "workers": {"max": 1}}
_BY_DELAY: Json = _scaling(type="QUEUE_DELAY", queueDelay=4)


def _volumes(*volumes: str, centers: list[str] | None = None) -> Json:
    return {"networkVolumes": list(volumes), "dataCenterIds": centers}


RULES: list[Rule] = [
    Rule("size and place are needed", "NetworkVolume", {"size": None, "dataCenter": None},
         {"size": "is required: size", "dataCenter": "is required: where the volume lives"}),
    Rule("name is not empty", "NetworkVolume", {"name": ""}, {"name": "must not be empty"}),
    Rule("size is at least 10", "NetworkVolume", {"size": 9}, {"size": "must be between 10 and 4096, not 9"}),
    Rule("size is at most 4096", "NetworkVolume", {"size": 4097}, {"size": "must be between 10 and 4096, not 4097"}),
    Rule("size is a number", "NetworkVolume", {"size": "20"}, {"size": "must be a whole number, not a string"}),
    Rule("place is not empty", "NetworkVolume", {"dataCenter": ""}, {"dataCenter": "must not be empty"}),
    Rule("tier is one of two", "NetworkVolume", {"type": "standard"},
         {"type": "one of STANDARD, HIGH_PERFORMANCE, not 'standard'; did you mean STANDARD?"}),
    Rule("place is a data center", "NetworkVolume", {"dataCenter": "eu-ro-1", "type": None},
         {"dataCenter": "is no data center: did you mean EU-RO-1?"}, asks=True),
    Rule("place has volumes", "NetworkVolume", {"dataCenter": "EU-FR-1", "type": None},
         {"dataCenter": "has no network volumes; these have: EU-CZ-1, EU-RO-1"}, asks=True),
    Rule("place has the tier", "NetworkVolume", {"dataCenter": "EU-CZ-1", "type": "HIGH_PERFORMANCE"},
         {"type": "is not to be had in EU-CZ-1, which has STANDARD"}, asks=True),
    Rule("all three are needed", "RegistryCredential", {"username": None, "password": None},
         {"username": "is required: user name", "password": "is required: password"}),
    Rule("user name is not empty", "RegistryCredential", {"username": ""}, {"username": "must not be empty"}),
    Rule("password is not empty", "RegistryCredential", {"password": Secret("")}, {"password": "must not be empty"}),
    Rule("name is not empty", "RegistryCredential", {"name": ""}, {"name": "must not be empty"}),
    *_container("Template"),
    Rule("image is needed", "Template", {"image": None}, {"image": "is required"}),
    Rule("image is not empty", "Template", {"image": ""}, {"image": "must not be empty"}),
    Rule("name is not empty", "Template", {"name": ""}, {"name": "must not be empty"}),
    Rule("flags are flags", "Template", {"public": "yes", "startSsh": 1},
         {"public": "must be true or false", "startSsh": "must be true or false"}),
    Rule("category is one of three", "Template", {"category": "GPU"}, {"category": "must be one of CPU, NVIDIA, AMD"}),
    Rule("CUDA versions have a form", "Template", {"allowedCudaVersions": ["13", "12.8"]},
         {"allowedCudaVersions[0]": 'a CUDA version such as "13.0"'}),
    Rule("CUDA versions are named once", "Template", {"allowedCudaVersions": ["12.8", "12.8"]},
         {"allowedCudaVersions[1]": "is in the list twice"}),
    Rule("a mount is whole", "Template", {"serverless": False, "mounts": {"persistent": {}}},
         {"mounts.persistent.size": "is required", "mounts.persistent.path": "is required"}),
    Rule("a mount is at least 10", "Template",
         {"serverless": False, "mounts": {"persistent": {"size": 9, "path": "/a"}}},
         {"mounts.persistent.size": "must be 10 or more, not 9"}),
    Rule("a mount has a place", "Template", {"serverless": False, "mounts": {"persistent": {"size": 10, "path": ""}}},
         {"mounts.persistent.path": "must not be empty"}),
    Rule("templates mount no network volumes", "Template", {"serverless": False, "mounts": {"network": []}},
         {"mounts.network": "is no such property"}),
    Rule("serverless workers have no disk of their own", "Template",
         {"serverless": True, "mounts": {"persistent": {"size": 10, "path": "/a"}}},
         {"mounts": "only pods have one; leave it out, or give serverless=False"}),
    *_container("Endpoint"),
    Rule("name is not empty", "Endpoint", {"name": ""}, {"name": "must not be empty"}),
    Rule("type is needed", "Endpoint", {"type": None}, {"type": "is required"}),
    Rule("type is one of two", "Endpoint", {"type": "queue"}, {"type": "not 'queue'; did you mean QUEUE?"}),
    Rule("image or template", "Endpoint", {"image": None},
         {"image": "is required unless a template supplies it; give image, template or template_id"}),
    Rule("one template", "Endpoint", {"template": {"id": "a"}, "templateId": "b", "image": "good:1"},
         {"templateId": "excludes template; give one of them"}),
    Rule("a template for endpoints", "Endpoint", {"template": {"id": "a", "serverless": False}, "image": "good:1"},
         {"template": "is a template for pods; give the Template serverless=True"}),
    Rule("a template's content has a form", "Endpoint", {"template": {"id": "a", "env": "A=1"}, "image": "good:1"},
         {"template.env": "must be a map, not a string"}),
    Rule("the template exists", "Endpoint", {"templateId": "nope", "image": "good:1"},
         {"templateId": "names the template nope, which does not exist"}, asks=True),
    Rule("the template is for endpoints", "Endpoint", {"templateId": "$template_pod", "image": "good:1"},
         {"templateId": "which is for pods"}, asks=True),
    Rule("templateId is an id", "Endpoint", {"templateId": 5, "image": "good:1"}, {"templateId": "must be a string"}),
    Rule("gpu or cpu", "Endpoint", {"gpu": None, "cpu": None}, {"gpu": "is required unless cpu is given"}),
    Rule("not both", "Endpoint", {"gpu": {"pools": ["ADA_24"]}, "cpu": [{"id": "cpu3c", "vcpuCount": 4}]},
         {"cpu": "excludes gpu; give one of them"}),
    Rule("pools are needed", "Endpoint", {"gpu": {"count": 1}, "cpu": None}, {"gpu.pools": "is required"}),
    Rule("a pool at least", "Endpoint", _gpu(pools=[]), {"gpu.pools": "needs at least 1 entry"}),
    Rule("pools are named once", "Endpoint", _gpu(pools=["ADA_24", "ADA_24"]),
         {"gpu.pools[1]": "is in the list twice"}),
    Rule("pools exist", "Endpoint", _gpu(pools=["ADA_24", "ada_48"]),
         {"gpu.pools[1]": "is no GPU pool: did you mean ADA_24?"}, asks=True),
    Rule("a type is no pool", "Endpoint", _gpu(pools=["NVIDIA L4"]),
         {"gpu.pools[0]": "names a GPU type, not a pool; its pool is AMPERE_24"}, asks=True),
    Rule("a type without pool", "Endpoint", _gpu(pools=["NVIDIA A30"]),
         {"gpu.pools[0]": "serverless workers cannot have it"}, asks=True),
    Rule("excluded types have no dash", "Endpoint", _gpu(excludedTypes=["-NVIDIA L4"]),
         {"gpu.excludedTypes[0]": "without a leading dash"}),
    Rule("excluded types are named once", "Endpoint",
         _gpu(pools=["AMPERE_24"], excludedTypes=["NVIDIA L4", " NVIDIA L4"]),
         {"gpu.excludedTypes[1]": "is in the list twice"}),
    Rule("excluded types are in the pools", "Endpoint", _gpu(pools=["AMPERE_24"], excludedTypes=["NVIDIA l4"]),
         {"gpu.excludedTypes[0]": "is in none of the pools: did you mean NVIDIA L4?"}, asks=True),
    Rule("a type is left", "Endpoint", _gpu(excludedTypes=["NVIDIA GeForce RTX 4090"]),
         {"gpu.excludedTypes": "leaves no GPU type in the pools"}, asks=True),
    Rule("a GPU at least", "Endpoint", _gpu(count=0), {"gpu.count": "must be 1 or more, not 0"}),
    Rule("one CUDA rule", "Endpoint", _gpu(allowedCudaVersions=["13.0"], minCudaVersion="12.8"),
         {"gpu.minCudaVersion": "excludes gpu.allowedCudaVersions; give one of them"}),
    Rule("CUDA versions have a form", "Endpoint", _gpu(allowedCudaVersions=["13", "x"]),
         {"gpu.allowedCudaVersions[0]": "a CUDA version such as", "gpu.allowedCudaVersions[1]": "a CUDA version"}),
    Rule("the lowest CUDA version has a form", "Endpoint", _gpu(minCudaVersion="12"),
         {"gpu.minCudaVersion": "not '12'"}),
    Rule("gpu has no strangers", "Endpoint", _gpu(excluded_types=[]),
         {"gpu.excluded_types": "is spelled excludedTypes"}),
    Rule("a CPU at least", "Endpoint", _cpu(), {"cpu": "needs at least 1 entry"}),
    Rule("a CPU is whole", "Endpoint", _cpu({}), {"cpu[0].id": "is required", "cpu[0].vcpuCount": "is required"}),
    Rule("two vCPUs at least", "Endpoint", _cpu({"id": "cpu3c", "vcpuCount": 1}),
         {"cpu[0].vcpuCount": "must be 2 or more"}),
    Rule("vCPUs double", "Endpoint", _cpu({"id": "cpu3c", "vcpuCount": 6}),
         {"cpu[0].vcpuCount": "must be a power of two, not 6; use 4 or 8"}),
    Rule("a flavor ends somewhere", "Endpoint", _cpu({"id": "cpu3c", "vcpuCount": 64}),
         {"cpu[0].vcpuCount": "must be between 2 and 32 for cpu3c, not 64"}, asks=True),
    Rule("CPUs are named once", "Endpoint", _cpu({"id": "cpu3c", "vcpuCount": 4}, {"id": "cpu3c", "vcpuCount": 4}),
         {"cpu[1]": "is in the list twice"}),
    Rule("scaling is needed", "Endpoint", {"scaling": None}, {"scaling": "is required"}),
    Rule("the scaler is needed", "Endpoint", _scaling(requestCount=1), {"scaling.type": "is required"}),
    Rule("the scaler is one of two", "Endpoint", _scaling(type="REQUESTS", requestCount=1),
         {"scaling.type": "must be one of QUEUE_DELAY, REQUEST_COUNT"}),
    Rule("a load balancer has no queue", "Endpoint", _scaling("LOAD_BALANCER", type="QUEUE_DELAY", queueDelay=4),
         {"scaling.type": "must be REQUEST_COUNT for a LOAD_BALANCER"}),
    Rule("a delay needs its number", "Endpoint", _scaling(type="QUEUE_DELAY"),
         {"scaling.queueDelay": "is required with scaling.type QUEUE_DELAY"}),
    Rule("a count needs its number", "Endpoint", _scaling(type="REQUEST_COUNT", queueDelay=4),
         {"scaling.requestCount": "is required with scaling.type REQUEST_COUNT",
          "scaling.queueDelay": "does not go with scaling.type REQUEST_COUNT; leave it out"}),
    Rule("a delay has no count", "Endpoint", _scaling(type="QUEUE_DELAY", queueDelay=4, requestCount=1),
         {"scaling.requestCount": "does not go with scaling.type QUEUE_DELAY; leave it out"}),
    Rule("a delay is at least a half", "Endpoint", _scaling(type="QUEUE_DELAY", queueDelay=0.4),
         {"scaling.queueDelay": "must be 0.5 or more, not 0.4"}),
    Rule("a delay is finite", "Endpoint", _scaling(type="QUEUE_DELAY", queueDelay=float("nan")),
         {"scaling.queueDelay": "must be a finite number"}),
    Rule("a count is at least 1", "Endpoint", _scaling(type="REQUEST_COUNT", requestCount=0),
         {"scaling.requestCount": "must be 1 or more, not 0"}),
    Rule("no idle timeout for a queue by count", "Endpoint",
         _scaling(type="REQUEST_COUNT", requestCount=1, workers={"idleTimeout": 5}),
         {"workers.idleTimeout": "does not apply to a QUEUE that scales by REQUEST_COUNT; leave it out"}),
    Rule("an idle timeout is at least 1", "Endpoint", {**_BY_DELAY, "workers": {"idleTimeout": 0}},
         {"workers.idleTimeout": "must be between 1 and 3600, not 0"}),
    Rule("an idle timeout is at most an hour", "Endpoint", {**_BY_DELAY, "workers": {"idleTimeout": 3601}},
         {"workers.idleTimeout": "must be between 1 and 3600, not 3601"}),
    Rule("min is not negative", "Endpoint", {"workers": {"min": -1}}, {"workers.min": "must be 0 or more, not -1"}),
    Rule("min is at most max", "Endpoint", {"workers": {"min": 3, "max": 1}},
         {"workers.min": "is 3, above workers.max (1); lower it or raise workers.max"}),
    Rule("min is at most the default of max", "Endpoint", {"workers": {"min": 4}},
         {"workers.min": "is 4, above workers.max (3)"}),
    Rule("data centers exist", "Endpoint", {"dataCenterIds": ["EU-RO-1", "EU-RO1"], "networkVolumes": None},
         {"dataCenterIds[1]": "is no data center: did you mean EU-RO-1?"}, asks=True),
    Rule("data centers are named once", "Endpoint", {"dataCenterIds": ["EU-RO-1", "EU-RO-1"], "networkVolumes": None},
         {"dataCenterIds[1]": "is in the list twice"}),
    Rule("volumes exist", "Endpoint", _volumes("$volume_a", "nope"),
         {"networkVolumes[1]": "names the network volume nope, which does not exist"}, asks=True),
    Rule("volumes are named once", "Endpoint", _volumes("$volume_a", "$volume_a"),
         {"networkVolumes[1]": "is in the list twice; name it once"}),
    Rule("a data center takes one volume", "Endpoint", _volumes("$volume_a", "$volume_b", "$volume_c"),
         {"networkVolumes[2]": "is in EU-RO-1, where networkVolumes[0] is too"}, asks=True),
    Rule("a volume is where workers may run", "Endpoint", _volumes("$volume_a", "$volume_b", centers=["EU-RO-1"]),
         {"networkVolumes[1]": "is in EUR-IS-1, but workers may run only in EU-RO-1; add EUR-IS-1 to dataCenterIds"},
         asks=True),
    Rule("timeout is not negative", "Endpoint", {"timeout": -1}, {"timeout": "must be 0 or more, not -1"}),
    Rule("flashboot is one of three", "Endpoint", {"flashboot": "ON"}, {"flashboot": "must be one of OFF, FLASHBOOT"}),
    Rule("waiting is a flag", "Endpoint", {"waitForReady": "no"}, {"waitForReady": "must be true or false"}),
    Rule("a probe is an object", "Endpoint", {"readyProbe": "ping", "type": "QUEUE"},
         {"readyProbe": "must be an object"}),
    Rule("a probe is JSON", "Endpoint", {"readyProbe": {"a": [float("nan")]}, "type": "QUEUE"},
         {"readyProbe.a[0]": "must be a finite number"}),
    Rule("a balancer is asked with a path", "Endpoint", {**_LB, "readyProbe": {"path": "ping"}},
         {"readyProbe.path": "must be a path that begins with /"}),
    Rule("a balancer is asked with nothing but a path", "Endpoint", {**_LB, "readyProbe": {"route": "/ping"}},
         {"readyProbe.route": "does not go with a LOAD_BALANCER"}),
]  # fmt: skip
