"""The control plane's tables and the frozen records in them. Everything the other planes may read is `ports.Endpoints`.

Lists come newest first (runpod-api-live.md §2.1); `seq` is the order of creation. Registry passwords stand in the
database in clear, as any credential store that must hand them out: its file is 0600 inside a 0700 directory.
"""

import json
import secrets
import string
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from redaction import register_secret
from runpod_emulator.control.containers import Container, decode
from runpod_emulator.model import Endpoint, Json
from runpod_emulator.store import Row, Store

SCHEMA = """
CREATE TABLE IF NOT EXISTS control_endpoints (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, template_id TEXT, body TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS control_templates (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, body TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS control_releases (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, endpoint_id TEXT NOT NULL
        REFERENCES control_endpoints(id) ON DELETE CASCADE,
    version INTEGER NOT NULL, created_at REAL NOT NULL, diff TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS control_releases_by_endpoint ON control_releases(endpoint_id, seq);
CREATE TABLE IF NOT EXISTS control_volumes (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, name TEXT NOT NULL, size INTEGER NOT NULL,
    data_center TEXT NOT NULL, type TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS control_registries (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, name TEXT NOT NULL, username TEXT NOT NULL,
    password TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS control_pods (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, body TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS control_meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
"""

RESERVED_SEGMENTS = frozenset(
    {
        "serverless",
        "templates",
        "network-volumes",
        "registries",
        "catalog",
        "pods",
        "clusters",
        "billing",
        "account",
        "sandboxes",
        "openapi.json",
    }
)
"""First path segments of the control plane. None is ever an endpoint's id: both planes share one port."""

_ALPHABET = string.ascii_lowercase + string.digits


def new_id(length: int) -> str:
    """Lower-case letters and digits, beginning with neither a word of the API nor anything shell-like (§9)."""
    while True:
        made = "".join(secrets.choice(_ALPHABET) for _ in range(length))
        if made not in RESERVED_SEGMENTS:
            return made


@dataclass(frozen=True)
class Template:
    id: str
    name: str
    container: Container
    mounts: Json = field(default_factory=dict)
    serverless: bool = False
    public: bool = False
    category: str = "NVIDIA"
    start_ssh: bool = True
    start_jupyter: bool = True
    allowed_cuda_versions: tuple[str, ...] = ()


@dataclass(frozen=True)
class Volume:
    id: str
    name: str
    size: int
    data_center: str
    type: str


@dataclass(frozen=True)
class Registry:
    id: str
    name: str
    username: str = field(repr=False)
    password: str = field(repr=False)


@dataclass(frozen=True)
class Release:
    seq: int
    id: str
    version: int
    created_at: float
    diff: list[Json]


@dataclass(frozen=True)
class Pod:
    id: str
    name: str
    container: Container
    gpu: Json | None
    cpu: Json | None
    cloud: str
    data_center_id: str
    cost: float
    created_at: float
    at_rest: Literal["EXITED", "ERROR"] | None = None
    """Why nothing runs; None while something does or shall."""


def container_of(endpoint: Endpoint) -> Container:
    return Container(endpoint.image, endpoint.args, endpoint.disk, endpoint.env, endpoint.ports, endpoint.registry)


def with_container(endpoint: Endpoint, container: Container) -> Endpoint:
    command = decode(container.args)
    return replace(
        endpoint,
        image=container.image,
        args=container.args,
        entrypoint=command.entrypoint,
        cmd=command.cmd,
        disk=container.disk,
        env=container.env,
        ports=container.ports,
        registry=container.registry,
    )


_TUPLES = ("entrypoint", "cmd", "ports", "data_center_ids", "network_volumes")


def _endpoint(row: Row) -> Endpoint:
    body: dict[str, Any] = json.loads(row["body"])
    for name in _TUPLES:
        body[name] = tuple(body[name])
    if body["cpu"] is not None:
        body["cpu"] = tuple(body["cpu"])
    return Endpoint(**body)


def _template(row: Row) -> Template:
    body: dict[str, Any] = json.loads(row["body"])
    container = body.pop("container")
    container["ports"] = tuple(container["ports"])
    body["allowed_cuda_versions"] = tuple(body["allowed_cuda_versions"])
    return Template(container=Container(**container), **body)


