"""Which files an image has, and where their bytes stand: the layers laid over each other, as an engine would."""

import posixpath
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass

_WHITEOUT = ".wh."
_OPAQUE = ".wh..wh..opq"
_LINKS = 16


@dataclass(frozen=True)
class TreeFile:
    """A file's place: the layer, and the offset of its content in that layer's tar stream."""

    layer: int
    offset: int
    size: int
    executable: bool
    sha256: str | None


class ImageTree:
    """Files and links by absolute path. Add layers from the lowest to the topmost."""

    def __init__(self) -> None:
        self._files: dict[str, TreeFile] = {}
        self._links: dict[str, str] = {}
        self._new: set[str] = set()

    def add(self, layer: int, member: tarfile.TarInfo, sha256: str | None) -> None:
        """Take in an entry of the layer that is being read."""
        path = posixpath.normpath(f"/{member.name}")
        folder, name = posixpath.split(path)
        if name == _OPAQUE:
            self._remove(folder, below_only=True)
        elif name.startswith(_WHITEOUT):
            self._remove(posixpath.join(folder, name.removeprefix(_WHITEOUT)))
        elif member.isdir():
            self._files.pop(path, None)
            self._links.pop(path, None)
        else:
            self._remove(path)
            self._new.add(path)
            if member.isreg():
                executable = bool(member.mode & 0o100)
                self._files[path] = TreeFile(layer, member.offset_data, member.size, executable, sha256)
            elif member.issym():
                self._links[path] = posixpath.normpath(posixpath.join(folder, member.linkname))
            elif member.islnk():
                target = self._files.get(posixpath.normpath(f"/{member.linkname}"))
                if target is not None:
                    self._files[path] = target

    def end_layer(self) -> None:
        """The next entries belong to the layer above."""
        self._new.clear()

    def below(self, root: str) -> Iterator[tuple[str, TreeFile]]:
        """Yield the files of a folder by their path in it; links are followed inside the image."""
        root = self._resolved(posixpath.normpath(root))
        for path in [*self._files, *self._links]:
            if path.startswith(f"{root}/"):
                file = self._files.get(self._resolved(path))
                if file is not None:
                    yield path.removeprefix(f"{root}/"), file

    def of_layer(self, layer: int) -> list[tuple[str, TreeFile]]:
        """The files of one layer that are still to be seen."""
        return [(path, file) for path, file in self._files.items() if file.layer == layer]

    def _resolved(self, path: str) -> str:
        for _ in range(_LINKS):
            parts = path.split("/")
            link = next((p for n in range(2, len(parts) + 1) if (p := "/".join(parts[:n])) in self._links), None)
            if link is None:
                break
            path = posixpath.normpath(self._links[link] + path.removeprefix(link))
        return path

    def _remove(self, path: str, *, below_only: bool = False) -> None:
        for table in (self._files, self._links):
            for found in [p for p in table if p.startswith(f"{path}/") or (p == path and not below_only)]:
                if found not in self._new:  # a layer hides what is below it, not what it brings itself
                    del table[found]
