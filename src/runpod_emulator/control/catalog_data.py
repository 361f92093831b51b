"""What the emulated cloud sells: GPU types with pools and prices, CPU flavours, data centres, public templates.

GPU ids, pools, memory and serverless prices: runpod-api.md §5. Where its two sources differ on a pool (L4, A4500) the
first-named one is taken (§8 row 15). Pod prices are published for one card only; the others keep that card's ratio to
the serverless price (our assumption: never plan money with them). Stock is made up and fixed; every level occurs.
"""

from dataclasses import dataclass, field

SECURE_TO_SERVERLESS = 0.40
COMMUNITY_TO_SERVERLESS = 0.28
"""RTX 4090: 0.44 and 0.31 to 1.10 (the contract's example)."""


@dataclass(frozen=True)
class Gpu:
    id: str
    name: str
    memory: int
    pool: str | None = None
    per_hour: float | None = None
    manufacturer: str = "NVIDIA"
    stock: str = "NONE"
    """Overall availability for serverless."""
    sold: bool = True

    @property
    def cuda_versions(self) -> tuple[str, ...]:
        return CUDA_VERSIONS if self.manufacturer == "NVIDIA" and self.sold else ()


@dataclass(frozen=True)
class Cpu:
    id: str
    name: str
    group: str
    ram_gb_per_vcpu: float
    vcpu_min: int = 2
    vcpu_max: int = 32
    secure_per_vcpu: float = 0.04
    serverless_per_vcpu: float = 0.03


@dataclass(frozen=True)
class DataCenter:
    id: str
    name: str
    region: str
    country: str
    volume_types: tuple[str, ...] = ()
    """The first one is the primary tier, used when a volume names none."""
    compliance: tuple[str, ...] = ()
    global_network: bool = False
    gpu_pools: tuple[str, ...] = ()


CUDA_VERSIONS = ("12.4", "12.6", "12.8", "12.9", "13.0")

_G = "NVIDIA GeForce "
_RTX = "NVIDIA RTX "
_PRO = "NVIDIA RTX PRO 6000 Blackwell "

GPUS: tuple[Gpu, ...] = (
    Gpu(_RTX + "A4000", "RTX A4000", 16, "AMPERE_16", 0.58, stock="HIGH"),
    Gpu(_RTX + "4000 Ada Generation", "RTX 4000 Ada", 20, "AMPERE_16", 0.58, stock="MEDIUM"),
    Gpu(_RTX + "2000 Ada Generation", "RTX 2000 Ada", 16, "AMPERE_16", 0.58, stock="MEDIUM"),
    Gpu(_RTX + "A4500", "RTX A4500", 20, "AMPERE_16", 0.58, stock="HIGH"),
    Gpu(_RTX + "A5000", "RTX A5000", 24, "AMPERE_24", 0.68, stock="HIGH"),
    Gpu(_G + "RTX 3090", "RTX 3090", 24, "AMPERE_24", 0.68, stock="HIGH"),
    Gpu("NVIDIA L4", "L4", 24, "AMPERE_24", 0.68, stock="MEDIUM"),
    Gpu(_G + "RTX 4090", "RTX 4090", 24, "ADA_24", 1.10, stock="HIGH"),
    Gpu(_G + "RTX 5090", "RTX 5090", 32, "ADA_32_PRO", None, stock="MEDIUM"),
    Gpu("NVIDIA A40", "A40", 48, "AMPERE_48", 1.22, stock="MEDIUM"),
    Gpu(_RTX + "A6000", "RTX A6000", 48, "AMPERE_48", 1.22, stock="HIGH"),
    Gpu("NVIDIA L40", "L40", 48, "ADA_48_PRO", 1.91, stock="LOW"),
    Gpu("NVIDIA L40S", "L40S", 48, "ADA_48_PRO", 1.91, stock="MEDIUM"),
    Gpu(_RTX + "6000 Ada Generation", "RTX 6000 Ada", 48, "ADA_48_PRO", 1.91, stock="MEDIUM"),
    Gpu("NVIDIA A100 80GB PCIe", "A100 PCIe", 80, "AMPERE_80", 2.74, stock="MEDIUM"),
    Gpu("NVIDIA A100-SXM4-80GB", "A100 SXM", 80, "AMPERE_80", 2.74, stock="MEDIUM"),
    Gpu("NVIDIA H100 80GB HBM3", "H100 SXM", 80, "ADA_80_PRO", 4.18, stock="MEDIUM"),
    Gpu("NVIDIA H100 PCIe", "H100 PCIe", 80, "ADA_80_PRO", 4.18, stock="LOW"),
    Gpu("NVIDIA H100 NVL", "H100 NVL", 94, "ADA_80_PRO", 4.18, stock="LOW"),
    Gpu(_PRO + "Server Edition", "RTX PRO 6000", 96, "BLACKWELL_96", 4.00, stock="MEDIUM"),
    Gpu(_PRO + "Workstation Edition", "RTX PRO 6000 WK", 96, "BLACKWELL_96", 4.00, stock="LOW"),
    Gpu(_PRO + "Max-Q Workstation Edition", "RTX PRO 6000 MaxQ", 96, "BLACKWELL_96", 4.00, stock="LOW"),
    Gpu("NVIDIA H200", "H200 SXM", 141, "HOPPER_141", 5.58, stock="LOW"),
    Gpu("NVIDIA B200", "B200", 180, "BLACKWELL_180", 8.64, stock="NONE"),
    # No documented pool: known ids that serverless does not take.
    Gpu("AMD Instinct MI300X OAM", "MI300X", 192, manufacturer="AMD", sold=False),
    Gpu("NVIDIA A30", "A30", 24, sold=False),
    Gpu("NVIDIA B300 SXM6 AC", "B300", 288, sold=False),
    Gpu("NVIDIA H200 NVL", "H200 NVL", 143, sold=False),
    Gpu(_RTX + "5000 Ada Generation", "RTX 5000 Ada", 32, sold=False),
    Gpu("Tesla V100-PCIE-16GB", "V100", 16, sold=False),
    # The sentinel row that the real catalogue carries (runpod-api-live.md §3 row 18).
    Gpu("unknown", "unknown", 0, manufacturer="UNKNOWN", sold=False),
)