def _pod(row: Row) -> Pod:
    body: dict[str, Any] = json.loads(row["body"])
    container = body.pop("container")
    container["ports"] = tuple(container["ports"])
    return Pod(container=Container(**container), **body)


class Records:
    """Reads and writes the control plane's tables. Implements `ports.Endpoints`."""

    def __init__(self, store: Store) -> None:
        self.store = store
        store.register_schema(SCHEMA)
        for row in store.query("SELECT username, password FROM control_registries"):
            register_secret(row["password"])

    # Endpoints

    def endpoint(self, endpoint_id: str) -> Endpoint | None:
        row = self.store.query_one("SELECT body FROM control_endpoints WHERE id = ?", (endpoint_id,))
        return _endpoint(row) if row else None

    def endpoints(self) -> list[Endpoint]:
        return [_endpoint(row) for row in self.store.query("SELECT body FROM control_endpoints ORDER BY seq DESC")]

    def workers_max_elsewhere(self, endpoint_id: str) -> int:
        """Sum of `workers.max` over all other endpoints."""
        row = self.store.query_one(
            "SELECT TOTAL(json_extract(body, '$.workers_max')) AS total FROM control_endpoints WHERE id != ?",
            (endpoint_id,),
        )
        return int(row["total"]) if row else 0

    def endpoint_page(self, before: int | None, limit: int) -> list[tuple[int, Endpoint]]:
        return [(row["seq"], _endpoint(row)) for row in self._page("control_endpoints", before, limit)]

    def save_endpoint(self, endpoint: Endpoint, *, template_id: str | None = None) -> None:
        """`template_id`: the template it was last made from; None keeps what is known."""
        self.store.execute(
            "INSERT INTO control_endpoints (id, template_id, body) VALUES (:id, :template, :body) "
            "ON CONFLICT (id) DO UPDATE SET body = :body, template_id = COALESCE(:template, template_id)",
            {"id": endpoint.id, "template": template_id, "body": json.dumps(asdict(endpoint))},
        )

    def delete_endpoint(self, endpoint_id: str) -> bool:
        return self.store.execute("DELETE FROM control_endpoints WHERE id = ?", (endpoint_id,)) > 0

    def endpoints_made_from(self, template_id: str) -> list[str]:
        rows = self.store.query("SELECT id FROM control_endpoints WHERE template_id = ? ORDER BY seq", (template_id,))
        return [row["id"] for row in rows]

    # Releases

    def add_release(self, endpoint_id: str, version: int, created_at: float, diff: list[Json]) -> None:
        self.store.execute(
            "INSERT INTO control_releases (id, endpoint_id, version, created_at, diff) VALUES (?, ?, ?, ?, ?)",
            (new_id(10), endpoint_id, version, created_at, json.dumps(diff)),
        )

    def release_page(self, endpoint_id: str, before: int | None, limit: int) -> list[tuple[int, Release]]:
        rows = self.store.query(
            "SELECT * FROM control_releases WHERE endpoint_id = ? AND seq < ? ORDER BY seq DESC LIMIT ?",
            (endpoint_id, _LAST if before is None else before, limit),
        )
        return [
            (row["seq"], Release(row["seq"], row["id"], row["version"], row["created_at"], json.loads(row["diff"])))
            for row in rows
        ]

    # Templates

    def template(self, template_id: str) -> Template | None:
        row = self.store.query_one("SELECT body FROM control_templates WHERE id = ?", (template_id,))
        return _template(row) if row else None

    def templates(self) -> list[Template]:
        return [_template(row) for row in self.store.query("SELECT body FROM control_templates ORDER BY seq DESC")]

    def template_page(self, before: int | None, limit: int) -> list[tuple[int, Template]]:
        return [(row["seq"], _template(row)) for row in self._page("control_templates", before, limit)]

    def save_template(self, template: Template) -> None:
        self.store.execute(
            "INSERT INTO control_templates (id, body) VALUES (:id, :body) ON CONFLICT (id) DO UPDATE SET body = :body",
            {"id": template.id, "body": json.dumps(asdict(template))},
        )

    def delete_template(self, template_id: str) -> None:
        self.store.execute("DELETE FROM control_templates WHERE id = ?", (template_id,))

    # Pods

    def pod(self, pod_id: str) -> Pod | None:
        row = self.store.query_one("SELECT body FROM control_pods WHERE id = ?", (pod_id,))
        return _pod(row) if row else None

    def pods(self) -> list[Pod]:
        return [_pod(row) for row in self.store.query("SELECT body FROM control_pods ORDER BY seq DESC")]

    def pod_page(self, before: int | None, limit: int) -> list[tuple[int, Pod]]:
        return [(row["seq"], _pod(row)) for row in self._page("control_pods", before, limit)]

    def save_pod(self, pod: Pod) -> None:
        self.store.execute(
            "INSERT INTO control_pods (id, body) VALUES (:id, :body) ON CONFLICT (id) DO UPDATE SET body = :body",
            {"id": pod.id, "body": json.dumps(asdict(pod))},
        )

    def delete_pod(self, pod_id: str) -> None:
        self.store.execute("DELETE FROM control_pods WHERE id = ?", (pod_id,))

    # Network volumes

    def volume(self, volume_id: str) -> Volume | None:
        row = self.store.query_one("SELECT * FROM control_volumes WHERE id = ?", (volume_id,))
        return _volume(row) if row else None

    def volumes(self) -> list[Volume]:
        return [_volume(row) for row in self.store.query("SELECT * FROM control_volumes ORDER BY seq DESC")]

    def save_volume(self, volume: Volume) -> None:
        self.store.execute(
            "INSERT INTO control_volumes (id, name, size, data_center, type) "
            "VALUES (:id, :name, :size, :data_center, :type) "
            "ON CONFLICT (id) DO UPDATE SET name = :name, size = :size",
            asdict(volume),
        )

    def delete_volume(self, volume_id: str) -> None:
        self.store.execute("DELETE FROM control_volumes WHERE id = ?", (volume_id,))

    def volume_data_center(self, volume_id: str) -> str | None:
        volume = self.volume(volume_id)
        return volume.data_center if volume else None

    # Registry credentials

    def registry(self, registry_id: str) -> Registry | None:
        row = self.store.query_one("SELECT * FROM control_registries WHERE id = ?", (registry_id,))
        return _registry(row) if row else None

    def registries(self) -> list[Registry]:
        return [_registry(row) for row in self.store.query("SELECT * FROM control_registries ORDER BY seq DESC")]

    def save_registry(self, registry: Registry) -> None:
        register_secret(registry.password)
        self.store.execute(
            "INSERT INTO control_registries (id, name, username, password) VALUES (:id, :name, :username, :password)",
            asdict(registry),
        )

    def delete_registry(self, registry_id: str) -> None:
        self.store.execute("DELETE FROM control_registries WHERE id = ?", (registry_id,))

    def registry_auth(self, registry_id: str) -> tuple[str, str] | None:
        registry = self.registry(registry_id)
        return (registry.username, registry.password) if registry else None

    # One value per key, made once

    def meta(self, key: str, default: str) -> str:
        """The stored value of `key`; `default` is stored first where there is none."""
        self.store.execute("INSERT OR IGNORE INTO control_meta (key, value) VALUES (?, ?)", (key, default))
        row = self.store.query_one("SELECT value FROM control_meta WHERE key = ?", (key,))
        return str(row["value"]) if row else default

    def _page(self, table: str, before: int | None, limit: int) -> list[Row]:
        return self.store.query(
            f"SELECT seq, body FROM {table} WHERE seq < ? ORDER BY seq DESC LIMIT ?",  # noqa: S608 - a name of ours
            (_LAST if before is None else before, limit),
        )


_LAST = 2**62


def _volume(row: Mapping[str, Any] | Row) -> Volume:
    return Volume(row["id"], row["name"], row["size"], row["data_center"], row["type"])


def _registry(row: Mapping[str, Any] | Row) -> Registry:
    return Registry(row["id"], row["name"], row["username"], row["password"])
