"""RegistryCredential: user name and password with which workers pull a private image."""

from pulumi_runpod.declarations._model import Field, Replace, Resource, Text

REGISTRY_CREDENTIAL = Resource(
    name="RegistryCredential",
    doc="A container registry's user name and password, kept by RunPod and used when a worker pulls its image.",
    fields=(
        Field("name", Text(min_length=1), "Display name.", replace=Replace.ALWAYS, autoname=True, ours="default"),
        Field(
            "username",
            Text(min_length=1),
            "User name at the registry.",
            required=True,
            replace=Replace.ALWAYS,
            write_only=True,
        ),
        Field(
            "password",
            Text(min_length=1),
            "Password or token at the registry.",
            required=True,
            secret=True,
            replace=Replace.ALWAYS,
            write_only=True,
        ),
    ),
    path="/v2/registries",
    typescript="""\
const credential = new runpod.RegistryCredential("ghcr", {
    username: "octocat",
    password: new pulumi.Config().requireSecret("registryPassword"),
});
export const credentialId = credential.id;
""",
    example="""\
credential = runpod.RegistryCredential(
    "ghcr", username="octocat", password=pulumi.Config().require_secret("registryPassword")
)
""",
    notes=(
        "RunPod offers no update: any change makes a new credential, moves its users over, then deletes the old one.",
        "User name and password are never given back: a change made elsewhere cannot be seen, and an imported "
        "credential is taken to have the ones the program names.",
    ),
)
