"""What a worker runs: the image's config with the endpoint's wishes laid over it, as container engines do.

Precedence of the environment: the image's Env, over it `ContainerSpec.env`; then PATH, HOME and HOSTNAME where nobody
set them. An entrypoint of the endpoint replaces the image's Entrypoint *and* Cmd; a cmd replaces Cmd.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from runpod_emulator.host._documents import Image
from runpod_emulator.host._errors import BadImage, StartFailed
from runpod_emulator.host._tree import Loop, inside
from runpod_emulator.model import ContainerSpec

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
MAX_ENVIRONMENT_BYTES = 1024 * 1024


@dataclass(frozen=True)
class User:
    """As the image names it. Only the ids are taken over: no supplementary groups (our assumption)."""

    uid: int
    gid: int
    home: str


@dataclass(frozen=True)
class Program:
    argv: tuple[str, ...]
    env: Mapping[str, str]
    working_dir: str
    user: User


def program_of(image: Image, root: Path, spec: ContainerSpec) -> Program:
    """Raises StartFailed or BadImage."""
    config = image.config
    own = (*config.entrypoint, *(spec.cmd or config.cmd))
    argv = (*spec.entrypoint, *spec.cmd) if spec.entrypoint else own
    if not argv:
        raise StartFailed(
            image.reference, "neither the image nor the endpoint names a command", "set entrypoint or cmd"
        )
    user = _user(image, root)
    env = {**dict(config.env), **spec.env}
    env.setdefault("PATH", DEFAULT_PATH)
    env.setdefault("HOME", user.home)
    env.setdefault("HOSTNAME", spec.worker_id)
    for name, value in env.items():
        if not name or "=" in name or "\0" in name or "\0" in value:
            raise StartFailed(image.reference, f"environment variable {name!r} cannot be set", "rename it")
    if sum(len(name) + len(value) + 2 for name, value in env.items()) > MAX_ENVIRONMENT_BYTES:
        raise StartFailed(image.reference, "the environment is larger than 1 MiB", "make it smaller")
    working_dir = "/" + config.working_dir.strip("/")
    if ".." in working_dir.split("/"):
        raise BadImage(image.reference, f"WorkingDir {config.working_dir!r} in its config has ..")
    return Program(argv, env, working_dir, user)


def _user(image: Image, root: Path) -> User:
    """`User` of the config: empty, uid, uid:gid, name, name:group; names are looked up inside the image."""
    wanted, _, group = image.config.user.partition(":")
    accounts = _table(image, root, "etc/passwd")
    if not wanted or wanted.isdecimal():
        uid = int(wanted or 0)
        account = next((row for row in accounts if len(row) > 5 and row[2] == str(uid)), None)
    else:
        account = next((row for row in accounts if len(row) > 5 and row[0] == wanted), None)
        if account is None or not account[2].isdecimal():
            raise StartFailed(image.reference, f"its user {wanted!r} is not in its /etc/passwd", "name a user that is")
        uid = int(account[2])
    gid = int(account[3]) if account is not None and account[3].isdecimal() else 0
    if group.isdecimal():
        gid = int(group)
    elif group:
        row = next((row for row in _table(image, root, "etc/group") if len(row) > 2 and row[0] == group), None)
        if row is None or not row[2].isdecimal():
            raise StartFailed(image.reference, f"its group {group!r} is not in its /etc/group", "name a group that is")
        gid = int(row[2])
    if uid >= 2**32 - 1 or gid >= 2**32 - 1:
        raise StartFailed(image.reference, f"its user {image.config.user!r} is out of range", "use a smaller id")
    home = account[5] if account is not None and account[5].startswith("/") else "/root" if uid == 0 else "/"
    return User(uid, gid, home)


def _table(image: Image, root: Path, path: str) -> list[list[str]]:
    try:
        found = inside(root, path)
        text = found.read_text(encoding="utf-8", errors="replace") if found is not None and found.is_file() else ""
    except (Loop, OSError) as error:
        raise BadImage(image.reference, f"its /{path} cannot be read: {error}") from error
    return [line.split(":") for line in text.splitlines() if line and not line.startswith("#")]
