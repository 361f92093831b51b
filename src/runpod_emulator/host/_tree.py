"""An image's root, made from its layers: lowest first, by the image specification's rules for changesets.

Files are hard links to the layers' content, so that images share what they have in common and a second image costs
only what is new. Nobody writes to these files: a worker sees the root through an overlay.

No entry leaves the root. A parent folder that is a symlink is followed as inside the worker, `/` being the root and
`..` ending there; the last part of a path is never followed. Not applied: owners, extended attributes, setuid bits.
"""

import errno
import os
import shutil
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

from runpod_emulator.host._errors import BadImage, disk_errors
from runpod_emulator.host._unpack import WHITEOUT, Cancelled, Entry, content_of, read_index

OPAQUE = ".wh..wh..opq"
_MAX_LINKS = 40
_MISSING_PARENT_MODE = 0o755


class LayerIncomplete(Exception):
    """A layer's content is not what its index says: the disk lost it (a power cut). To be unpacked again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        super().__init__(f"{folder} is incomplete")


class Loop(Exception):
    """Too many symlinks, or a file where a folder is needed."""


def inside(root: Path, path: str, *, create: bool = False) -> Path | None:
    """Where `path` is for a program whose / is `root`, all symlinks followed; None when it does not exist.

    With `create`, missing folders are made. Raises Loop when it cannot be walked.
    """
    done, exists = _walk(root, path, create=create)
    return root.joinpath(*done) if exists else None


def settled(root: Path, path: str) -> str:
    """`path` as seen from inside with every symlink that exists resolved, whether or not the end of it exists.

    For whoever creates things in a root from outside: no symlink is left that could lead out. Raises Loop.
    """
    done, _ = _walk(root, path, create=False)
    return "/" + "/".join(done)


def _walk(root: Path, path: str, *, create: bool) -> tuple[list[str], bool]:
    done: list[str] = []
    todo = [part for part in path.split("/") if part not in ("", ".")][::-1]
    links, exists = 0, True
    while todo:
        part = todo.pop()
        if part == "..":
            del done[-1:]
            continue
        here = root.joinpath(*done, part)
        try:
            mode = here.lstat().st_mode
        except FileNotFoundError:
            exists = create
            if create:
                here.mkdir(_MISSING_PARENT_MODE)
            done.append(part)
            continue
        if stat.S_ISLNK(mode):
            links += 1
            if links > _MAX_LINKS:
                raise Loop(f"{path} passes more than {_MAX_LINKS} symlinks")
            target = here.readlink().as_posix()
            if target.startswith("/"):
                done.clear()
            todo += [piece for piece in target.split("/") if piece not in ("", ".")][::-1]
        elif stat.S_ISDIR(mode) or not (todo or create):
            done.append(part)
        else:
            raise Loop(f"{'/'.join([*done, part])} is a file, but {path} needs a folder there")
    return done, exists


class Tree:
    """Build one root in an empty folder: `apply` the layers in order, then `finish`."""

    def __init__(self, root: Path, image: str, stop: threading.Event) -> None:
        self._root, self._image, self._stop = root, image, stop
        self._folders: dict[str, Path] = {}
        self._attributes: dict[Path, tuple[int, float]] = {}

    def apply(self, folder: Path, name: str) -> None:
        """Lay the layer in `folder` over what is there. Raises BadImage, LayerIncomplete, CacheUnusable."""
        entries = list(_entries(folder))
        with disk_errors(self._root):
            # A whiteout hides what lower layers brought, never what its own layer brings.
            for entry in entries:
                parent, _, base = entry.path.rpartition("/")
                if base.startswith(WHITEOUT):
                    self._hide(parent, base)
            for entry in entries:
                if self._stop.is_set():
                    raise Cancelled
                if not entry.path.rpartition("/")[2].startswith(WHITEOUT):
                    try:
                        self._add(entry, folder)
                    except Loop as error:
                        raise BadImage(self._image, f"{name} cannot be applied: {error}") from error

    def finish(self) -> None:
        """Set what would have been in the way before: modes and times of folders, the deepest first."""
        with disk_errors(self._root):
            for path in sorted(self._attributes, key=lambda path: len(path.parts), reverse=True):
                mode, mtime = self._attributes[path]
                if path.is_dir() and not path.is_symlink():
                    path.chmod(mode)
                    os.utime(path, (mtime, mtime))

    def _folder(self, path: str) -> Path:
        known = self._folders.get(path)
        if known is None:
            found = inside(self._root, path, create=True)
            assert found is not None
            known = self._folders[path] = found
        return known

    def _hide(self, parent: str, base: str) -> None:
        try:
            folder = inside(self._root, parent)
        except Loop:
            return
        if folder is None or not folder.is_dir():
            return
        if base == OPAQUE:
            for child in folder.iterdir():
                self._remove(child)
        elif not base.startswith(WHITEOUT + WHITEOUT):  # others with two prefixes are notes of the aufs driver
            self._remove(folder / base[len(WHITEOUT) :])

    def _remove(self, path: Path) -> None:
        try:
            mode = path.lstat().st_mode
        except FileNotFoundError:
            return
        if stat.S_ISDIR(mode):
            remove_tree(path)
            # A symlink may take this place, and what was noted for below would then be applied behind it.
            for noted in [noted for noted in self._attributes if noted.is_relative_to(path)]:
                del self._attributes[noted]
        else:
            path.unlink()
        if not stat.S_ISREG(mode):
            self._folders.clear()

    def _add(self, entry: Entry, folder: Path) -> None:
        if not entry.path:
            self._attributes[self._root] = (entry.mode, entry.mtime)
            return
        parent, _, base = entry.path.rpartition("/")
        path = self._folder(parent) / base
        if entry.kind == "directory":
            if path.is_symlink() or not path.is_dir():
                self._remove(path)
                path.mkdir(0o700)
            self._attributes[path] = (entry.mode, entry.mtime)
            return
        source = self._link_target(entry) if entry.kind == "hardlink" else None
        if source == path:
            return
        if source is not None and source.is_relative_to(path):
            raise Loop(f"{entry.path} is a hard link to {entry.link} inside itself")
        self._remove(path)
        if entry.kind == "file":
            assert entry.number is not None
            _share(content_of(folder, entry.number), path, entry, folder)
        elif source is not None:
            os.link(source, path, follow_symlinks=False)
        elif entry.kind == "symlink":
            path.symlink_to(entry.link)
        else:
            os.mkfifo(path, entry.mode)

    def _link_target(self, entry: Entry) -> Path:
        parent, _, base = entry.link.rpartition("/")
        folder = inside(self._root, parent)
        target = folder / base if folder is not None else None
        if target is None or not os.path.lexists(target):
            raise Loop(f"{entry.path} is a hard link to {entry.link}, which is not there")
        if target.is_dir() and not target.is_symlink():
            raise Loop(f"{entry.path} is a hard link to the folder {entry.link}")
        return target


def _entries(folder: Path) -> Iterator[Entry]:
    try:
        yield from read_index(folder)
    except (OSError, ValueError, TypeError) as error:
        raise LayerIncomplete(folder) from error


def _share(content: Path, path: Path, entry: Entry, folder: Path) -> None:
    try:
        os.link(content, path)
    except FileNotFoundError as error:
        raise LayerIncomplete(folder) from error
    except OSError as error:
        if error.errno != errno.EMLINK:  # a content that is linked too often already, on file systems with a low limit
            raise
        shutil.copy2(content, path)
    if path.lstat().st_size != entry.size:
        raise LayerIncomplete(folder)


def remove_tree(path: Path) -> None:
    """Remove a folder that may hold folders without permissions; never follows a symlink. Gone already is fine."""
    if not path.is_dir() or path.is_symlink():
        return
    if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
        path.chmod(0o700)
    for folder, names, _ in os.walk(path):
        for child in (Path(folder, name) for name in names):
            if not child.is_symlink() and not os.access(child, os.R_OK | os.W_OK | os.X_OK):
                child.chmod(0o700)
    shutil.rmtree(path)
