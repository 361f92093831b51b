"""Pulumi.yaml: where the project is, how its program is run, where its state and its plugins are."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from pulumi_embedded._errors import NotSupported, ProjectError, unreadable

PROJECT_FILE = "Pulumi.yaml"


@dataclass(frozen=True)
class Project:
    """The project, with every path absolute."""

    name: str
    root: Path
    main: str
    backend_url: str
    virtualenv: Path | None
    config: Mapping[str, Any] = field(default_factory=dict)
    plugin_paths: Mapping[str, Path] = field(default_factory=dict)
    stack_config_dir: str = ""

    @property
    def program(self) -> Path:
        """The program's folder or file."""
        return (self.root / self.main).resolve() if self.main else self.root

    def python(self) -> Path:
        """The interpreter that runs the program; ProjectError when its environment is not there."""
        if self.virtualenv is None:
            return Path(os.environ.get("PULUMI_PYTHON_CMD") or _own_python())
        return interpreter_of(self.virtualenv, f"{PROJECT_FILE}: runtime.options.virtualenv")

    def stack_file(self, stack: str) -> Path:
        """`Pulumi.<stack>.yaml`."""
        return self.root / self.stack_config_dir / f"Pulumi.{stack}.yaml"


def _own_python() -> str:
    import sys

    return sys.executable


def interpreter_of(virtualenv: Path, named_by: str) -> Path:
    """A virtual environment's interpreter."""
    python = virtualenv / "bin" / "python"
    if not python.exists():
        raise ProjectError(
            f"{named_by}: there is no Python environment at {virtualenv}; "
            "make it with `python3 -m venv`, or in a clone of vllm-runpod run `make setup`"
        )
    return python


def find_project(start: Path) -> Path:
    """The nearest Pulumi.yaml at or above `start`."""
    start = start.resolve()
    for folder in (start, *start.parents):
        for name in (PROJECT_FILE, "Pulumi.yml"):
            if (folder / name).is_file():
                return folder / name
    raise ProjectError(f"no {PROJECT_FILE} project file found in {start} or above it")


def _section(data: Mapping[str, Any], key: str, file: Path) -> dict[str, Any]:
    value = data.get(key) or {}
    if not isinstance(value, dict):
        raise ProjectError(f"{file}: `{key}` must be a mapping")
    return value


def load_project(start: Path) -> Project:
    """Read the project at or above `start`; what this engine cannot honour is refused by its key."""
    file = find_project(start)
    try:
        data = yaml.safe_load(file.read_text())
    except (OSError, UnicodeError, yaml.YAMLError) as error:
        raise ProjectError(unreadable(file, error)) from error
    if not isinstance(data, dict) or not isinstance(data.get("name"), str):
        raise ProjectError(f"{file}: `name` is missing")
    runtime = data.get("runtime")
    name, options = (runtime, {}) if isinstance(runtime, str) else _runtime(runtime, file)
    if name != "python":
        raise NotSupported(f"the runtime `{name}` ({file}: runtime)")
    if options.get("toolchain", "pip") != "pip":
        raise NotSupported(f"the toolchain `{options['toolchain']}` ({file}: runtime.options.toolchain)")
    plugins = _section(data, "plugins", file)
    for kind in ("analyzers", "languages"):
        if plugins.get(kind):
            raise NotSupported(f"`plugins.{kind}` ({file})")
    virtualenv = options.get("virtualenv")
    return Project(
        name=data["name"],
        root=file.parent,
        main=str(data.get("main") or ""),
        backend_url=str(_section(data, "backend", file).get("url") or ""),
        virtualenv=(file.parent / str(virtualenv)) if virtualenv else None,
        config=_section(data, "config", file),
        plugin_paths=_plugins(plugins, file),
        stack_config_dir=str(data.get("stackConfigDir") or ""),
    )


def _runtime(runtime: Any, file: Path) -> tuple[Any, dict[str, Any]]:
    if not isinstance(runtime, dict):
        raise ProjectError(f"{file}: `runtime` is missing")
    return runtime.get("name"), _section(runtime, "options", file)


def _plugins(plugins: Mapping[str, Any], file: Path) -> dict[str, Path]:
    paths: dict[str, Path] = {}
    if not isinstance(plugins.get("providers") or [], list):
        raise ProjectError(f"{file}: plugins.providers must be a list")
    for index, entry in enumerate(plugins.get("providers") or ()):
        if not isinstance(entry, dict) or not entry.get("name") or not entry.get("path"):
            raise ProjectError(f"{file}: plugins.providers[{index}] needs `name` and `path`")
        paths[str(entry["name"])] = (file.parent / str(entry["path"])).resolve()
    return paths
