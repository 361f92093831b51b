"""Template: container settings under a name, to start endpoints or pods from."""

from pulumi_runpod.declarations._container import CUDA, container
from pulumi_runpod.declarations._model import Field, Flag, Integer, ListOf, Object, Resource, Text

PERSISTENT_MOUNT = Object(
    "PersistentMount",
    "A disk of its own for each pod.",
    (
        Field("size", Integer(minimum=10), "Size.", required=True, unit="GB"),
        Field("path", Text(min_length=1), "Where the container sees it.", required=True, ours="range"),
    ),
)
MOUNTS = Object(
    "Mounts",
    "Disks of pods started from the template; serverless workers have none.",
    (Field("persistent", PERSISTENT_MOUNT, "The pod's volume disk."),),
)

TEMPLATE = Resource(
    name="Template",
    doc="Container settings under a name: image, command, disk, environment, ports, registry credential.",
    fields=(
        Field("name", Text(min_length=1), "Display name.", autoname=True, ours="default"),
        *container(image_required=True),
        Field(
            "serverless",
            Flag(),
            "Whether it is for endpoints (true) or for pods. RunPod's own default is false.",
            default=True,
            ours="default",
        ),
        Field("public", Flag(), "Whether everybody may use it.", default=False),
        Field(
            "category",
            Text(enum=("CPU", "NVIDIA", "AMD"), enum_name="TemplateCategory"),
            "How the console groups it; decides nothing else.",
            default="NVIDIA",
        ),
        Field("start_ssh", Flag(), "Pods only: start an SSH server.", default=True),
        Field("start_jupyter", Flag(), "Pods only: start Jupyter.", default=True),
        Field(
            "allowed_cuda_versions",
            ListOf(CUDA, ordered=False, unique=True),
            "CUDA versions a host may have; empty means any.",
            clear=[],
            ours="range",
        ),
        Field("mounts", MOUNTS, "Pods only: the volume disk."),
        Field(
            "secret_env_keys",
            ListOf(Text(), ordered=False),
            "Which names in `env` hold secret values. An endpoint that is made from the template keeps the others "
            "readable in previews.",
            computed=True,
        ),
    ),
    path="/v2/templates",
    typescript="""\
const template = new runpod.Template("worker", {
    image: "ghcr.io/acme/worker@sha256:...",
    env: { MAX_MODEL_LEN: "8192" },
});
// As in Python it is the content that travels, so that a change of the template shows as one of the endpoint.
const { id, image, env, secretEnvKeys } = template;
const endpoint = new runpod.Endpoint("chat", {
    type: "QUEUE",
    template: { id, image, env, secretEnvKeys },
    gpu: { pools: ["ADA_24"] },
    scaling: { type: "REQUEST_COUNT", requestCount: 4 },
});
export const endpointId = endpoint.id;
""",
    example="""\
template = runpod.Template("worker", image="ghcr.io/acme/worker@sha256:...", env={"MAX_MODEL_LEN": "8192"})
endpoint = runpod.Endpoint(
    "chat",
    type="QUEUE",
    template=template,
    gpu={"pools": ["ADA_24"]},
    scaling={"type": "REQUEST_COUNT", "request_count": 4},
)
""",
    notes=(
        "RunPod copies a template into an endpoint once and keeps no link. Pass the resource itself as "
        "`Endpoint(template=...)`: a change of the template then shows in the same preview as an update of the "
        "endpoint, and `up` makes both.",
        "RunPod refuses to delete a template for about two minutes after its last use; the provider goes on trying.",
    ),
)
