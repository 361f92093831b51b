"""The property walk as a table: for each property its values, and what each step has to show and to send.

A row reads: the property `path` comes with `first`, becomes `second`, goes, and is unknown. For each of the three
steps it says what Diff names, in the form of the CLI: `+env` comes, `~env.A` changes, `-env` goes, and a `!` behind it
means that the resource is replaced. An empty text means that the step is no change at all.

`$volume_a` and the like stand for ids of what the test made beforehand.
"""

from dataclasses import dataclass, field
from typing import Any

from pulumi_runpod.provider.values import UNKNOWN, Secret

REFUSED = "refused"
"""In place of a change: the property cannot be left out, Check says so."""
Json = dict[str, Any]


@dataclass(frozen=True)
class Walk:
    """One property's walk."""

    path: str
    first: Any
    second: Any
    added: str
    changed: str
    removed: str
    unknown: str = ""
    """What Diff names for an unknown value after all that; by default the property itself, `+` where it was gone."""
    at: str = ""
    """Where `first` and `second` stand, if not at `path`: a part that cannot change alone changes with its parent."""
    base: Json = field(default_factory=dict)
    """What the program says beside, over the resource's usual program."""
    without: Json = field(default_factory=dict)
    """What the program says instead, where it does not say the property."""
    sends: tuple[Json | None, Json | None, Json | None] = (None, None, None)
    """The PATCH of each step; by default the changed property whole, or of `gpu` and `workers` the changed member."""


BASES: dict[str, Json] = {
    "NetworkVolume": {"name": "models", "size": 50, "dataCenter": "EU-RO-1"},
    "Template": {"name": "worker", "image": "good:1"},
    "RegistryCredential": {"name": "ghcr", "username": "octocat", "password": Secret("pass-word-0")},
    "Endpoint": {
        "name": "llm",
        "type": "QUEUE",
        "image": "good:1",
        "gpu": {"pools": ["ADA_24"]},
        "scaling": {"type": "REQUEST_COUNT", "requestCount": 1},
        "waitForReady": False,
    },
}


def _cleared(**body: Any) -> tuple[None, None, Json]:
    return (None, None, body)


def _container(*, image_required: bool) -> list[Walk]:
    """The container block, the same on a template and on an endpoint."""
    del image_required
    return [
        Walk("image", "good:2", "good:3", REFUSED, "~image", REFUSED),
        Walk("args", "serve -p 1", "serve -p 2", "+args", "~args", "-args", sends=_cleared(args="")),
        Walk(
            "entrypoint",
            ["python"],
            ["python", "-u"],
            "+entrypoint",
            "+entrypoint[1]",
            "-entrypoint",
            sends=(
                {"entrypoint": ["python"], "cmd": []},
                {"entrypoint": ["python", "-u"], "cmd": []},
                {"args": ""},
            ),
        ),
        Walk(
            "cmd",
            ["serve", "a b"],
            ["serve", "c"],
            "+cmd",
            "~cmd[1]",
            "-cmd",
            sends=(
                {"entrypoint": [], "cmd": ["serve", "a b"]},
                {"entrypoint": [], "cmd": ["serve", "c"]},
                {"args": ""},
            ),
        ),
        # RunPod chooses a size where none is given, and keeps the last one where it is no longer given.
        Walk("disk", 30, 40, "~disk", "~disk", "", unknown="~disk"),
        Walk("env", {"A": "1"}, {"A": "2", "B": "3"}, "+env", "~env.A +env.B", "-env", sends=_cleared(env={})),
        Walk("env", {"A": "1", "B": "2"}, {"B": "2"}, "+env", "-env.A", "-env", sends=_cleared(env={})),
        Walk(
            "env",
            {"HF_TOKEN": Secret("hf_secretsecret1"), "a.b": "1"},
            {"HF_TOKEN": Secret("hf_secretsecret2"), "a.b": "2"},
            "+env",
            '~env.HF_TOKEN ~env["a.b"]',
            "-env",
            sends=_cleared(env={}),
        ),
        Walk(
            "ports", ["8000/http"], ["8000/http", "22/tcp"], "+ports", "+ports[1]", "-ports", sends=_cleared(ports=[])
        ),
        Walk(
            "registry",
            "$registry_a",
            "$registry_b",
            "+registry",
            "~registry",
            "-registry",
            sends=_cleared(registry=None),
        ),
    ]


