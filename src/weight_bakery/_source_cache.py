"""A model in the Hugging Face cache of this machine: its commit is known, and no network is asked.

models--<owner>--<name>/
  refs/<revision>             holds the commit
  snapshots/<commit>/<path>   a link into blobs/, or the file itself where links do not work
  blobs/<etag>                named by sha256 for large files, by git's name of the content for small ones

The blobs' names are the digests that the Hub gave, so they are known without reading, and checked whenever a file is
read.
"""

import re
from dataclasses import replace
from pathlib import Path

from weight_bakery._errors import ModelNotFound
from weight_bakery._source_folder import FolderSource
from weight_bakery._sources import Inventory, SourceFile

_COMMIT = re.compile(r"[0-9a-f]{40}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_PREFIX = "models--"


class CacheSource(FolderSource):
    """One snapshot of one repository in the cache."""

    def __init__(self, repository_folder: Path, commit: str) -> None:
        self._commit = commit
        self._blobs = repository_folder.resolve() / "blobs"
        super().__init__(
            repository_folder / "snapshots" / commit,
            model=repository_folder.name.removeprefix(_PREFIX).replace("--", "/"),
        )

    def inventory(self) -> Inventory:
        """The snapshot's files; a link's target says the digest."""
        found = super().inventory()
        files = tuple(self._with_digest(file) for file in found.files)
        return replace(found, kind="hub", revision=self._commit, files=files)

    def _with_digest(self, file: SourceFile) -> SourceFile:
        target = (self._folder / file.path).resolve()
        if target.parent != self._blobs:
            return file
        if _SHA256.fullmatch(target.name):
            return replace(file, sha256=target.name)
        return replace(file, git_oid=target.name) if _COMMIT.fullmatch(target.name) else file


def open_cached(repository: str, revision: str | None, cache: Path) -> CacheSource:
    """Open a repository by name, at a branch, a tag or a commit that the cache knows."""
    folder = cache / f"{_PREFIX}{repository.replace('/', '--')}"
    if not folder.is_dir():
        raise ModelNotFound(
            f"{repository} is not in the Hugging Face cache {str(cache)!r}",
            f"get it with `hf download {repository}`, or leave --source out",
        )
    return CacheSource(folder, _commit(folder, repository, revision))


def cached_at(folder: Path) -> CacheSource | None:
    """Open a folder that is a repository of the cache, or a snapshot of one; None when it is neither."""
    if folder.name.startswith(_PREFIX) and (folder / "snapshots").is_dir():
        return CacheSource(folder, _commit(folder, str(folder), None))
    whole = folder.absolute()
    if _COMMIT.fullmatch(whole.name) and whole.parent.name == "snapshots":
        repository = whole.parent.parent
        if repository.name.startswith(_PREFIX):
            return CacheSource(repository, whole.name)
    return None


def _commit(folder: Path, what: str, revision: str | None) -> str:
    if revision is not None and _COMMIT.fullmatch(revision):
        commit = revision
    else:
        # A name from outside must not lead out of refs/.
        safe = revision is None or not (revision.startswith("/") or ".." in revision.split("/"))
        reference = folder / "refs" / (revision or "main")
        commit = reference.read_text().strip() if safe and reference.is_file() else ""
        snapshots = [path.name for path in (folder / "snapshots").glob("*")]
        if not commit and revision is None and len(snapshots) == 1:
            commit = snapshots[0]
    if not _COMMIT.fullmatch(commit) or not (folder / "snapshots" / commit).is_dir():
        at = f"{what}@{revision}" if revision else what
        raise ModelNotFound(
            f"the Hugging Face cache has no snapshot of {at}",
            "download that revision, or name one that is there: "
            + (", ".join(sorted(path.name for path in (folder / "snapshots").glob("*"))[:3]) or "there is none"),
        )
    return commit
