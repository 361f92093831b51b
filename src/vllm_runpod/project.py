"""Where things are in a project folder, and what its stack files say."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from vllm_runpod.errors import CommandError, NotAProject

WORKER_CODE = ("images/vllm-baked/vllm_worker", "src/vllm_options", "src/redaction")
"""Package folders of the worker's code layer, relative to the project."""
LOCAL_STACK = "local"
"""The one stack that runs against the emulator on this machine."""


@dataclass(frozen=True)
class Project:
    """A folder with a Pulumi.yaml, and the ignored `.local` folder beside it."""

    root: Path
    name: str

    @property
    def local(self) -> Path:
        return self.root / ".local"

    @property
    def emulator_state(self) -> Path:
        return self.local / "emulator"

    @property
    def api_key_file(self) -> Path:
        """Where the emulator keeps its key."""
        return self.emulator_state / "api-key"

    @property
    def emulator_log(self) -> Path:
        return self.local / "emulator.log"

    @property
    def backend(self) -> Path:
        """Root of the file backend for stack `local`."""
        return self.local / "pulumi"

    @property
    def vllm_environment(self) -> Path:
        return self.local / "envs" / "vllm"

    @property
    def worker_dependencies(self) -> Path:
        return self.local / "worker-deps"

    @property
    def timings(self) -> Path:
        """Seconds that each set-up step of the last `make up` took (written by tools/setup.py)."""
        return self.local / "timings.json"

    def stack_file(self, stack: str) -> Path:
        return self.root / f"Pulumi.{stack}.yaml"

    def config(self, stack: str) -> dict[str, Any]:
        """The stack's configuration as its file has it: full key -> value. Raises CommandError for a bad file."""
        path = self.stack_file(stack)
        try:
            document = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        except FileNotFoundError as error:
            known = ", ".join(self.stacks()) or "none"
            raise CommandError(f"there is no {path.name}; stacks here: {known}") from error
        except OSError as error:
            raise CommandError(f"{path.name} cannot be read: {error.strerror}") from error
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise CommandError(f"{path.name} is not valid YAML: {_yaml_mistake(error)}") from error
        config = document.get("config") if isinstance(document, dict) else None
        if config is not None and not isinstance(config, dict):
            raise CommandError(f"{path.name}: `config` must be a map of keys to values")
        return dict(config or {})

    def stacks(self) -> list[str]:
        return sorted(path.name.split(".")[1] for path in self.root.glob("Pulumi.*.yaml"))

    def emulator_address(self) -> tuple[str, int]:
        """Host and port of the emulator, from `runpod:apiUrl` of stack `local`: the one place that names them."""
        url = str(self.config(LOCAL_STACK).get("runpod:apiUrl", ""))
        parts = urlsplit(url)
        try:
            port = parts.port
        except ValueError:
            port = None
        if parts.scheme != "http" or parts.hostname not in ("127.0.0.1", "localhost") or not port:
            raise CommandError(
                f"Pulumi.local.yaml: runpod:apiUrl is `{url}`; stack `local` talks to the emulator only: "
                "set it to http://127.0.0.1:<port>"
            )
        return parts.hostname, port


def find_project(start: Path | None = None) -> Project:
    """The project that `start` (default: the working directory) is in. Raises NotAProject."""
    folder = (start or Path.cwd()).resolve()
    for candidate in _upwards(folder):
        path = candidate / "Pulumi.yaml"
        if path.is_file():
            try:
                document = yaml.safe_load(path.read_text(encoding="utf-8"))
            except OSError as error:
                raise NotAProject(f"{path} cannot be read: {error.strerror}") from error
            except (yaml.YAMLError, UnicodeDecodeError) as error:
                raise NotAProject(f"{path} is not valid YAML: {_yaml_mistake(error)}") from error
            if not isinstance(document, dict) or not isinstance(document.get("name"), str):
                raise NotAProject(f"{path} has no `name`")
            return Project(candidate, document["name"])
    raise NotAProject(f"no Pulumi.yaml in {folder} or above; run this in the project's folder or give --cwd")


def _yaml_mistake(error: yaml.YAMLError | UnicodeDecodeError) -> str:
    """Where the mistake is and what it is, in one line."""
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        mark = error.problem_mark
        return f"line {mark.line + 1}, column {mark.column + 1}: {error.problem}"
    return str(error).splitlines()[0]


def _upwards(folder: Path) -> Iterator[Path]:
    yield folder
    yield from folder.parents
