"""NetworkVolume: a disk that outlives workers and lives in one data center."""

from pulumi_runpod.declarations._model import Field, Integer, Replace, Resource, Text

NETWORK_VOLUME = Resource(
    name="NetworkVolume",
    doc="A network volume: storage in one data center that endpoints mount at `/runpod-volume`.",
    fields=(
        Field("name", Text(min_length=1), "Display name; need not be unique.", autoname=True, ours="default"),
        Field(
            "size",
            Integer(minimum=10, maximum=4096),
            "Size. Growing happens in place; a volume cannot shrink, so a smaller size replaces it.",
            required=True,
            replace=Replace.WHEN_LOWERED,
            unit="GB",
        ),
        Field(
            "data_center",
            Text(min_length=1),
            "Where the volume lives, for example `EU-RO-1`. `get_data_centers` lists those that have volumes.",
            required=True,
            replace=Replace.ALWAYS,
        ),
        Field(
            "type",
            Text(enum=("STANDARD", "HIGH_PERFORMANCE"), enum_name="NetworkVolumeType"),
            "The storage tier; left out, the data center's primary one.",
            replace=Replace.ALWAYS,
            server_chosen=True,
        ),
    ),
    path="/v2/network-volumes",
    typescript="""\
const volume = new runpod.NetworkVolume("models", { size: 50, dataCenter: "EU-RO-1" }, { protect: true });
export const volumeId = volume.id;
""",
    example="""\
volume = runpod.NetworkVolume("models", size=50, data_center="EU-RO-1", opts=pulumi.ResourceOptions(protect=True))
""",
    notes=(
        "A replacement destroys what is on the volume: set `protect` on every volume that holds anything of value.",
        "It is billed until it is deleted, also while nothing mounts it.",
    ),
)
