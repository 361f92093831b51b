"""A program of somebody who uses the wheel: every resource and component, with what each can be told."""

import pulumi
from vllm_runpod_components import ModelVolume, ModelVolumeArgs, Scaling, VllmEndpoint, VllmEndpointArgs

import pulumi_runpod as runpod

password = pulumi.Config().require_secret("password")
credential = runpod.RegistryCredential("ghcr", username="octocat", password=password)
volume = runpod.NetworkVolume("data", size=50, data_center="EU-RO-1", type="STANDARD")
template = runpod.Template(
    "worker",
    image="registry.example/worker:v1",
    args="serve --port 8000",
    env={"A": "1", "API_TOKEN": "made-up-token-of-the-records", "PLAIN": pulumi.Output.secret("made-up-secret")},
    disk=30,
    ports=["8000/http"],
    registry=credential.id,
    allowed_cuda_versions=["13.0", "12.8"],
    category="NVIDIA",
)
queue = runpod.Endpoint(
    "queue",
    type="QUEUE",
    template=template,
    env={"B": "2"},
    gpu={"pools": ["ADA_24", "AMPERE_24"], "excluded_types": ["NVIDIA L4"], "count": 2},
    workers={"min": 0, "max": 2},
    scaling={"type": "REQUEST_COUNT", "request_count": 4},
    data_center_ids=["EU-RO-1"],
    network_volumes=[volume.id],
    timeout=60000,
    flashboot="OFF",
)
on_cpu = runpod.Endpoint(
    "on-cpu",
    type="QUEUE",
    image="registry.example/small:v1",
    entrypoint=["python"],
    cmd=["-m", "worker"],
    cpu=[{"id": "cpu3c", "vcpu_count": 4}],
    workers=runpod.WorkersArgs(max=1, idle_timeout=5),
    scaling=runpod.ScalingArgs(type="QUEUE_DELAY", queue_delay=0.5),
    opts=pulumi.ResourceOptions(depends_on=[queue]),
)
models = ModelVolume("models", ModelVolumeArgs(data_center="EU-RO-1", size_gb=20))
chat = VllmEndpoint(
    "chat",
    VllmEndpointArgs(
        model="example/chat",
        served_model_name="chat",
        hf_token=pulumi.Output.secret("made-up-hub-token"),
        max_model_len=4096,
        env={"LOG_LEVEL": "debug"},
        data_centers=["EU-RO-1"],
        network_volumes=[models.volume_id],
        scaling=Scaling("QUEUE_DELAY", 2),
        idle_timeout_s=30,
    ),
)
pulumi.export("queue", queue.id)
pulumi.export("url", chat.openai_base_url)
pulumi.export("idle", on_cpu.workers.idle_timeout)
pulumi.export("password", password)
