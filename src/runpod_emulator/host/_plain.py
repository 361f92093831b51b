"""A worker without namespaces: a process group of this machine that finds the image by rewritten paths.

For machines that refuse user namespaces. Only paths in Env, Entrypoint, Cmd and WorkingDir that begin with a folder of
the image, a mount target or /runpod-volume are rewritten to where these are on the host. What a program has built in
is not; the image's User is not taken over; the worker sees the host's files and could write to the image's.
"""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from runpod_emulator.config import Mount
from runpod_emulator.host._bubblewrap import VOLUME, Place
from runpod_emulator.host._program import Program
from runpod_emulator.host._tree import Loop, inside

WARNING = (
    "no namespaces on this machine: the worker shares its files and sees the host; "
    "paths of the image are rewritten in its environment and command only"
)
_HOSTS_OWN = frozenset(
    {"bin", "boot", "dev", "etc", "home", "lib", "lib32", "lib64", "libx32", "lost+found", "media", "mnt", "proc"}
    | {"root", "run", "sbin", "sys", "tmp", "usr", "var"}
)
"""Folders of an image that are useless, or harmful, in place of the host's."""
_DEEPER = frozenset({"opt", "srv"})
"""Shared on every host as well: the image's folders below them are taken one by one."""
_BEFORE = r"(?<![A-Za-z0-9_./~@%+-])"
_AFTER = r"(?=/|$|[^A-Za-z0-9_.@%+-])"


def prefixes(root: Path, mounts: Sequence[Mount], volume: Path | None) -> dict[str, str]:
    """In-image path -> host path, for every folder that only the image has."""
    found: dict[str, str] = {}
    for child in sorted(root.iterdir()):
        if child.name in _HOSTS_OWN:
            continue
        if child.name in _DEEPER and child.is_dir() and not child.is_symlink():
            found |= {f"/{child.name}/{below.name}": str(below) for below in sorted(child.iterdir())}
        else:
            found[f"/{child.name}"] = str(child)
    for mount in mounts:
        found["/" + mount.target.strip("/")] = str(mount.source.resolve())
    if volume is not None:
        found[VOLUME] = str(volume)
    return {path: target for path, target in found.items() if path != target}


def rewritten(text: str, paths: Mapping[str, str]) -> str:
    """`text` with every in-image path replaced, the longest one first; never the middle of another path."""
    if not paths:
        return text
    any_of = "|".join(re.escape(path) for path in sorted(paths, key=len, reverse=True))
    return re.sub(f"{_BEFORE}(?:{any_of}){_AFTER}", lambda match: paths[match[0]], text)


def program_for(place: Place, program: Program) -> tuple[list[str], dict[str, str], Path]:
    """Command, environment and working directory on the host."""
    paths = prefixes(place.root, place.mounts, place.volume)
    env = {name: rewritten(value, paths) for name, value in program.env.items()}
    for name, folder in (("HOME", "home"), ("TMPDIR", "tmp")):
        own = place.scratch / folder
        own.mkdir(mode=0o700, exist_ok=True)
        # Not the home of whoever runs the emulator.
        if name == "HOME" or name not in env:
            env[name] = str(own)
    # The image's folders are shared between workers and must stay what they are.
    env.setdefault("PYTHONPYCACHEPREFIX", str(place.scratch / "tmp" / "pycache"))
    argv = [rewritten(word, paths) for word in program.argv]
    return argv, env, _working_dir(place, program, paths)


def environment(env: Mapping[str, str]) -> bytes:
    """The worker's environment, for a pipe: the supervisor itself does not run with it."""
    return b"".join(os.fsencode(f"{name}={value}") + b"\0" for name, value in env.items())


def _working_dir(place: Place, program: Program, paths: Mapping[str, str]) -> Path:
    """The image's folder of that name; else, and for /, the worker's own: nothing is written next to other things."""
    mapped = rewritten(program.working_dir, paths)
    if mapped != program.working_dir:
        return Path(mapped)
    try:
        found = inside(place.root, program.working_dir) if program.working_dir != "/" else None
    except Loop:
        found = None
    return found if found is not None and found.is_dir() else place.scratch / "tmp"
