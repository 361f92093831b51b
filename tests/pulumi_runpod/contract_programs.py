"""Random programs that Check accepts and the emulated cloud can carry out. Volumes and credentials are `$names`."""

from typing import Any

from hypothesis import strategies as st

from pulumi_runpod.provider.values import Secret

Json = dict[str, Any]
POOLS = {
    "ADA_24": ["NVIDIA GeForce RTX 4090"],
    "AMPERE_24": ["NVIDIA RTX A5000", "NVIDIA GeForce RTX 3090", "NVIDIA L4"],
    "AMPERE_48": ["NVIDIA A40", "NVIDIA RTX A6000"],
    "ADA_80_PRO": ["NVIDIA H100 80GB HBM3", "NVIDIA H100 PCIe", "NVIDIA H100 NVL"],
}
PLACES = {"$volume_a": "EU-RO-1", "$volume_b": "EUR-IS-1"}

names = st.text("abcdefgh XYZ-_.äß", min_size=1, max_size=12)
texts = st.one_of(
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12),
    st.sampled_from(["{{ RUNPOD_SECRET_x }}", "true", "0", "'", '"', "a b", "{", "-1e5"]),
)
env = st.dictionaries(
    st.one_of(
        st.sampled_from(["A", "HF_TOKEN", "a.b", 'q"q', "MAX_TOKENS"]), st.text("ABC_.[]\"'ä", min_size=1, max_size=5)
    ),
    st.one_of(texts, texts.map(Secret)),
    max_size=4,
)
words = st.lists(texts.filter(bool), max_size=3)
commands: st.SearchStrategy[Json] = st.one_of(
    st.just({}),
    texts.filter(lambda text: not text.lstrip().startswith("{")).map(lambda args: {"args": args}),
    st.fixed_dictionaries({}, optional={"entrypoint": words, "cmd": words}),
)
cuda = st.lists(st.sampled_from(["12.4", "12.8", "13.0"]), unique=True, max_size=2)
ports = st.lists(st.sampled_from(["80/http", "8000/http", "22/tcp", "65535/udp"]), unique=True, max_size=3)
registries = st.sampled_from(["$registry_a", "$registry_b"])
container = st.tuples(
    commands,
    st.fixed_dictionaries(
        {"image": st.sampled_from(["good:1", "ghcr.io/acme/worker@sha256:" + "0" * 64])},
        optional={"disk": st.integers(1, 500), "env": env, "ports": ports, "registry": registries},
    ),
).map(lambda parts: parts[0] | parts[1])


def _together(*parts: st.SearchStrategy[Json]) -> st.SearchStrategy[Json]:
    return st.tuples(*parts).map(lambda found: {key: value for part in found for key, value in part.items()})


@st.composite
def gpus(draw: st.DrawFn) -> Json:
    pools = draw(st.lists(st.sampled_from(sorted(POOLS)), min_size=1, max_size=3, unique=True))
    types = [kind for pool in pools for kind in POOLS[pool]]
    gpu: Json = {"pools": pools}
    if draw(st.booleans()):
        gpu["excludedTypes"] = draw(st.lists(st.sampled_from(types), unique=True, max_size=len(types) - 1))
    if draw(st.booleans()):
        gpu["count"] = draw(st.integers(1, 8))
    rule = draw(st.sampled_from(["", "allowedCudaVersions", "minCudaVersion"]))
    if rule:
        gpu[rule] = draw(cuda if rule == "allowedCudaVersions" else st.sampled_from(["12.8", "13.0"]))
    return {"gpu": gpu}


cpus = st.lists(
    st.fixed_dictionaries({"id": st.sampled_from(["cpu3c", "cpu5g"]), "vcpuCount": st.sampled_from([2, 4, 8])}),
    min_size=1,
    max_size=2,
    unique_by=lambda choice: (choice["id"], choice["vcpuCount"]),
).map(lambda choices: {"cpu": choices})


@st.composite
def scaled(draw: st.DrawFn) -> Json:
    kind = draw(st.sampled_from(["QUEUE", "QUEUE", "LOAD_BALANCER"]))
    by_delay = kind == "QUEUE" and draw(st.booleans())
    scaling: Json = {"type": "REQUEST_COUNT", "requestCount": draw(st.integers(1, 50))}
    if by_delay:
        scaling = {"type": "QUEUE_DELAY", "queueDelay": draw(st.sampled_from([0.5, 1, 4, 7.25]))}
    # No worker is always on: nothing has to start.
    workers: Json = draw(st.fixed_dictionaries({}, optional={"min": st.just(0), "max": st.integers(0, 3)}))
    if (by_delay or kind == "LOAD_BALANCER") and draw(st.booleans()):
        workers["idleTimeout"] = draw(st.integers(1, 3600))
    return {"type": kind, "scaling": scaling} | ({"workers": workers} if draw(st.booleans()) else {})


@st.composite
def placed(draw: st.DrawFn) -> Json:
    volumes = draw(st.lists(st.sampled_from(sorted(PLACES)), unique=True))
    centers = [PLACES[volume] for volume in volumes] + ["US-KS-2"]
    said: Json = {}
    if draw(st.booleans()):
        said["networkVolumes"] = volumes
    if draw(st.booleans()):
        said["dataCenterIds"] = draw(st.permutations(centers))
    return said


endpoints = _together(
    st.just({"waitForReady": False}),
    container,
    scaled(),
    st.one_of(gpus(), gpus(), cpus),
    placed(),
    st.fixed_dictionaries(
        {},
        optional={
            "name": names,
            "timeout": st.integers(0, 10**9),
            "flashboot": st.sampled_from(["OFF", "FLASHBOOT", "PRIORITY_FLASHBOOT"]),
            "readyProbe": st.just({"path": "/ready"}),
        },
    ),
)
_MOUNT = st.fixed_dictionaries({"size": st.integers(10, 99), "path": st.sampled_from(["/a", "/b c"])})
templates = _together(
    container,
    st.fixed_dictionaries(
        {},
        optional={
            "name": names,
            "public": st.booleans(),
            "category": st.sampled_from(["CPU", "NVIDIA", "AMD"]),
            "startSsh": st.booleans(),
            "startJupyter": st.booleans(),
            "allowedCudaVersions": cuda,
        },
    ),
    st.one_of(
        st.just({}),
        st.just({"serverless": True}),
        st.fixed_dictionaries(
            {"serverless": st.just(False)}, optional={"mounts": _MOUNT.map(lambda m: {"persistent": m})}
        ),
    ),
)
volumes = st.fixed_dictionaries(
    {"size": st.integers(10, 4096), "dataCenter": st.sampled_from(["EU-RO-1", "US-KS-2"])},
    optional={"name": names, "type": st.sampled_from(["STANDARD", "HIGH_PERFORMANCE"])},
)
credentials = st.fixed_dictionaries(
    {"username": texts.filter(bool), "password": texts.filter(bool).map(Secret)}, optional={"name": names}
)
PROGRAMS: dict[str, st.SearchStrategy[Json]] = {
    "NetworkVolume": volumes,
    "Template": templates,
    "RegistryCredential": credentials,
    "Endpoint": endpoints,
}
