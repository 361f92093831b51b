"""`/v2/catalog`: GPUs, CPUs, data centres, public templates (runpod-api.md §1.7).

Availability is told only on request: `include=AVAILABILITY` needs `product`, and the filters that scope it are valid
only with it (400 either way).
"""

from collections.abc import Sequence
from typing import Any

from aiohttp import web

from runpod_emulator.control import catalog_data as data
from runpod_emulator.control.containers import Container
from runpod_emulator.control.http import answer, choice, whole_number, words
from runpod_emulator.control.paging import LAST_PAGE
from runpod_emulator.control.problem import bad_request, invalid, not_found
from runpod_emulator.control.records import Template
from runpod_emulator.control.views import template_json
from runpod_emulator.model import Json

_REGIONS = (
    "NORTH_AMERICA",
    "SOUTH_AMERICA",
    "EUROPE",
    "ASIA",
    "MIDDLE_EAST",
    "AFRICA",
    "OCEANIA",
    "ANTARCTICA",
    "UNKNOWN",
)
_COMPLIANCE = (
    "GDPR",
    "ISO_IEC_27001",
    "ISO_14001",
    "PCI_DSS",
    "HITRUST",
    "SOC_1_TYPE_2",
    "SOC_2_TYPE_2",
    "SOC_3_TYPE_2",
    "ITAR",
    "FISMA_HIGH",
    "HIPAA",
    "RENEWABLE",
)
_VOLUME_TYPES = ("STANDARD", "HIGH_PERFORMANCE")
_SOURCES = ("official", "verified", "community")
_MAX_POD_GPUS = 8


def add_routes(app: web.Application) -> None:
    get = app.router.add_get
    get("/v2/catalog/gpus", _list_gpus, allow_head=False)
    get("/v2/catalog/gpus/{id}", _get_gpu, allow_head=False)
    get("/v2/catalog/cpus", _list_cpus, allow_head=False)
    get("/v2/catalog/cpus/{id}", _get_cpu, allow_head=False)
    get("/v2/catalog/datacenters", _list_data_centers, allow_head=False)
    get("/v2/catalog/datacenters/{id}", _get_data_center, allow_head=False)
    get("/v2/catalog/templates", _list_templates, allow_head=False)


def _wants_availability(request: web.Request, products: Sequence[str], scopes: Sequence[str]) -> bool:
    include = words(request, "include", choices=("AVAILABILITY",))
    product = words(request, "product", choices=products)
    if include is not None and len(include) > 1:
        raise invalid([f"parameter 'include': maxItems: got {len(include)}, want 1"])
    if include and not product:
        raise bad_request("include=AVAILABILITY requires product")
    if product and not include:
        raise bad_request("product is valid only with include=AVAILABILITY")
    if not include:
        for scope in scopes:
            if scope in request.query:
                raise bad_request(f"{scope} is valid only with include=AVAILABILITY")
    return bool(include)


# GPUs

_GPU_SCOPES = ("count", "cloud", "countryCodes", "cudaVersions", "minCudaVersion")


class _GpuScope:
    """The filters of one request; checked even where availability is not asked for."""

    def __init__(self, request: web.Request) -> None:
        self.count = whole_number(request, "count", minimum=1) or 1
        self.community = choice(request, "cloud", ("SECURE", "COMMUNITY")) == "COMMUNITY"
        self.countries = words(request, "countryCodes", pattern=r"[A-Z]{2}")
        self.cuda = words(request, "cudaVersions", pattern=r"\d+\.\d+")
        floor = words(request, "minCudaVersion", pattern=r"\d+(\.\d+)?")
        self.floor = floor[0] if floor else None
        self.wanted = _wants_availability(request, ("POD", "CLUSTER", "SERVERLESS"), _GPU_SCOPES)
        if self.cuda and self.floor:
            raise bad_request("cudaVersions and minCudaVersion are mutually exclusive")

    def centers(self, gpu: data.Gpu) -> list[data.DataCenter]:
        return [
            center
            for center in data.DATA_CENTERS
            if gpu.pool in center.gpu_pools and (self.countries is None or center.country in self.countries)
        ]

    def cuda_versions(self, gpu: data.Gpu) -> list[str]:
        versions = [version for version in gpu.cuda_versions if self.cuda is None or version in self.cuda]
        if self.floor is not None:
            versions = [version for version in versions if _numbers(version) >= _numbers(self.floor)]
        return versions

    def level(self, gpu: data.Gpu) -> str:
        offered = (
            bool(self.centers(gpu))
            and self.count <= _MAX_POD_GPUS
            and (bool(self.cuda_versions(gpu)) or not (self.cuda or self.floor))
        )
        return gpu.stock if offered else "NONE"


def _numbers(version: str) -> tuple[int, ...]:
    """Compared numerically: 12.11 is above 12.2, and a bare 12 is below 12.0."""
    return tuple(int(part) for part in version.split("."))


def _gpu_json(gpu: data.Gpu, scope: _GpuScope) -> Json:
    rate = gpu.per_hour or 0.0
    price: dict[str, float] = {
        "secure": round(rate * data.SECURE_TO_SERVERLESS, 2),
        "community": round(rate * data.COMMUNITY_TO_SERVERLESS, 2),
    }
    if gpu.per_hour is not None:
        price["serverless"] = gpu.per_hour
    shown: dict[str, Any] = {
        "id": gpu.id,
        "name": gpu.name,
        "pool": gpu.pool,
        "manufacturer": gpu.manufacturer,
        "memory": gpu.memory,
        "secure": gpu.sold,
        "community": gpu.sold,
        "price": price,
        "maxCount": {"secure": _MAX_POD_GPUS if gpu.sold else 0, "community": 4 if gpu.sold else 0},
    }
    if scope.wanted:
        level = scope.level(gpu)
        shown["availability"] = level
        if level != "NONE":
            shown["dataCenters"] = [
                {"id": center.id, "name": center.name, "availability": level} for center in scope.centers(gpu)
            ]
        versions = scope.cuda_versions(gpu)
        if versions:
            shown["cudaVersions"] = [{"version": version, "available": level != "NONE"} for version in versions]
    return shown