CPUS: tuple[Cpu, ...] = (
    Cpu("cpu3c", "Compute-Optimized", "Gen 3", 2.0),
    Cpu("cpu3g", "General Purpose", "Gen 3", 4.0),
    Cpu("cpu5c", "Compute-Optimized", "Gen 5", 2.0),
    Cpu("cpu5g", "General Purpose", "Gen 5", 4.0),
)
CPU_DATA_CENTER = "EU-RO-1"
"""Serverless CPU workers run here only (§5)."""

_NA, _EU = "NORTH_AMERICA", "EUROPE"
_STANDARD, _BOTH = ("STANDARD",), ("STANDARD", "HIGH_PERFORMANCE")
_SMALL = ("AMPERE_16", "AMPERE_24", "ADA_24")
_MIDDLE = (*_SMALL, "AMPERE_48", "ADA_48_PRO")
_LARGE = (*_MIDDLE, "AMPERE_80", "ADA_80_PRO", "BLACKWELL_96")
_ALL = (*_LARGE, "ADA_32_PRO", "HOPPER_141", "BLACKWELL_180")
_AUDITED = ("SOC_2_TYPE_2", "ISO_IEC_27001")

# Volumes: the fifteen with an S3 gateway (§4) hold standard volumes; the second tier, and what stands where, is ours.
DATA_CENTERS: tuple[DataCenter, ...] = (
    DataCenter("EU-CZ-1", "EU Czechia 1", _EU, "CZ", _STANDARD, ("GDPR",), True, _MIDDLE),
    DataCenter("EU-RO-1", "EU Romania 1", _EU, "RO", _BOTH, ("GDPR",), True, _LARGE),
    DataCenter("EUR-IS-1", "EU Iceland 1", _EU, "IS", _STANDARD, ("GDPR", "RENEWABLE"), True, _LARGE),
    DataCenter("EUR-NO-1", "EU Norway 1", _EU, "NO", _STANDARD, ("GDPR", "RENEWABLE"), True, _MIDDLE),
    DataCenter("US-CA-2", "US California 2", _NA, "US", _BOTH, (), True, _ALL),
    DataCenter("US-GA-2", "US Georgia 2", _NA, "US", _STANDARD, (), False, _MIDDLE),
    DataCenter("US-IL-1", "US Illinois 1", _NA, "US", _STANDARD, (), True, _MIDDLE),
    DataCenter("US-KS-2", "US Kansas 2", _NA, "US", _BOTH, _AUDITED, True, _ALL),
    DataCenter("US-MD-1", "US Maryland 1", _NA, "US", _STANDARD, (), False, _SMALL),
    DataCenter("US-MO-1", "US Missouri 1", _NA, "US", _STANDARD, (), False, _SMALL),
    DataCenter("US-MO-2", "US Missouri 2", _NA, "US", _STANDARD, (), False, _SMALL),
    DataCenter("US-NC-1", "US North Carolina 1", _NA, "US", _STANDARD, (), True, _MIDDLE),
    DataCenter("US-NC-2", "US North Carolina 2", _NA, "US", _STANDARD, (), False, _SMALL),
    DataCenter("US-NE-1", "US Nebraska 1", _NA, "US", _STANDARD, (), False, _LARGE),
    DataCenter("US-WA-1", "US Washington 1", _NA, "US", _STANDARD, (), True, _MIDDLE),
    # Known from older lists, without volumes.
    DataCenter("AP-JP-1", "AP Japan 1", "ASIA", "JP", gpu_pools=("ADA_80_PRO", "HOPPER_141")),
    DataCenter("CA-MTL-1", "CA Montreal 1", _NA, "CA", gpu_pools=_SMALL),
    DataCenter("CA-MTL-3", "CA Montreal 3", _NA, "CA", gpu_pools=_MIDDLE),
    DataCenter("EU-FR-1", "EU France 1", _EU, "FR", (), ("GDPR",), gpu_pools=("ADA_80_PRO",)),
    DataCenter("EU-NL-1", "EU Netherlands 1", _EU, "NL", (), ("GDPR",), gpu_pools=("ADA_48_PRO", "ADA_80_PRO")),
    DataCenter("EU-SE-1", "EU Sweden 1", _EU, "SE", (), ("GDPR", "RENEWABLE"), gpu_pools=_MIDDLE),
    DataCenter("EUR-IS-2", "EU Iceland 2", _EU, "IS", (), ("GDPR", "RENEWABLE"), gpu_pools=_MIDDLE),
    DataCenter("OC-AU-1", "OC Australia 1", "OCEANIA", "AU", gpu_pools=_SMALL),
    DataCenter("US-DE-1", "US Delaware 1", _NA, "US", gpu_pools=_MIDDLE),
    DataCenter("US-TX-3", "US Texas 3", _NA, "US", gpu_pools=_LARGE),
)


