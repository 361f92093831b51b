"""A model baked into a container image, pushed to a registry or written to an OCI layout; no daemon needed.

Written by `python -m pulumi_runpod.provider.generate` from pulumi_runpod.declarations; do not edit.
"""

from collections.abc import Sequence
from typing import Literal

import pulumi

from pulumi_runpod import _enums, _registration


@pulumi.input_type
class _Properties:
    model: pulumi.Input[str] | None = pulumi.property("model", default=None)
    source: pulumi.Input[_enums.BakeSource | Literal["auto", "hub", "hf-cache"]] | None = pulumi.property(
        "source", default=None
    )
    to: pulumi.Input[str] | None = pulumi.property("to", default=None)
    base: pulumi.Input[str] | None = pulumi.property("base", default=None)
    include: pulumi.Input[Sequence[pulumi.Input[str]]] | None = pulumi.property("include", default=None)
    exclude: pulumi.Input[Sequence[pulumi.Input[str]]] | None = pulumi.property("exclude", default=None)
    name: pulumi.Input[str] | None = pulumi.property("name", default=None)
    served_name: pulumi.Input[str] | None = pulumi.property("servedName", default=None)
    worker_dependencies: pulumi.Input[str] | None = pulumi.property("workerDependencies", default=None)
    worker_code: pulumi.Input[Sequence[pulumi.Input[str]]] | None = pulumi.property("workerCode", default=None)
    lock: pulumi.Input[str] | None = pulumi.property("lock", default=None)
    max_layer_size: pulumi.Input[str] | None = pulumi.property("maxLayerSize", default=None)
    flows: pulumi.Input[int] | None = pulumi.property("flows", default=None)
    attest: pulumi.Input[bool] | None = pulumi.property("attest", default=None)
    delete_image: pulumi.Input[bool] | None = pulumi.property("deleteImage", default=None)
    image: pulumi.Input[str] | None = pulumi.property("image", default=None)
    digest: pulumi.Input[str] | None = pulumi.property("digest", default=None)
    revision: pulumi.Input[str] | None = pulumi.property("revision", default=None)
    size: pulumi.Input[int] | None = pulumi.property("size", default=None)
    layer_count: pulumi.Input[int] | None = pulumi.property("layerCount", default=None)
    bytes_to_send: pulumi.Input[int] | None = pulumi.property("bytesToSend", default=None)
    bytes_reused: pulumi.Input[int] | None = pulumi.property("bytesReused", default=None)
    baked_at: pulumi.Input[str] | None = pulumi.property("bakedAt", default=None)
    bake_seconds: pulumi.Input[float] | None = pulumi.property("bakeSeconds", default=None)


