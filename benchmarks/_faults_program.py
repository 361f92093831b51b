"""The Pulumi project of one deployment: a folder, a program that reads its wish, a stack with secrets of its own."""

import json
import os
from pathlib import Path

from benchmarks._faults_story import Wish

ROOT = Path(__file__).resolve().parents[1]
PLUGIN = ROOT / "src" / "pulumi_runpod" / "provider"
ENVIRONMENT = ROOT / ".local" / "envs" / "plugin"
"""The plugin's own; it has the SDK, which is all that a program needs."""
STACK = "dev"
PASSPHRASE = "PassphraseThatOnlyTheEngineKnows77"

_PROGRAM = """
import json
import sys
from pathlib import Path

sys.path.insert(0, SOURCE)

import pulumi
import pulumi_runpod as runpod

wish = json.loads((Path(__file__).parents[1] / "wish.json").read_text())


def env(item):
    return {**item["env"], **{key: pulumi.Output.secret(value) for key, value in item["secret_env"].items()}}


volumes = {
    item["name"]: runpod.NetworkVolume(
        item["name"], name=item["label"], size=item["size"], data_center=item["data_center"]
    )
    for item in wish["volumes"]
}
credentials = {
    item["name"]: runpod.RegistryCredential(
        item["name"], name=item["label"], username=item["username"], password=pulumi.Output.secret(item["password"])
    )
    for item in wish["credentials"]
}
templates = {
    item["name"]: runpod.Template(
        item["name"],
        name=item["label"],
        image=item["image"],
        cmd=[*item["cmd"][:-1], pulumi.Output.secret(item["cmd"][-1])] if item["cmd"] else None,
        env=env(item),
        registry=credentials[item["registry"]].id if item["registry"] else None,
    )
    for item in wish["templates"]
}
for item in wish["endpoints"]:
    given = {}
    if item["template"]:
        given["template"] = templates[item["template"]]
    if item["image"]:
        given["image"] = item["image"]
    if item["registry"]:
        given["registry"] = credentials[item["registry"]].id
    if item["pools"]:
        given["gpu"] = {"pools": item["pools"]}
    else:
        given["cpu"] = [{"id": "cpu3c", "vcpu_count": 2}]
    endpoint = runpod.Endpoint(
        item["name"],
        name=item["label"],
        type=item["type"],
        workers={"min": 0, "max": 0},
        scaling=(
            {"type": "QUEUE_DELAY", "queue_delay": 2.0}
            if item["queue_delay"]
            else {"type": "REQUEST_COUNT", "request_count": 4}
        ),
        network_volumes=[volumes[name].id for name in item["volumes"]],
        timeout=item["timeout"],
        env=env(item),
        **given,
    )
    pulumi.export(item["name"], endpoint.id)
    pulumi.export(f"{item['name']}-env", endpoint.env)
"""


class Project:
    """A deployment's folder: `program/` with the Pulumi project, `state/` with everything the engine writes."""

    def __init__(self, folder: Path, url: str, key: str, key_from: str, salt: str) -> None:
        self.folder = folder
        self.program = folder / "program"
        self.state = folder / "state"
        self.versions = folder / "versions"
        """Each file that the engine put in its place, under a second name."""
        for made in (self.program, self.state, self.versions):
            made.mkdir(parents=True)
        (self.program / "__main__.py").write_text(_PROGRAM.replace("SOURCE", repr(str(ROOT / "src"))))
        (self.program / "Pulumi.yaml").write_text(
            "name: faults\n"
            f"runtime: {{name: python, options: {{toolchain: pip, virtualenv: {ENVIRONMENT}}}}}\n"
            f"backend: {{url: 'file://{self.state}'}}\n"
            f"plugins: {{providers: [{{name: runpod, path: {PLUGIN}}}]}}\n"
        )
        config = [f"encryptionsalt: {salt}", "config:", f"  runpod:apiUrl: {url}", f"  runpod:jobsUrl: {url}/v2"]
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "NO_COLOR": "1",
            "GRPC_VERBOSITY": "NONE",
            "PULUMI_CONFIG_PASSPHRASE": PASSPHRASE,
        }
        self.key_may_be_in_environment = key_from == "environment"
        if key_from == "environment":
            self.environment["RUNPOD_API_KEY"] = key
        elif key_from == "file":
            (self.program / "key").write_text(key)
            config.append("  runpod:apiKeyFile: key")
        else:
            config.append(f"  runpod:apiKey: {{secure: '{_sealed(key, salt)}'}}")
        (self.program / f"Pulumi.{STACK}.yaml").write_text("\n".join(config) + "\n")

    def set(self, wish: Wish) -> None:
        """What the program is to declare from now on."""
        (self.folder / "wish.json").write_text(json.dumps(wish))

    def create_stack(self) -> None:
        """Make the empty stack."""
        from pulumi_embedded import open_stack

        open_stack(STACK, self.program).create()


def new_salt() -> str:
    """An encryption salt; its key stays known to this process and to those forked from it."""
    from pulumi_embedded._crypto import PassphraseCrypter

    return PassphraseCrypter.create(PASSPHRASE).state


def _sealed(text: str, salt: str) -> str:
    from pulumi_embedded._crypto import PassphraseCrypter

    return PassphraseCrypter(salt, PASSPHRASE).encrypt(text)
