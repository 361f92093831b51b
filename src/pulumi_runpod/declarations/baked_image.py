"""BakedImage: a model's files as a container image, made by this provider itself with the room `weight_bakery`."""

from pulumi_runpod.declarations._model import Field, Flag, Integer, ListOf, Number, Replace, Resource, Text

BAKED_IMAGE = Resource(
    name="BakedImage",
    doc="A model baked into a container image, pushed to a registry or written to an OCI layout; no daemon needed.",
    fields=(
        Field(
            "model",
            Text(min_length=1),
            "Where the weights come from: a folder (relative to the project), a Hugging Face Hub repository with an "
            "optional `@revision`, a bucket (`s3://<bucket>/<prefix>`), or another image (`oci:` or `image:`). A "
            "branch or tag is looked up anew by every preview and `up`.",
            required=True,
        ),
        Field(
            "source",
            Text(enum=("auto", "hub", "hf-cache"), enum_name="BakeSource"),
            "Where a repository id is looked up: a folder of that name, else the Hub (`auto`); the Hub; or this "
            "machine's Hugging Face cache, without a network. Buckets and images are named by `model` itself.",
            default="auto",
            provider_only=True,
        ),
        Field(
            "to",
            Text(min_length=1),
            "The image to make: `<host>/<repository>:<tag>`, or `oci:<folder>:<tag>` for an OCI layout.",
            required=True,
            replace=Replace.ALWAYS,
        ),
        Field(
            "base",
            Text(),
            "Image to build on, best by digest. Its layers are mounted or streamed, never unpacked.",
            clear="",
        ),
        Field(
            "include",
            ListOf(Text(min_length=1), ordered=False),
            "Take these files too (globs); named weights are then the only ones.",
            clear=[],
        ),
        Field("exclude", ListOf(Text(min_length=1), ordered=False), "Leave these files out (globs).", clear=[]),
        Field("name", Text(), "Folder under `/models`; left out, it is made from the model's id.", clear=""),
        Field(
            "served_name",
            Text(),
            "Model name of the OpenAI route; left out, the Hub id or the folder's name.",
            clear="",
        ),
        Field(
            "worker_dependencies",
            Text(),
            "The worker's packages: a `pip install --target` folder, relative to the project.",
            clear="",
        ),
        Field(
            "worker_code",
            ListOf(Text(min_length=1)),
            "The worker's own package folders, relative to the project. With them the image starts the worker.",
            clear=[],
        ),
        Field(
            "lock",
            Text(),
            "Lock file to keep, relative to the project, usually `weights.lock`; left out, none is kept.",
            clear="",
        ),
        Field(
            "max_layer_size",
            Text(),
            "Split safetensors files whose layer would be larger, `5GB` or `4GiB` for example; left out, only what the "
            "registry is known not to take is split.",
            clear="",
        ),
        Field("flows", Integer(1, 16), "Layers in flight at once.", default=4, provider_only=True),
        Field(
            "attest",
            Flag(),
            "Whether bill of materials and provenance are attached to the image, where `to` is a registry.",
            default=True,
        ),
        Field(
            "delete_image",
            Flag(),
            "Whether the image goes with the resource: its tag, where the registry allows it, and in a layout the "
            "layers that no other image there needs. In a registry layers stay: its own collection removes what nothing"
            " needs.",
            default=False,
        ),
        Field(
            "image",
            Text(),
            "The image pinned by digest, for a template's or endpoint's `image`. Known in a preview where nothing has "
            "to be read to tell.",
            computed=True,
        ),
        Field("digest", Text(), "Digest of the image's manifest.", computed=True),
        Field("revision", Text(), "The model's commit; of a folder, the digest of its content.", computed=True),
        Field("size", Integer(), "Bytes of all layers.", computed=True),
        Field("layer_count", Integer(), "Number of layers, the base's included.", computed=True),
        Field(
            "bytes_to_send",
            Integer(),
            "In a preview the most that `up` will send; afterwards what the last bake sent.",
            computed=True,
        ),
        Field(
            "bytes_reused",
            Integer(),
            "In a preview what is at the target for certain; afterwards what the last bake did not have to send.",
            computed=True,
        ),
        Field("baked_at", Text(), "When the last bake ended, in UTC.", computed=True),
        Field("bake_seconds", Number(), "How long the last bake took.", computed=True),
    ),
    path="",
    typescript="""\
const image = new runpod.BakedImage("weights", { model: "./model", to: "oci:.local/images/model:v1" });
const template = new runpod.Template("baked-worker", { image: image.image });
export const digest = image.digest;
""",
    example="""\
image = runpod.BakedImage("weights", model="./model", to="oci:.local/images/model:v1", lock="weights.lock")
template = runpod.Template("baked-worker", image=image.image)
pulumi.export("bytesToSend", image.bytes_to_send)
""",
    notes=(
        "Each weight file is one deterministic, uncompressed layer; what the target has already is never sent again.",
        "A preview says what will be sent and what is reused, and moves no byte. What it cannot ask (no network, no "
        "login) is unknown, and one warning says why.",
        "A new commit, other files, another base or other worker layers are an update under the same tag; the digest "
        "changes with them, so what uses `image` follows in the same `up`. Another `to` replaces the resource.",
        "`refresh` notices a tag that is gone or names another image; the next `up` puts it right.",
        "Cancelling an `up` leaves the tag as it was. Layers that were finished stay, and the next `up` goes on from "
        "there.",
        "Logins are never inputs: the Hub's token is HF_TOKEN or a stored `hf auth login`, the registry's login is "
        "VLLM_RUNPOD_REGISTRY_USERNAME and VLLM_RUNPOD_REGISTRY_PASSWORD, else Docker's config.json. None of it enters "
        "the state.",
    ),
)