class BakedImage(pulumi.CustomResource):
    """A model baked into a container image, pushed to a registry or written to an OCI layout; no daemon needed.

    Each weight file is one deterministic, uncompressed layer; what the target has already is never sent again.

    A preview says what will be sent and what is reused, and moves no byte. What it cannot ask (no network, no
    login) is unknown, and one warning says why.

    A new commit, other files, another base or other worker layers are an update under the same tag; the digest
    changes with them, so what uses `image` follows in the same `up`. Another `to` replaces the resource.

    `refresh` notices a tag that is gone or names another image; the next `up` puts it right.

    Cancelling an `up` leaves the tag as it was. Layers that were finished stay, and the next `up` goes on from
    there.

    Logins are never inputs: the Hub's token is HF_TOKEN or a stored `hf auth login`, the registry's login is
    VLLM_RUNPOD_REGISTRY_USERNAME and VLLM_RUNPOD_REGISTRY_PASSWORD, else Docker's config.json. None of it enters
    the state.
    """

    pulumi_type = "runpod:index:BakedImage"

    model: pulumi.Output[str]
    """Where the weights come from: a folder (relative to the project), a Hugging Face Hub repository with an optional
    `@revision`, a bucket (`s3://<bucket>/<prefix>`), or another image (`oci:` or `image:`). A branch or tag is
    looked up anew by every preview and `up`.
    """
    to: pulumi.Output[str]
    """The image to make: `<host>/<repository>:<tag>`, or `oci:<folder>:<tag>` for an OCI layout."""
    base: pulumi.Output[str]
    """Image to build on, best by digest. Its layers are mounted or streamed, never unpacked."""
    include: pulumi.Output[Sequence[str]]
    """Take these files too (globs); named weights are then the only ones."""
    exclude: pulumi.Output[Sequence[str]]
    """Leave these files out (globs)."""
    name: pulumi.Output[str]
    """Folder under `/models`; left out, it is made from the model's id."""
    served_name: pulumi.Output[str] = pulumi.property("servedName")
    """Model name of the OpenAI route; left out, the Hub id or the folder's name."""
    worker_dependencies: pulumi.Output[str] = pulumi.property("workerDependencies")
    """The worker's packages: a `pip install --target` folder, relative to the project."""
    worker_code: pulumi.Output[Sequence[str]] = pulumi.property("workerCode")
    """The worker's own package folders, relative to the project. With them the image starts the worker."""
    lock: pulumi.Output[str]
    """Lock file to keep, relative to the project, usually `weights.lock`; left out, none is kept."""
    max_layer_size: pulumi.Output[str] = pulumi.property("maxLayerSize")
    """Split safetensors files whose layer would be larger, `5GB` or `4GiB` for example; left out, only what the
    registry is known not to take is split.
    """
    attest: pulumi.Output[bool]
    """Whether bill of materials and provenance are attached to the image, where `to` is a registry."""
    delete_image: pulumi.Output[bool] = pulumi.property("deleteImage")
    """Whether the image goes with the resource: its tag, where the registry allows it, and in a layout the layers that
    no other image there needs. In a registry layers stay: its own collection removes what nothing needs.
    """
    image: pulumi.Output[str]
    """The image pinned by digest, for a template's or endpoint's `image`. Known in a preview where nothing has to be
    read to tell.
    """
    digest: pulumi.Output[str]
    """Digest of the image's manifest."""
    revision: pulumi.Output[str]
    """The model's commit; of a folder, the digest of its content."""
    size: pulumi.Output[int]
    """Bytes of all layers."""
    layer_count: pulumi.Output[int] = pulumi.property("layerCount")
    """Number of layers, the base's included."""
    bytes_to_send: pulumi.Output[int] = pulumi.property("bytesToSend")
    """In a preview the most that `up` will send; afterwards what the last bake sent."""
    bytes_reused: pulumi.Output[int] = pulumi.property("bytesReused")
    """In a preview what is at the target for certain; afterwards what the last bake did not have to send."""
    baked_at: pulumi.Output[str] = pulumi.property("bakedAt")
    """When the last bake ended, in UTC."""
    bake_seconds: pulumi.Output[float] = pulumi.property("bakeSeconds")
    """How long the last bake took."""

    def __init__(
        self,
        resource_name: str,
        *,
        model: pulumi.Input[str],
        to: pulumi.Input[str],
        source: pulumi.Input[_enums.BakeSource | Literal["auto", "hub", "hf-cache"]] | None = None,
        base: pulumi.Input[str] | None = None,
        include: pulumi.Input[Sequence[pulumi.Input[str]]] | None = None,
        exclude: pulumi.Input[Sequence[pulumi.Input[str]]] | None = None,
        name: pulumi.Input[str] | None = None,
        served_name: pulumi.Input[str] | None = None,
        worker_dependencies: pulumi.Input[str] | None = None,
        worker_code: pulumi.Input[Sequence[pulumi.Input[str]]] | None = None,
        lock: pulumi.Input[str] | None = None,
        max_layer_size: pulumi.Input[str] | None = None,
        flows: pulumi.Input[int] | None = None,
        attest: pulumi.Input[bool] | None = None,
        delete_image: pulumi.Input[bool] | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """A model baked into a container image, pushed to a registry or written to an OCI layout; no daemon needed.

        :param resource_name: The resource's name in this program.
        :param model: Where the weights come from: a folder (relative to the project), a Hugging Face Hub repository
            with an optional `@revision`, a bucket (`s3://<bucket>/<prefix>`), or another image (`oci:` or
            `image:`). A branch or tag is looked up anew by every preview and `up`.
        :param to: The image to make: `<host>/<repository>:<tag>`, or `oci:<folder>:<tag>` for an OCI layout.
        :param source: Where a repository id is looked up: a folder of that name, else the Hub (`auto`); the Hub; or
            this machine's Hugging Face cache, without a network. Buckets and images are named by `model` itself.
            One of `auto`, `hub`, `hf-cache`.
        :param base: Image to build on, best by digest. Its layers are mounted or streamed, never unpacked.
        :param include: Take these files too (globs); named weights are then the only ones.
        :param exclude: Leave these files out (globs).
        :param name: Folder under `/models`; left out, it is made from the model's id.
        :param served_name: Model name of the OpenAI route; left out, the Hub id or the folder's name.
        :param worker_dependencies: The worker's packages: a `pip install --target` folder, relative to the project.
        :param worker_code: The worker's own package folders, relative to the project. With them the image starts
            the worker.
        :param lock: Lock file to keep, relative to the project, usually `weights.lock`; left out, none is kept.
        :param max_layer_size: Split safetensors files whose layer would be larger, `5GB` or `4GiB` for example;
            left out, only what the registry is known not to take is split.
        :param flows: Layers in flight at once. From 1 to 16.
        :param attest: Whether bill of materials and provenance are attached to the image, where `to` is a registry.
        :param delete_image: Whether the image goes with the resource: its tag, where the registry allows it, and in
            a layout the layers that no other image there needs. In a registry layers stay: its own collection
            removes what nothing needs.
        :param opts: Options of the resource.
        """
        properties = _registration.properties(
            _Properties,
            f"BakedImage {resource_name!r}",
            model=model,
            to=to,
            source=source,
            base=base,
            include=include,
            exclude=exclude,
            name=name,
            served_name=served_name,
            worker_dependencies=worker_dependencies,
            worker_code=worker_code,
            lock=lock,
            max_layer_size=max_layer_size,
            flows=flows,
            attest=attest,
            delete_image=delete_image,
        )
        super().__init__(self.pulumi_type, resource_name, properties, opts)

    @staticmethod
    def get(resource_name: str, id: pulumi.Input[str], opts: pulumi.ResourceOptions | None = None) -> "BakedImage":
        """Look at an existing BakedImage by its id, without managing it."""
        resource = BakedImage.__new__(BakedImage)
        options = pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(id=id))
        properties = _registration.properties(_Properties)
        pulumi.CustomResource.__init__(resource, BakedImage.pulumi_type, resource_name, properties, options)
        return resource


__all__ = [
    "BakedImage",
]
