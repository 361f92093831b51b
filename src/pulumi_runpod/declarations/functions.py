"""What can be asked of the catalogue without making anything."""

from pulumi_runpod.declarations._model import Field, Flag, Function, Integer, ListOf, Number, Object, Text

GPU_PRICE = Object(
    "GpuPrice",
    "US dollars per GPU and hour.",
    (
        Field("secure", Number(), "For a pod in the secure cloud."),
        Field("community", Number(), "For a pod in the community cloud."),
        Field("serverless", Number(), "For a serverless worker; missing where the type is in no pool you can see."),
    ),
)
GPU_TYPE = Object(
    "GpuType",
    "A GPU type of the catalogue.",
    (
        Field("id", Text(), "RunPod's id, such as `NVIDIA L4`.", required=True),
        Field("name", Text(), "Short name.", required=True),
        Field("pool", Text(), "Serverless pool; missing where the type is in none."),
        Field("manufacturer", Text(), "NVIDIA, AMD or UNKNOWN."),
        Field("memory", Number(), "Memory.", unit="GB"),
        Field("secure", Flag(), "Whether the secure cloud sells it."),
        Field("community", Flag(), "Whether the community cloud sells it."),
        Field("price", GPU_PRICE, "List prices."),
        Field("availability", Text(), "NONE, LOW, MEDIUM or HIGH."),
    ),
)
DATA_CENTER = Object(
    "DataCenter",
    "A data center of the catalogue.",
    (
        Field("id", Text(), "RunPod's id, such as `EU-RO-1`.", required=True),
        Field("name", Text(), "Name."),
        Field("region", Text(), "Region."),
        Field("network_volume_types", ListOf(Text()), "Storage tiers; empty means no network volumes there."),
        Field("compliance", ListOf(Text()), "Certificates."),
        Field("global_network", Flag(), "Whether it is part of the global network."),
    ),
)

GET_GPUS = Function(
    "get_gpus",
    "The GPU types RunPod has, with pool, memory, price and serverless stock.",
    (Field("count", Integer(minimum=1), "Ask for stock of this many GPUs in one worker."),),
    Object("GetGpusResult", "GPU types.", (Field("gpus", ListOf(GPU_TYPE), "The types.", required=True),)),
)
GET_DATA_CENTERS = Function(
    "get_data_centers",
    "The data centers RunPod has, and which storage they offer.",
    (),
    Object(
        "GetDataCentersResult",
        "Data centers.",
        (Field("data_centers", ListOf(DATA_CENTER), "The data centers.", required=True),),
    ),
)
