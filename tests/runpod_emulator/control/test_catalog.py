"""The catalogue: include rules, filters, the sentinel row."""

from urllib.parse import quote

import pytest

from tests.runpod_emulator.control.support import Cloud

WITH_STOCK = "include=AVAILABILITY&product=SERVERLESS"


async def test_every_pool_has_types_and_a_price_per_hour(cloud: Cloud) -> None:
    """What plans and policies read: pool, memory, serverless price per GPU and hour."""
    gpus = (await cloud.get("/v2/catalog/gpus")).json["gpus"]
    pools = {gpu["pool"] for gpu in gpus if gpu["pool"]}
    assert {"AMPERE_16", "AMPERE_24", "ADA_24", "AMPERE_48", "ADA_48_PRO", "AMPERE_80", "ADA_80_PRO"} <= pools
    rtx = next(gpu for gpu in gpus if gpu["id"] == "NVIDIA GeForce RTX 4090")
    assert rtx["price"] == {"secure": 0.44, "community": 0.31, "serverless": 1.1}
    assert not any("availability" in gpu for gpu in gpus)


async def test_the_sentinel_row_is_there(cloud: Cloud) -> None:
    """The real catalogue carries a row `unknown` with nothing to sell: clients must skip it."""
    unknown = (await cloud.get("/v2/catalog/gpus/unknown")).json
    assert (unknown["memory"], unknown["secure"], unknown["community"], unknown["pool"]) == (0, False, False, None)
    assert unknown["price"] == {"secure": 0, "community": 0}


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("include=AVAILABILITY", 400),
        ("product=SERVERLESS", 400),
        ("count=2", 400),
        ("countryCodes=US", 400),
        (f"{WITH_STOCK}&cudaVersions=12.8&minCudaVersion=12", 400),
        (f"{WITH_STOCK}&cudaVersions=12", 422),
        (f"{WITH_STOCK}&countryCodes=usa", 422),
        (f"{WITH_STOCK}&count=0", 422),
        (f"{WITH_STOCK}&count=two", 422),
        ("include=STOCK&product=POD", 422),
        ("include=AVAILABILITY&product=SHOP", 422),
        (f"{WITH_STOCK}&product=POD", 422),
        ("include=AVAILABILITY&product=POD,SERVERLESS", 200),
        (f"{WITH_STOCK}&minCudaVersion=12&cloud=SECURE&count=8", 200),
    ],
)
async def test_the_rules_of_availability(cloud: Cloud, query: str, status: int) -> None:
    """Stock is told only for a stated product; its filters are valid only with it."""
    assert (await cloud.get(f"/v2/catalog/gpus?{query}")).status == status


async def test_stock_comes_with_data_centers_and_cuda_versions(cloud: Cloud) -> None:
    """Every level occurs; what is out of stock lists no data centre."""
    gpus = (await cloud.get(f"/v2/catalog/gpus?{WITH_STOCK}")).json["gpus"]
    assert {gpu["availability"] for gpu in gpus} == {"NONE", "LOW", "MEDIUM", "HIGH"}
    for gpu in gpus:
        assert ("dataCenters" in gpu) == (gpu["availability"] != "NONE")
    only_13 = await cloud.get(f"/v2/catalog/gpus/{quote('NVIDIA L4')}?{WITH_STOCK}&minCudaVersion=13")
    assert only_13.json["cudaVersions"] == [{"version": "13.0", "available": True}]


async def test_a_country_narrows_the_list_but_not_the_single_read(cloud: Cloud) -> None:
    """In the list a type without a place there drops out; read alone it is NONE, never 404."""
    gpus = (await cloud.get(f"/v2/catalog/gpus?{WITH_STOCK}&countryCodes=JP")).json["gpus"]
    assert {gpu["pool"] for gpu in gpus} == {"ADA_80_PRO", "HOPPER_141"}
    assert {center["id"] for gpu in gpus for center in gpu["dataCenters"]} == {"AP-JP-1"}
    alone = (await cloud.get(f"/v2/catalog/gpus/{quote('NVIDIA L4')}?{WITH_STOCK}&countryCodes=JP")).json
    assert alone["availability"] == "NONE"
    assert "dataCenters" not in alone
    assert (await cloud.get("/v2/catalog/gpus/nosuch")).status == 404


async def test_cpus_and_their_power_of_two(cloud: Cloud) -> None:
    """Flavours with memory per vCPU; the same include rules."""
    cpus = (await cloud.get("/v2/catalog/cpus")).json["cpus"]
    assert [cpu["id"] for cpu in cpus] == ["cpu3c", "cpu3g", "cpu5c", "cpu5g"]
    stock = (await cloud.get(f"/v2/catalog/cpus/cpu5c?{WITH_STOCK}&vcpuCount=4")).json
    assert [center["id"] for center in stock["dataCenters"]] == ["EU-RO-1"]
    assert (await cloud.get(f"/v2/catalog/cpus?{WITH_STOCK}&vcpuCount=6")).status == 400
    assert (await cloud.get("/v2/catalog/cpus?include=AVAILABILITY&product=CLUSTER")).status == 422
    assert (await cloud.get("/v2/catalog/cpus/abacus")).status == 404


async def test_data_center_filters_combine(cloud: Cloud) -> None:
    """Regions are OR, volume types and compliance are AND, families are AND."""

    async def ids(query: str) -> set[str]:
        answer = await cloud.get(f"/v2/catalog/datacenters?{query}")
        assert answer.status == 200, answer.text
        return {center["id"] for center in answer.json["dataCenters"]}

    everywhere = await ids("")
    assert await ids("regions=ASIA,OCEANIA") == {"AP-JP-1", "OC-AU-1"}
    assert await ids("networkVolumeTypes=STANDARD,HIGH_PERFORMANCE") == {"EU-RO-1", "US-CA-2", "US-KS-2"}
    assert await ids("networkVolumeTypes=HIGH_PERFORMANCE&regions=EUROPE") == {"EU-RO-1"}
    assert await ids("compliance=GDPR,RENEWABLE&globalNetwork=true") == {"EUR-IS-1", "EUR-NO-1"}
    assert await ids("globalNetwork=true") | await ids("globalNetwork=false") == everywhere
    assert (await cloud.get("/v2/catalog/datacenters?regions=MOON")).status == 422
    assert (await cloud.get("/v2/catalog/datacenters?globalNetwork=yes")).status == 422
    center = (await cloud.get("/v2/catalog/datacenters/EU-RO-1?include=GPU_AVAILABILITY,CPU_AVAILABILITY")).json
    assert center["gpuAvailability"]
    assert len(center["cpuAvailability"]) == 4
    assert (await cloud.get("/v2/catalog/datacenters/MOON-1")).status == 404
