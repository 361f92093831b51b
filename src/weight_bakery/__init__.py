"""Model files become an image: deterministic layers, pushed or laid out without a daemon, a spool or a second send.

What is true here:
- A layer's digest is a function of its files' paths and bytes (layer rule version 1, docs/layer-rule.md); the image
  digest is a function of the layers, the model's names and the base. Neither knows the machine or the clock.
- A tag changes only after everything below it is in place, and in one step; whatever fails, the old image stays.
- No file is ever held in memory or copied to a spool: bytes go from the source through the hash to the target, and a
  failed push is replayed from the source.
- `weights.lock` says what was baked and from where; writing it twice gives the same bytes.

May import: the standard library, aiohttp, huggingface_hub, click and rich (only in the command), and `redaction`. No
other room of this project.
"""

from weight_bakery._ambient import with_ambient
from weight_bakery._attached import Attached
from weight_bakery._bake import bake, bake_async, plan_bake, plan_bake_async
from weight_bakery._errors import (
    AccessDenied,
    BadRequest,
    BakeryError,
    BaseImageError,
    CorruptWeights,
    DigestMismatch,
    DiskFull,
    HarvestError,
    LayerRuleError,
    LayoutError,
    LockError,
    MissingShard,
    ModelNotFound,
    NoConfig,
    NoWeights,
    RegistryDenied,
    RegistryError,
    RegistryTooLarge,
    RegistryUnreachable,
    SigningError,
    SourceChanged,
    SourceDamaged,
    SourceError,
    SourceUnavailable,
    UnsafePath,
    VolumeDenied,
    VolumeError,
    VolumeUnreachable,
)
from weight_bakery._events import (
    Event,
    LayerAdvanced,
    LayerFinished,
    LayerPlanned,
    Note,
    Outcome,
    Planned,
    Progress,
    silent,
)
from weight_bakery._harvest import harvest, harvest_async, plan_harvest, plan_harvest_async
from weight_bakery._harvest_request import HarvestedCaches, HarvestPlan, HarvestReceipt, HarvestRequest
from weight_bakery._layer_rule import LAYER_RULE, content_key, layer_size
from weight_bakery._layers import Role
from weight_bakery._limits import parse_size
from weight_bakery._lock import LockedCaches, LockedFile, LockedLayer, LockEntry, WeightsLock, read_lock
from weight_bakery._rebase import RebaseReceipt, RebaseRequest, rebase, rebase_async
from weight_bakery._references import (
    FolderModel,
    HubModel,
    LayoutReference,
    RegistryReference,
    SourceChoice,
    image_name,
    parse_image,
    parse_model,
    parse_target,
)
from weight_bakery._request import (
    BakePlan,
    BakeReceipt,
    BakeRequest,
    Credentials,
    LayerReceipt,
    PlannedFile,
    PlannedLayer,
    as_json_line,
)
from weight_bakery._seed import plan_seed, seed_volume
from weight_bakery._seed_request import SeedFile, SeedPlan, SeedReceipt, SeedRequest
from weight_bakery._sources import FileSource, Inventory, Reader, SourceFile, SourceKind, WeightSource
from weight_bakery._standing import Removal, locked_image, remove_image_async, standing_digest_async
from weight_bakery._status import Status, TargetStatus, bake_status, bake_status_async
from weight_bakery._status_words import Deployed, Finding, StatusRequest

__all__ = [
    "LAYER_RULE",
    "AccessDenied",
    "Attached",
    "BadRequest",
    "BakePlan",
    "BakeReceipt",
    "BakeRequest",
    "BakeryError",
    "BaseImageError",
    "CorruptWeights",
    "Credentials",
    "Deployed",
    "DigestMismatch",
    "DiskFull",
    "Event",
    "FileSource",
    "Finding",
    "FolderModel",
    "HarvestError",
    "HarvestPlan",
    "HarvestReceipt",
    "HarvestRequest",
    "HarvestedCaches",
    "HubModel",
    "Inventory",
    "LayerAdvanced",
    "LayerFinished",
    "LayerPlanned",
    "LayerReceipt",
    "LayerRuleError",
    "LayoutError",
    "LayoutReference",
    "LockEntry",
    "LockError",
    "LockedCaches",
    "LockedFile",
    "LockedLayer",
    "MissingShard",
    "ModelNotFound",
    "NoConfig",
    "NoWeights",
    "Note",
    "Outcome",
    "Planned",
    "PlannedFile",
    "PlannedLayer",
    "Progress",
    "Reader",
    "RebaseReceipt",
    "RebaseRequest",
    "RegistryDenied",
    "RegistryError",
    "RegistryReference",
    "RegistryTooLarge",
    "RegistryUnreachable",
    "Removal",
    "Role",
    "SeedFile",
    "SeedPlan",
    "SeedReceipt",
    "SeedRequest",
    "SigningError",
    "SourceChanged",
    "SourceChoice",
    "SourceDamaged",
    "SourceError",
    "SourceFile",
    "SourceKind",
    "SourceUnavailable",
    "Status",
    "StatusRequest",
    "TargetStatus",
    "UnsafePath",
    "VolumeDenied",
    "VolumeError",
    "VolumeUnreachable",
    "WeightSource",
    "WeightsLock",
    "as_json_line",
    "bake",
    "bake_async",
    "bake_status",
    "bake_status_async",
    "content_key",
    "harvest",
    "harvest_async",
    "image_name",
    "layer_size",
    "locked_image",
    "parse_image",
    "parse_model",
    "parse_size",
    "parse_target",
    "plan_bake",
    "plan_bake_async",
    "plan_harvest",
    "plan_harvest_async",
    "plan_seed",
    "read_lock",
    "rebase",
    "rebase_async",
    "remove_image_async",
    "seed_volume",
    "silent",
    "standing_digest_async",
    "with_ambient",
]
