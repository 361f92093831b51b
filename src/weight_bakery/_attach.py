"""Documents that belong to an image, kept beside it in the registry: manifests whose `subject` is the image.

A registry that serves the referrers API says so with the header OCI-Subject, and lists them by itself. For every other
one the list is an index under the tag `sha256-<hex>`, as the distribution specification describes it; foreign tools
look in both places too. Attaching what is attached already writes nothing.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from weight_bakery._attached import Attached
from weight_bakery._blobs import BytesBlob
from weight_bakery._errors import RegistryError
from weight_bakery._events import Note, Progress
from weight_bakery._image import Document
from weight_bakery._lock import LockEntry
from weight_bakery._media import INDEX, MANIFEST
from weight_bakery._registry import RegistryStore
from weight_bakery._sbom import PREDICATE, provenance, sbom
from weight_bakery._stores import ImageStore, StoredManifest

_EMPTY = Document("application/vnd.oci.empty.v1+json", b"{}")
_SUBJECT_HEADER = "OCI-Subject"
_LIST_LIMIT = 4 * 1024 * 1024
_DOCUMENT_LIMIT = 64 * 1024 * 1024
_NO_API = frozenset({400, 404, 405, 501})
"""How registries answer that do not know the referrers API."""
_PAGES = 100
_TRIES = 5


@dataclass(frozen=True)
class Attachment:
    """A document to attach."""

    document: Document
    title: str
    annotations: Mapping[str, str] = field(default_factory=dict)


def attestations(entry: LockEntry) -> tuple[Attachment, ...]:
    """Return what is attached to every image that is baked to a registry."""
    return (
        Attachment(sbom(entry), "sbom.cdx.json"),
        Attachment(provenance(entry), "provenance.intoto.json", {"in-toto.io/predicate-type": PREDICATE}),
    )


async def attach(
    store: RegistryStore, subject: StoredManifest, attachments: Sequence[Attachment]
) -> tuple[Attached, ...]:
    """Attach documents to an image, which need not be there yet. Raises RegistryError."""
    manifests = [(item, _manifest(subject, item)) for item in attachments]
    present = {item.digest for item in await attached_to(store, subject.digest)}
    unlisted = []
    for item, manifest in manifests:
        if manifest.digest in present:
            continue
        for document in (_EMPTY, item.document):
            if not await store.has_blob(document.digest, document.size):
                await store.write_blob(BytesBlob(document.content), lambda _: None)
        response, _ = await store.http.exchange(
            "PUT",
            store.http.url(f"manifests/{manifest.digest}"),
            ok=frozenset({200, 201, 202}),
            what="an attached document",
            headers={"Content-Type": manifest.media_type},
            data=manifest.content,
        )
        if response.headers.get(_SUBJECT_HEADER) != subject.digest:
            unlisted.append(_listing(item, manifest))
    if unlisted:
        await _list_under_tag(store, subject.digest, unlisted)
    return tuple(
        Attached(item.document.media_type, manifest.digest, manifest.size, item.annotations)
        for item, manifest in manifests
    )


async def attached_to(store: RegistryStore, digest: str) -> tuple[Attached, ...]:
    """List what is attached to an image, whoever attached it. Raises RegistryError."""
    listed = await _ask_referrers(store, digest)
    if listed is None:
        found = await store.read_manifest(_fallback_tag(digest))
        listed = _entries(found.content) if found else []
    return tuple(
        Attached(
            str(item.get("artifactType") or ""),
            str(item.get("digest")),
            int(item.get("size") or 0),
            {str(key): str(value) for key, value in (item.get("annotations") or {}).items()},
        )
        for item in listed
    )


async def read_attached(store: RegistryStore, item: Attached) -> bytes:
    """Fetch an attached document, verified from the image's digest list down to its bytes. Raises RegistryError."""
    found = await store.read_manifest(item.digest)
    try:
        layers = json.loads(found.content)["layers"] if found else []
        digests = [str(layer["digest"]) for layer in layers]
    except (ValueError, KeyError, TypeError):
        digests = []
    if len(digests) != 1:
        raise RegistryError(f"{store.reference}: {item.digest} is not a single document", "bake the image again")
    return await store.read_blob(digests[0], _DOCUMENT_LIMIT)


