"""Endpoint: serverless workers behind a queue or a load balancer."""

from pulumi_runpod.declarations._container import CUDA, container
from pulumi_runpod.declarations._model import (
    Field,
    Flag,
    Integer,
    Json,
    ListOf,
    MapOf,
    Number,
    Object,
    Replace,
    Resource,
    Text,
)

GPU = Object(
    "Gpu",
    "Which GPUs workers run on.",
    (
        Field(
            "pools",
            ListOf(Text(min_length=1), min_items=1, unique=True, ordered=False),
            "GPU pools, such as `ADA_24`; a worker is placed in whichever has room. `get_gpus` maps types to pools.",
            required=True,
            ours="range",
        ),
        Field(
            "excluded_types",
            ListOf(
                Text(pattern=r"\s*[^-\s].*", hint="a GPU type id, without a leading dash"), unique=True, ordered=False
            ),
            "GPU type ids taken out of the pools.",
            clear=[],
        ),
        Field("count", Integer(minimum=1), "GPUs per worker.", default=1, unit="GPUs"),
        Field(
            "allowed_cuda_versions",
            ListOf(CUDA, unique=True, ordered=False),
            "CUDA versions a host may have, matched exactly. Excludes `min_cuda_version`.",
            clear=[],
            ours="range",
        ),
        Field("min_cuda_version", CUDA, "The lowest CUDA version a host may have.", clear=""),
    ),
)
CPU = Object(
    "Cpu",
    "One eligible CPU configuration.",
    (
        Field("id", Text(min_length=1), "CPU flavor, such as `cpu3c`.", required=True),
        Field("vcpu_count", Integer(minimum=2), "vCPUs per worker, a power of two.", required=True, unit="vCPUs"),
        Field("memory", Number(), "Memory that comes with it.", computed=True, unit="GB"),
    ),
)
WORKERS = Object(
    "Workers",
    "How many workers there may be, and how long an idle one stays.",
    (
        Field(
            "min", Integer(minimum=0), "Workers that are always on, and billed while idle.", default=0, unit="workers"
        ),
        Field(
            "max",
            Integer(minimum=0),
            "The most workers there may be; 0 turns the endpoint off.",
            default=3,
            unit="workers",
        ),
        Field(
            "idle_timeout",
            Integer(minimum=1, maximum=3600),
            "How long an idle worker stays. Not for a QUEUE that scales by REQUEST_COUNT.",
            unit="s",
            conditional_default="10, but none for a QUEUE that scales by REQUEST_COUNT",
        ),
    ),
)
SCALING = Object(
    "Scaling",
    "What makes RunPod add workers.",
    (
        Field(
            "type",
            Text(enum=("QUEUE_DELAY", "REQUEST_COUNT"), enum_name="ScalingType"),
            "By how long requests wait, or by how many there are. A LOAD_BALANCER takes only REQUEST_COUNT.",
            required=True,
        ),
        Field(
            "queue_delay",
            Number(minimum=0.5),
            "How long a request may wait. Belongs to QUEUE_DELAY and to nothing else.",
            clear=None,
            unit="s",
            left_out="refused with QUEUE_DELAY",
        ),
        Field(
            "request_count",
            Integer(minimum=1),
            "Requests per worker. Belongs to REQUEST_COUNT and to nothing else.",
            clear=None,
            unit="requests",
            left_out="refused with REQUEST_COUNT",
        ),
    ),
)

TEMPLATE_CONTENT = Object(
    "TemplateContent",
    "A template's id and content, as the outputs of a `Template` give them.",
    (
        Field("id", Text(), "The template's id.", required=True),
        *container(image_required=False),
        Field("allowed_cuda_versions", ListOf(Text()), "CUDA versions, for a GPU endpoint that names none."),
        Field("serverless", Flag(), "Must be true."),
        Field("secret_env_keys", ListOf(Text()), "Names in `env` whose values are secret."),
    ),
)