async def _list_gpus(request: web.Request) -> web.Response:
    scope = _GpuScope(request)
    # With countryCodes, a type with no data centre in those countries drops out of the list (contract, countryCodes).
    shown = [gpu for gpu in data.GPUS if scope.countries is None or scope.centers(gpu)]
    return answer({"gpus": [_gpu_json(gpu, scope) for gpu in shown]})


async def _get_gpu(request: web.Request) -> web.Response:
    scope = _GpuScope(request)
    gpu = data.GPU_BY_ID.get(request.match_info["id"])
    if gpu is None:
        raise not_found("gpu type")
    return answer(_gpu_json(gpu, scope))


# CPUs


def _cpu_json(cpu: data.Cpu, *, availability: bool) -> Json:
    shown: dict[str, Any] = {
        "id": cpu.id,
        "name": cpu.name,
        "group": cpu.group,
        "vcpu": {"min": cpu.vcpu_min, "max": cpu.vcpu_max},
        "ramGbPerVcpu": cpu.ram_gb_per_vcpu,
        "price": {"securePerVcpu": cpu.secure_per_vcpu, "serverlessPerVcpu": cpu.serverless_per_vcpu},
    }
    if availability:
        center = data.DATA_CENTER_BY_ID[data.CPU_DATA_CENTER]
        shown["availability"] = "MEDIUM"
        shown["dataCenters"] = [{"id": center.id, "name": center.name, "availability": "MEDIUM"}]
    return shown


def _cpu_scope(request: web.Request) -> bool:
    count = whole_number(request, "vcpuCount", minimum=2)
    if count is not None and count & (count - 1):
        raise bad_request("vcpuCount must be a power of two")
    return _wants_availability(request, ("POD", "SERVERLESS"), ("vcpuCount",))


async def _list_cpus(request: web.Request) -> web.Response:
    availability = _cpu_scope(request)
    return answer({"cpus": [_cpu_json(cpu, availability=availability) for cpu in data.CPUS]})


async def _get_cpu(request: web.Request) -> web.Response:
    availability = _cpu_scope(request)
    cpu = data.CPU_BY_ID.get(request.match_info["id"])
    if cpu is None:
        raise not_found("cpu type")
    return answer(_cpu_json(cpu, availability=availability))


# Data centres

_INCLUDES = ("GPU_AVAILABILITY", "CPU_AVAILABILITY")


def _data_center_json(center: data.DataCenter, include: Sequence[str]) -> Json:
    shown: dict[str, Any] = {
        "id": center.id,
        "name": center.name,
        "region": center.region,
        "globalNetwork": center.global_network,
        "networkVolumeTypes": list(center.volume_types),
        "compliance": list(center.compliance),
    }
    gpus = [gpu for gpu in data.GPUS if gpu.pool in center.gpu_pools]
    if "GPU_AVAILABILITY" in include and gpus:
        shown["gpuAvailability"] = [{"id": gpu.id, "name": gpu.name, "availability": gpu.stock} for gpu in gpus]
    if "CPU_AVAILABILITY" in include and center.id == data.CPU_DATA_CENTER:
        shown["cpuAvailability"] = [{"id": cpu.id, "name": cpu.name, "availability": "MEDIUM"} for cpu in data.CPUS]
    return shown


async def _list_data_centers(request: web.Request) -> web.Response:
    include = words(request, "include", choices=_INCLUDES) or []
    regions = words(request, "regions", choices=_REGIONS)
    volumes = words(request, "networkVolumeTypes", choices=_VOLUME_TYPES) or []
    compliance = words(request, "compliance", choices=_COMPLIANCE) or []
    network = choice(request, "globalNetwork", ("true", "false"))
    shown = [
        center
        for center in data.DATA_CENTERS
        if (regions is None or center.region in regions)
        and set(volumes) <= set(center.volume_types)
        and set(compliance) <= set(center.compliance)
        and (network is None or center.global_network == (network == "true"))
    ]
    return answer({"dataCenters": [_data_center_json(center, include) for center in shown]})


async def _get_data_center(request: web.Request) -> web.Response:
    include = words(request, "include", choices=_INCLUDES) or []
    center = data.DATA_CENTER_BY_ID.get(request.match_info["id"])
    if center is None:
        raise not_found("data center")
    return answer(_data_center_json(center, include))


# Public templates


def public_template(template_id: str) -> Template | None:
    """A catalogue template in the same form as one's own; `registry` is always null."""
    known = data.PUBLIC_TEMPLATE_BY_ID.get(template_id)
    if known is None:
        return None
    container = Container(image=known.image, disk=known.disk, ports=known.ports, env=known.env)
    return Template(known.id, known.name, container, serverless=known.serverless, public=True)


async def _list_templates(request: web.Request) -> web.Response:
    source = choice(request, "source", _SOURCES) or "official"
    found = [public_template(known.id) for known in data.PUBLIC_TEMPLATES if known.source == source]
    return answer({"templates": [template_json(template) for template in found if template], "pagination": LAST_PAGE})