_DELAYED: Json = {"scaling": {"type": "QUEUE_DELAY", "queueDelay": 4}}
_ON_GPU: Json = {"gpu": {"pools": ["ADA_24"]}}
_ON_CPU: Json = {"cpu": [{"id": "cpu3c", "vcpuCount": 4}]}
_POD: Json = {"serverless": False}
_MOUNT: Json = {"persistent": {"size": 10, "path": "/a"}}

WALKS: dict[str, list[Walk]] = {
    "NetworkVolume": [
        Walk("name", "one", "two", "~name", "~name", ""),
        Walk("size", 60, 80, REFUSED, "~size", REFUSED),
        Walk("size", 80, 60, REFUSED, "~size!", REFUSED, unknown="~size"),
        Walk("dataCenter", "EU-RO-1", "EUR-IS-1", REFUSED, "~dataCenter!", REFUSED),
        # STANDARD is what RunPod chooses there by itself.
        Walk("type", "HIGH_PERFORMANCE", "STANDARD", "~type!", "~type!", ""),
    ],
    "RegistryCredential": [
        Walk("name", "one", "two", "~name!", "~name!", ""),
        Walk("username", "one", "two", REFUSED, "~username!", REFUSED),
        Walk("password", Secret("pass-word-1"), Secret("pass-word-2"), REFUSED, "~password!", REFUSED),
    ],
    "Template": [
        Walk("name", "one", "two", "~name", "~name", ""),
        *_container(image_required=True),
        Walk("serverless", False, True, "~serverless", "~serverless", ""),
        Walk("public", True, False, "~public", "~public", ""),
        Walk("category", "AMD", "CPU", "~category", "~category", "~category", sends=_cleared(category="NVIDIA")),
        Walk("startSsh", False, True, "~startSsh", "~startSsh", ""),
        Walk("startJupyter", False, True, "~startJupyter", "~startJupyter", ""),
        Walk(
            "allowedCudaVersions",
            ["12.8"],
            ["12.8", "13.0"],
            "+allowedCudaVersions",
            "+allowedCudaVersions[1]",
            "-allowedCudaVersions",
            sends=_cleared(allowedCudaVersions=[]),
        ),
        # A mount can be changed, but not taken away (`{}` means unchanged), so leaving it out leaves it alone.
        Walk("mounts", _MOUNT, {"persistent": {"size": 20, "path": "/b"}}, "+mounts",
             "~mounts.persistent.size ~mounts.persistent.path", "", base=_POD),
        Walk("mounts.persistent", _MOUNT, {"persistent": {"size": 20, "path": "/a"}}, "+mounts",
             "~mounts.persistent.size", "", at="mounts", unknown="~mounts", base=_POD),
        Walk("mounts.persistent.size", 10, 20, REFUSED, "~mounts.persistent.size", REFUSED,
             base=_POD | {"mounts": _MOUNT}),
        Walk("mounts.persistent.path", "/a", "/b", REFUSED, "~mounts.persistent.path", REFUSED,
             base=_POD | {"mounts": _MOUNT}),
    ],
    "Endpoint": [
        Walk("name", "one", "two", "~name", "~name", ""),
        *_container(image_required=False),
        # The scaler stays, and with it the idle timeout that only goes with a LOAD_BALANCER here.
        Walk("type", "QUEUE", "LOAD_BALANCER", REFUSED, "~type! +workers.idleTimeout", REFUSED,
             unknown="~type!"),
        # Its content, not its id, is what changes; the endpoint's own fields win.
        Walk("templateId", "$template_a", "$template_b", "~disk", "~disk", "", base={"image": "good:1"},
             unknown="~disk +entrypoint +cmd +env +ports +registry +gpu.allowedCudaVersions",
             sends=({"disk": 31}, {"disk": 32}, None)),
        Walk("gpu", {"pools": ["ADA_24"]}, {"pools": ["AMPERE_24"]}, "+gpu! -cpu!", "~gpu.pools[0]", "-gpu! +cpu!",
             unknown="+gpu! -cpu!", without=_ON_CPU, sends=(None, {"gpu": {"pools": ["AMPERE_24"]}}, None)),
        Walk("gpu.pools", ["ADA_24"], ["AMPERE_24", "ADA_24"], REFUSED, "+gpu.pools[0]", REFUSED),
        Walk("gpu.excludedTypes", ["NVIDIA L4"], ["NVIDIA L4", "NVIDIA RTX A5000"], "+gpu.excludedTypes",
             "+gpu.excludedTypes[1]", "-gpu.excludedTypes", base={"gpu": {"pools": ["AMPERE_24"]}},
             sends=({"gpu": {"pools": ["AMPERE_24"], "excludedTypes": ["NVIDIA L4"]}},
                    {"gpu": {"pools": ["AMPERE_24"], "excludedTypes": ["NVIDIA L4", "NVIDIA RTX A5000"]}},
                    {"gpu": {"pools": ["AMPERE_24"]}})),
        Walk("gpu.count", 2, 4, "~gpu.count", "~gpu.count", "~gpu.count", sends=_cleared(gpu={"count": 1})),
        Walk("gpu.allowedCudaVersions", ["12.8"], ["12.8", "13.0"], "+gpu.allowedCudaVersions",
             "+gpu.allowedCudaVersions[1]", "-gpu.allowedCudaVersions",
             sends=_cleared(gpu={"allowedCudaVersions": []})),
        Walk("gpu.minCudaVersion", "12.8", "13.0", "+gpu.minCudaVersion", "~gpu.minCudaVersion",
             "-gpu.minCudaVersion", sends=_cleared(gpu={"minCudaVersion": ""})),
        Walk("cpu", [{"id": "cpu3c", "vcpuCount": 4}], [{"id": "cpu3c", "vcpuCount": 8}], "+cpu! -gpu!",
             "~cpu[0].vcpuCount", "-cpu! +gpu!", unknown="+cpu! -gpu!", base={"gpu": None}, without=_ON_GPU),
        Walk("cpu[0].id", "cpu3c", "cpu5c", REFUSED, "~cpu[0].id", REFUSED, base={"gpu": None} | _ON_CPU),
        Walk("cpu[0].vcpuCount", 4, 8, REFUSED, "~cpu[0].vcpuCount", REFUSED, base={"gpu": None} | _ON_CPU),
        Walk("workers", {"max": 2}, {"min": 1, "max": 2}, "~workers.max", "~workers.min", "~workers.min ~workers.max",
             sends=({"workers": {"max": 2}}, {"workers": {"min": 1}}, {"workers": {"min": 0, "max": 3}})),
        Walk("workers.min", 1, 2, "~workers.min", "~workers.min", "~workers.min", sends=_cleared(workers={"min": 0})),
        Walk("workers.max", 2, 1, "~workers.max", "~workers.max", "~workers.max", sends=_cleared(workers={"max": 3})),
        Walk("workers.idleTimeout", 20, 30, "~workers.idleTimeout", "~workers.idleTimeout", "~workers.idleTimeout",
             base=_DELAYED, sends=_cleared(workers={"idleTimeout": 10})),
        Walk("scaling", {"type": "REQUEST_COUNT", "requestCount": 2}, {"type": "REQUEST_COUNT", "requestCount": 3},
             REFUSED, "~scaling.requestCount", REFUSED),
        Walk("scaling.type", {"type": "REQUEST_COUNT", "requestCount": 2}, {"type": "QUEUE_DELAY", "queueDelay": 4},
             REFUSED, "~scaling.type -scaling.requestCount +scaling.queueDelay +workers.idleTimeout", REFUSED,
             at="scaling", unknown="~scaling",
             sends=(None, {"scaling": {"type": "QUEUE_DELAY", "queueDelay": 4}, "workers": {"idleTimeout": 10}}, None)),
        Walk("scaling.queueDelay", 4, 7.5, REFUSED, "~scaling.queueDelay", REFUSED, base=_DELAYED),
        Walk("scaling.requestCount", 1, 2, REFUSED, "~scaling.requestCount", REFUSED),
        Walk("dataCenterIds", ["EU-RO-1"], ["US-KS-2", "EU-RO-1"], "+dataCenterIds", "+dataCenterIds[0]",
             "-dataCenterIds", sends=_cleared(dataCenterIds=[])),
        Walk("networkVolumes", ["$volume_a"], ["$volume_a", "$volume_b"], "+networkVolumes", "+networkVolumes[1]",
             "-networkVolumes", sends=_cleared(networkVolumes=[])),
        Walk("timeout", 60000, 0, "~timeout", "~timeout", "~timeout", sends=_cleared(timeout=300000)),
        Walk("flashboot", "FLASHBOOT", "PRIORITY_FLASHBOOT", "~flashboot", "~flashboot", "~flashboot",
             sends=_cleared(flashboot="OFF")),
        # For the provider itself: RunPod knows nothing of them, and a change of them changes nothing there.
        Walk("waitForReady", False, True, "", "", "", unknown="none"),
        Walk("readyProbe", {"a": 1}, {"a": [2]}, "", "", "", unknown="none"),
    ],
}  # fmt: skip

__all__ = ["BASES", "REFUSED", "UNKNOWN", "WALKS", "Walk"]