ENDPOINT = Resource(
    name="Endpoint",
    doc="A serverless endpoint: workers that RunPod starts on demand, behind a job queue or a load balancer.",
    fields=(
        Field("name", Text(min_length=1), "Display name.", autoname=True, ours="default"),
        Field(
            "type",
            Text(enum=("QUEUE", "LOAD_BALANCER"), enum_name="EndpointType"),
            "Whether requests go through a job queue or straight to the workers.",
            required=True,
            replace=Replace.ALWAYS,
        ),
        Field(
            "template",
            TEMPLATE_CONTENT,
            "A `Template` whose content the endpoint takes. The endpoint's own fields win, `env` key by key.",
            provider_only=True,
            sdk_hidden=True,
        ),
        Field(
            "template_id",
            Text(min_length=1),
            "Id of a template that this program does not manage; its content is read whenever the program runs. "
            "Excludes `template`.",
            provider_only=True,
        ),
        *container(image_required=False),
        Field(
            "gpu", GPU, "GPUs of the workers. Exactly one of `gpu` and `cpu`.", replace=Replace.WHEN_IT_COMES_OR_GOES
        ),
        Field(
            "cpu",
            ListOf(CPU, min_items=1, unique=True),
            "Eligible CPU configurations. Exactly one of `gpu` and `cpu`.",
            replace=Replace.WHEN_IT_COMES_OR_GOES,
        ),
        Field("workers", WORKERS, "Limits of the worker count.", default={}),
        Field("scaling", SCALING, "The scaler.", required=True),
        Field(
            "data_center_ids",
            ListOf(Text(min_length=1), unique=True, ordered=False),
            "Data centers in which workers may run; left out, any.",
            clear=[],
            ours="range",
        ),
        Field(
            "network_volumes",
            ListOf(Text(min_length=1), unique=True, ordered=False),
            "Ids of network volumes, at most one per data center; each worker sees the local one at /runpod-volume.",
            clear=[],
            ours="range",
        ),
        Field(
            "timeout",
            Integer(minimum=0),
            "Longest run of one job; 0 means no limit. Always sent: RunPod takes a missing one as 0.",
            default=300000,
            unit="ms",
            ours="range",
        ),
        Field(
            "flashboot",
            Text(enum=("OFF", "FLASHBOOT", "PRIORITY_FLASHBOOT"), enum_name="FlashbootMode"),
            "Whether RunPod keeps a snapshot of a stopped worker for a faster start.",
            default="OFF",
        ),
        Field(
            "wait_for_ready",
            Flag(),
            "Whether `up` waits until a created or changed endpoint answers a request.",
            default=True,
            provider_only=True,
        ),
        Field(
            "ready_probe",
            Json(),
            'The request that proves it. QUEUE: a job input, by default `{"openai_route": "/v1/models"}`. '
            'LOAD_BALANCER: `{"path": "/..."}`, by default `/ping`.',
            provider_only=True,
        ),
        Field("request_urls", MapOf(Text()), "URLs of the endpoint's operations, by name.", computed=True),
        Field("openai_base_url", Text(), "Base URL for OpenAI clients; only a QUEUE has one.", computed=True),
        Field("created_at", Text(), "When it was made (RFC 3339).", computed=True),
    ),
    path="/v2/serverless",
    typescript="""\
const endpoint = new runpod.Endpoint("llm", {
    type: "QUEUE",
    image: "ghcr.io/acme/worker@sha256:...",
    gpu: { pools: ["ADA_24"], count: 1 },
    workers: { min: 0, max: 3 },
    scaling: { type: "REQUEST_COUNT", requestCount: 4 },
}, { customTimeouts: { create: "30m" } });
export const openaiBaseUrl = endpoint.openaiBaseUrl;
""",
    example="""\
endpoint = runpod.Endpoint(
    "llm",
    type="QUEUE",
    image="ghcr.io/acme/worker@sha256:...",
    gpu={"pools": ["ADA_24"], "count": 1},
    workers={"min": 0, "max": 3},
    scaling={"type": "REQUEST_COUNT", "request_count": 4},
    opts=pulumi.ResourceOptions(custom_timeouts=pulumi.CustomTimeouts(create="30m")),
)
pulumi.export("openaiBaseUrl", endpoint.openai_base_url)
""",
    notes=(
        "`up` sends the ready probe through the job API and waits for the answer (20 minutes unless `custom_timeouts` "
        "says otherwise). After a change that makes a new release, a worker of that release has to answer. An endpoint "
        "that never gets there stays in the state with the reasons, and the next `up` tries again.",
        "RunPod lowers `workers.max` by itself after days without requests; `refresh` shows it and `up` restores it.",
        "A template's id is never sent to RunPod: the provider merges the content itself.",
    ),
)
