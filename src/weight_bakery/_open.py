"""From a reference to the thing it names: sources and stores are opened here and nowhere else."""

from weight_bakery._events import Progress
from weight_bakery._layout import LayoutStore
from weight_bakery._references import FolderModel, ImageReference, LayoutReference, ModelReference
from weight_bakery._request import BakeRequest
from weight_bakery._source_folder import FolderSource
from weight_bakery._sources import WeightSource
from weight_bakery._stores import ImageStore


def open_source(model: ModelReference, request: BakeRequest) -> WeightSource:
    """Open the model's source; a Hub repository is pinned to a commit here."""
    if isinstance(model, FolderModel):
        return FolderSource(model.folder)
    from weight_bakery._source_hub import HubSource  # huggingface_hub takes a moment to import

    return HubSource(model.repository, model.revision, endpoint=request.hub_endpoint, token=request.hub_token)


def open_store(
    reference: ImageReference, request: BakeRequest, *, base: ImageReference | None, create: bool, progress: Progress
) -> ImageStore | None:
    """Open an image store; None for a layout that does not exist yet while nothing may be created."""
    if isinstance(reference, LayoutReference):
        if not create and base is None and not (reference.directory / "oci-layout").exists() and reference.tag:
            return None
        return LayoutStore(reference.directory, create=create)
    raise NotImplementedError