def expected_digests(subject: StoredManifest, entry: LockEntry) -> set[str]:
    """Return the digests under which what a lock entry gives is attached."""
    return {_manifest(subject, item).digest for item in attestations(entry)}


def _manifest(subject: StoredManifest, item: Attachment) -> Document:
    document = item.document
    content = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "artifactType": document.media_type,
        "config": {"mediaType": _EMPTY.media_type, "digest": _EMPTY.digest, "size": _EMPTY.size, "data": "e30="},
        "layers": [
            {
                "mediaType": document.media_type,
                "digest": document.digest,
                "size": document.size,
                "annotations": {"org.opencontainers.image.title": item.title, **item.annotations},
            }
        ],
        "subject": {"mediaType": subject.media_type, "digest": subject.digest, "size": len(subject.content)},
        "annotations": dict(item.annotations),
    }
    return Document(MANIFEST, _canonical(content))


def _listing(item: Attachment, manifest: Document) -> dict[str, Any]:
    return {
        "mediaType": manifest.media_type,
        "artifactType": item.document.media_type,
        "digest": manifest.digest,
        "size": manifest.size,
        "annotations": dict(item.annotations),
    }


def _fallback_tag(digest: str) -> str:
    """The tag under which attached documents are listed: the digest with a dash."""
    return digest.replace(":", "-", 1)


async def _ask_referrers(store: RegistryStore, digest: str) -> list[dict[str, Any]] | None:
    """Ask the referrers API, page by page; None when the registry has none."""
    url, found = store.http.url(f"referrers/{digest}"), []
    for _ in range(_PAGES):
        response, body = await store.http.exchange(
            "GET",
            url,
            ok=frozenset({200, *_NO_API}),
            what="to list what is attached",
            headers={"Accept": INDEX},
            redirects=True,
            limit=_LIST_LIMIT,
        )
        if response.status != 200 or response.content_type != INDEX:
            return None
        found += _entries(body)
        following = response.links.get("next")
        if following is None:
            break
        url = store.http.root.join(following["url"])  # type: ignore[arg-type]
    return found


async def _list_under_tag(store: RegistryStore, digest: str, items: Sequence[Mapping[str, Any]]) -> None:
    """Add to the index under the fallback tag. Somebody else may do so at the same moment, so it is looked at again."""
    tag, ours = _fallback_tag(digest), {item["digest"] for item in items}
    for _ in range(_TRIES):
        found = await store.read_manifest(tag)
        there = _entries(found.content) if found else []
        if ours <= {item.get("digest") for item in there}:
            return
        kept = [item for item in there if item.get("digest") not in ours]
        index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [*kept, *items]}
        content = Document(INDEX, _canonical(index))
        await store.write_manifest(StoredManifest(INDEX, content.content, content.digest), tag)
    raise RegistryError(f"{store.reference}: the list under {tag} keeps changing", "run the bake again")


def _entries(content: bytes) -> list[dict[str, Any]]:
    """Entries of an index; what is not one has none."""
    try:
        value = json.loads(content)
    except ValueError:
        return []
    entries = value.get("manifests") if isinstance(value, dict) else None
    return [item for item in entries if isinstance(item, dict)] if isinstance(entries, list) else []


def _canonical(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


async def attest(
    store: ImageStore, subject: StoredManifest, entry: LockEntry, progress: Progress
) -> tuple[Attached, ...]:
    """Attach bill of materials and provenance to an image in a registry; a layout has no place for them.

    A registry that takes images but no other documents must not stop a bake, so a refusal is told and nothing more.
    """
    if not isinstance(store, RegistryStore):
        return ()
    try:
        return await attach(store, subject, attestations(entry))
    except RegistryError as error:
        progress(Note(f"bill of materials and provenance are not attached: {error.message}"))
        return ()