@dataclass(frozen=True)
class PublicTemplate:
    """A template that everybody can read and nobody here can change."""

    id: str
    name: str
    image: str
    disk: int
    source: str = "official"
    serverless: bool = False
    ports: tuple[str, ...] = ()
    env: dict[str, str] = field(default_factory=dict)


PUBLIC_TEMPLATES: tuple[PublicTemplate, ...] = (
    PublicTemplate(
        "emupytorch",
        "PyTorch",
        "runpod/pytorch:1.0.2-cu1281-torch280-ubuntu2404",
        50,
        ports=("8888/http", "22/tcp"),
    ),
    PublicTemplate("emuvllmqb1", "vLLM worker", "runpod/worker-v1-vllm:v2.25.2", 150, serverless=True),
)
"""Ids are the emulator's own: real ones die (runpod-api-live.md §3 row 19)."""

GPU_BY_ID = {gpu.id: gpu for gpu in GPUS}
CPU_BY_ID = {cpu.id: cpu for cpu in CPUS}
DATA_CENTER_BY_ID = {center.id: center for center in DATA_CENTERS}
PUBLIC_TEMPLATE_BY_ID = {template.id: template for template in PUBLIC_TEMPLATES}
POOLS = {pool: tuple(gpu.id for gpu in GPUS if gpu.pool == pool) for pool in (gpu.pool for gpu in GPUS) if pool}
DATA_CENTERS_WITH_VOLUMES = tuple(center.id for center in DATA_CENTERS if center.volume_types)
