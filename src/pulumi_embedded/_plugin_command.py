"""How a resource plugin is found and started.

A plugin is the folder that Pulumi.yaml's plugins.providers names (PulumiPlugin.yaml says with which environment it
runs), else `pulumi-resource-<name>` on PATH.
"""

import os
import shutil
from pathlib import Path

import yaml

from pulumi_embedded._errors import NotSupported, PluginError, ProjectError
from pulumi_embedded._project import Project, interpreter_of
from pulumi_embedded._spawn import Spawned, spawn, without_passphrase


def spawn_plugin(project: Project, name: str, engine_address: str) -> Spawned:
    """Start a plugin's process."""
    command, _ = plugin_command(project, name)
    return spawn(
        name,
        [*command, engine_address],
        cwd=project.program if project.program.is_dir() else project.program.parent,
        env={**without_passphrase(os.environ), "PULUMI_PROJECT": project.name},
    )


def plugin_command(project: Project, name: str) -> tuple[list[str], Path]:
    """The command that starts the plugin, and the folder it is told it lives in."""
    folder = project.plugin_paths.get(name)
    if folder is None:
        found = shutil.which(f"pulumi-resource-{name}")
        if found is None:
            raise PluginError(
                f"no resource plugin 'pulumi-resource-{name}' found: name its folder in Pulumi.yaml "
                f"(plugins.providers), or put it on PATH (pulumi_embedded downloads no plugins)"
            )
        return [found], Path(found).parent
    if folder.is_file() and os.access(folder, os.X_OK):
        return [str(folder)], folder.parent
    executable = folder / f"pulumi-resource-{name}"
    if executable.is_file():
        return [str(executable)], folder
    manifest = folder / "PulumiPlugin.yaml"
    if not manifest.is_file():
        raise ProjectError(
            f"Pulumi.yaml: plugins.providers: {folder} holds neither {executable.name} nor PulumiPlugin.yaml"
        )
    return _python_command(manifest), folder


def _python_command(manifest: Path) -> list[str]:
    try:
        data = yaml.safe_load(manifest.read_text())
        runtime = data["runtime"]
        runtime_name, options = (runtime, {}) if isinstance(runtime, str) else (runtime["name"], runtime.get("options"))
        dict(options or {})
    except (OSError, UnicodeError, yaml.YAMLError, KeyError, TypeError, ValueError) as error:
        raise ProjectError(f"{manifest} cannot be used: no readable `runtime` in it") from error
    if runtime_name != "python":
        raise NotSupported(f"plugins with the runtime `{runtime_name}` ({manifest})")
    options = options or {}
    if options.get("toolchain", "pip") != "pip":
        raise NotSupported(f"the toolchain `{options['toolchain']}` ({manifest})")
    if not (manifest.parent / "__main__.py").is_file():
        raise NotSupported(f"plugins without a __main__.py ({manifest.parent})")
    # The language host assumes `venv` beside the manifest when it names none.
    environment = manifest.parent / str(options.get("virtualenv") or "venv")
    return [str(interpreter_of(environment, f"{manifest}: runtime.options.virtualenv")), "-u", str(manifest.parent)]
