"""From a reference to the thing it names: sources and stores are opened here and nowhere else."""

import os
from pathlib import Path

from weight_bakery._errors import BadRequest
from weight_bakery._events import Event, Note, Progress
from weight_bakery._layout import LayoutStore
from weight_bakery._references import (
    BucketModel,
    CachedModel,
    FolderModel,
    ImageModel,
    ImageReference,
    LayoutReference,
    ModelReference,
    RegistryReference,
    is_address,
    parse_target,
)
from weight_bakery._registry import RegistryStore
from weight_bakery._registry_auth import docker_credentials
from weight_bakery._request import BakeRequest, Credentials
from weight_bakery._source_cache import cached_at, open_cached
from weight_bakery._source_folder import FolderSource
from weight_bakery._source_image import ImageSource
from weight_bakery._sources import Notice, WeightSource, ignore
from weight_bakery._stores import ImageStore


def open_source(model: ModelReference, request: BakeRequest, notice: Notice = ignore) -> WeightSource:
    """Open the model's source; a Hub repository is pinned to a commit here."""
    if isinstance(model, FolderModel):
        return cached_at(model.folder) or FolderSource(model.folder)
    if isinstance(model, CachedModel):
        from huggingface_hub.constants import HF_HUB_CACHE

        return open_cached(model.repository, model.revision, request.hf_cache or Path(HF_HUB_CACHE))
    if isinstance(model, ImageModel):
        return ImageSource(model, lambda: _source_store(model.image, request, notice))
    if isinstance(model, BucketModel):
        from weight_bakery._source_s3 import BucketSource  # boto3 takes longer still

        return BucketSource(model)
    endpoint = request.hub_endpoint or os.environ.get("HF_ENDPOINT")
    if endpoint and not is_address(endpoint):  # huggingface_hub cannot even be imported with some of them
        raise BadRequest(f"HF_ENDPOINT {endpoint!r} is not an address", "write https://<host>, or unset it")
    from weight_bakery._source_hub import HubSource  # huggingface_hub takes a moment to import

    return HubSource(
        model.repository, model.revision, endpoint=request.hub_endpoint, token=request.hub_token, notice=notice
    )


def _source_store(reference: ImageReference, request: BakeRequest, notice: Notice) -> ImageStore:
    def progress(event: Event) -> None:
        if isinstance(event, Note):
            notice(event.text)

    store = open_store(reference, request, target=False, create=False, progress=progress)
    assert store is not None
    return store


def mountable(store: ImageStore | None, other: ImageStore | None) -> bool:
    """Whether blobs of `other` can be taken over without moving: both are repositories of one registry."""
    return (
        isinstance(store, RegistryStore)
        and isinstance(other, RegistryStore)
        and store.reference.host == other.reference.host
    )


def open_store(
    reference: ImageReference, request: BakeRequest, *, target: bool, create: bool, progress: Progress
) -> ImageStore | None:
    """Open an image store; None for a layout that does not exist yet while nothing may be created."""
    if isinstance(reference, LayoutReference):
        if target and not create and not (reference.directory / "oci-layout").exists():
            return None
        return LayoutStore(reference.directory, create=create, progress=progress)
    return RegistryStore(
        reference,
        credentials=_credentials(reference, request, target=target),
        write=target,
        progress=progress,
    )


def _credentials(reference: RegistryReference, request: BakeRequest, *, target: bool) -> Credentials | None:
    """Return the login for a registry. The one in the request is for the target's host and goes nowhere else."""
    if request.credentials is not None:
        aimed = parse_target(request.to)
        if target or (isinstance(aimed, RegistryReference) and aimed.host == reference.host):
            return request.credentials
    return docker_credentials(request.docker_config, reference.host) if request.docker_config else None
