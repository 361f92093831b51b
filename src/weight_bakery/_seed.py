"""Seeding a network volume: a model's files become a Hugging Face cache, without a pod, a spool or a symbolic link.

<prefix>/models--<owner>--<name>/
  snapshots/<commit>/<path>     the files themselves: S3 has no links, and readers of a cache need none
  refs/main                     the commit; written last, so a snapshot is found only when it is whole
  .vllm-runpod/<commit>.json    what was put there: size, sha256 and ETag of each file, so a second run sends nothing
"""

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_EXCEPTION, wait
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from weight_bakery._checks import check_model
from weight_bakery._errors import BadRequest, SourceChanged
from weight_bakery._events import LayerAdvanced, LayerFinished, LayerPlanned, Note, Outcome, Planned, Progress, silent
from weight_bakery._lock import LockedFile, LockEntry, content_revision, read_lock
from weight_bakery._open import open_source
from weight_bakery._references import parse_model
from weight_bakery._request import BakeRequest
from weight_bakery._seed_file import FileJob, Landed, file_sha256
from weight_bakery._seed_request import (
    MOUNT,
    FileState,
    SeedFile,
    SeedPlan,
    SeedReceipt,
    SeedRequest,
    check_repository,
    check_volume,
    part_size,
)
from weight_bakery._seed_s3 import Volume
from weight_bakery._selection import Selection, select
from weight_bakery._sources import SourceFile, WeightSource
from weight_bakery._threads import DaemonPool, Threads

_RECORDS = ".vllm-runpod"


def plan_seed(request: SeedRequest) -> SeedPlan:
    """Return what `seed_volume` would do. Sends nothing; reads a source only where nothing else tells its revision."""
    with _opened(request, silent) as job:
        return job.plan()


def seed_volume(request: SeedRequest, *, progress: Progress = silent) -> SeedReceipt:
    """Put a model on a network volume and return what was done.

    Blocks, also where an event loop runs (give it a thread of its own there, `asyncio.to_thread`, unless nothing else
    has to go on). Whatever happens, refs/main names a whole snapshot; a run that was ended goes on where it stopped.
    Raises BakeryError. `progress` is called from several threads, one at a time.
    """
    started = time.monotonic()
    with _opened(request, progress) as job:
        receipt = job.run()
    return replace(receipt, seconds=round(time.monotonic() - started, 3))


@dataclass(frozen=True)
class _Record:
    """What is known of a file that was seeded."""

    size: int
    sha256: str
    etag: str


@contextmanager
def _opened(request: SeedRequest, progress: Progress) -> Iterator["_Job"]:
    endpoint = check_volume(request)
    entry = _lock_entry(request) if request.model is None else None
    model = request.model or _locked_model(entry, request)
    wanted = BakeRequest(
        model=model,
        to="",
        source=request.source,
        hub_endpoint=request.hub_endpoint,
        hub_token=request.hub_token,
        hf_cache=request.hf_cache,
        docker_config=request.docker_config,
    )
    lock = threading.Lock()

    def tell(event: Any) -> None:
        with lock:
            progress(event)

    def note(text: str) -> None:
        tell(Note(text))

    volume = Volume(request, endpoint, note)
    source = open_source(parse_model(model, request.source), wanted, note)
    try:
        inventory = source.inventory()
        selection = select(
            inventory,
            include=request.include or (entry.include if entry else ()),
            exclude=request.exclude or (entry.exclude if entry else ()),
        )
        if entry is not None:
            selection = _as_locked(selection, entry)
        for file in selection.files:
            part_size(file.size, request.part_size)
        repository = check_repository(request.repository or (entry.model if entry else inventory.model))
        yield _Job(request, endpoint, repository, inventory.revision or (entry.revision if entry else None),
                   selection, source, volume, tell)  # fmt: skip
    finally:
        volume.stopped.set()
        source.close()


class _Job:
    """One model on its way to one volume."""

    def __init__(
        self,
        request: SeedRequest,
        endpoint: str,
        repository: str,
        revision: str | None,
        selection: Selection,
        source: WeightSource,
        volume: Volume,
        progress: Progress,
    ) -> None:
        self._request = request
        self._endpoint = endpoint
        self._repository = repository
        self._source = source
        self._volume = volume
        self._progress = progress
        if revision is None:
            # No commit names this content, so the content itself must.
            files = tuple(replace(file, sha256=file.sha256 or file_sha256(source, file)) for file in selection.files)
            selection = _with_digests(selection, files)
            revision = content_revision([LockedFile(file.path, file.size, str(file.sha256)) for file in files])
        self._selection = selection
        self._revision = revision
        self._commit = revision.removeprefix("sha256:")[:40]
        self._folder = f"{request.prefix}/models--{repository.replace('/', '--')}"
        self._snapshot = f"{self._folder}/snapshots/{self._commit}"
        self._record_key = f"{self._folder}/{_RECORDS}/{self._commit}.json"
        self._refs_key = f"{self._folder}/refs/main"
        self._records = _read_records(volume.read_small(self._record_key))
        self._lock = threading.Lock()

    def plan(self) -> SeedPlan:
        """Describe the work."""
        refs = self._volume.read_small(self._refs_key)
        return SeedPlan(
            volume=self._request.volume,
            endpoint=self._endpoint,
            repository=self._repository,
            revision=self._revision,
            snapshot=self._snapshot,
            files=tuple(self._look(file) for file in self._selection.files),
            refs_main=refs.decode(errors="replace").strip() if refs else None,
        )

    def run(self) -> SeedReceipt:
        """Put every file in place, then refs/main."""
        self._check_model()
        # Biggest first, so that the last flow to end does not start late.
        files = sorted(self._selection.files, key=lambda file: (-file.size, file.path))
        weights = {file.path for file in self._selection.weights}
        planned = tuple(
            LayerPlanned(index, "weights" if file.path in weights else "files", file.path, file.size)
            for index, file in enumerate(files)
        )
        self._progress(Planned(f"s3://{self._request.volume}/{self._snapshot}", planned, "file"))
        landed = self._move(files)
        self._volume_ref()
        pruned = self._prune() if self._request.prune else 0
        return SeedReceipt(
            volume=self._request.volume,
            endpoint=self._endpoint,
            repository=self._repository,
            revision=self._revision,
            snapshot=self._snapshot,
            files=len(files),
            size=sum(file.size for file in files),
            sent_bytes=sum(item.sent for item in landed),
            read_back_bytes=sum(item.read_back for item in landed),
            pruned=pruned,
            seconds=0.0,
            environment=self._environment(),
        )

    def _environment(self) -> dict[str, str]:
        found = {"MODEL_NAME": self._repository, "HF_HUB_OFFLINE": "1"}
        base, _, rest = self._request.prefix.partition("huggingface-cache/hub")
        if not rest and base != self._request.prefix:
            return {**found, "BASE_PATH": f"{MOUNT}/{base}".rstrip("/")}
        return {**found, "HF_HUB_CACHE": f"{MOUNT}/{self._request.prefix}"}

    def _check_model(self) -> None:
        """Refuse a model that cannot work before anything is sent; weights seeded before were checked then."""
        unknown = {file.path for file in self._selection.weights if file.path not in self._records}
        if not unknown and self._records:
            return
        threads = Threads(self._request.flows)
        # In a thread, since the caller's may have a running loop already: a notebook's has.
        pool = DaemonPool(1, "bakery-check")
        try:
            pool.submit(lambda: asyncio.run(check_model(self._selection, self._source, unknown, threads))).result()
        finally:
            pool.shutdown()
            threads.close()

    def _move(self, files: list[SourceFile]) -> list[Landed]:
        # Daemon threads: Ctrl-C must not wait for a server that says nothing. What they leave behind is resumed.
        pool = DaemonPool(self._request.flows, "bakery-seed")
        jobs = [pool.submit(self._one, index, file) for index, file in enumerate(files)]
        try:
            done, waiting = wait(jobs, return_when=FIRST_EXCEPTION)
            failed = next((job for job in jobs if job in done and job.exception() is not None), None)
            if failed is not None:
                self._volume.stopped.set()
                for job in waiting:
                    job.cancel()
                failed.result()
            return [job.result() for job in jobs]
        except KeyboardInterrupt:
            self._volume.stopped.set()
            raise
        finally:
            pool.shutdown()

    def _one(self, index: int, file: SourceFile) -> Landed:
        job = self._job(file)
        seen = self._look(file)
        landed: Landed | None = None
        outcome: Outcome = "present"
        if seen.state == "present":
            known = self._records[file.path]
            landed = Landed(known.sha256, known.etag, 0, 0)
        elif seen.state == "check":
            landed = job.compare(file.sha256 or self._known_sha256(file) or file_sha256(self._source, file))
        if landed is None:
            landed = job.upload(lambda size: self._progress(LayerAdvanced(index, "sending", size)))
            outcome = "sent"
        self._remember(file, landed)
        self._progress(LayerFinished(index, outcome))
        return landed

    def _job(self, file: SourceFile) -> FileJob:
        request = self._request
        return FileJob(
            self._volume, self._source, file, f"{self._snapshot}/{file.path}", request.verify, request.part_size
        )

    def _look(self, file: SourceFile) -> SeedFile:
        """What is there of a file, by asking for its size and ETag."""
        job = self._job(file)
        state: FileState = "send"
        there = 0
        stored = self._volume.head(job.key)
        if stored is not None and stored.size == file.size:
            known = self._records.get(file.path)
            same = (
                known is not None
                and (known.size, known.etag) == (stored.size, stored.etag)
                and file.sha256 in (None, known.sha256)
            )
            state = "present" if same and self._request.verify == "etag" else "check"
        else:
            there = job.started_bytes()
            state = "resume" if there else "send"
        return SeedFile(file.path, job.key, file.size, state, there)

    def _known_sha256(self, file: SourceFile) -> str | None:
        known = self._records.get(file.path)
        return known.sha256 if known and known.size == file.size else None

    def _remember(self, file: SourceFile, landed: Landed) -> None:
        """Write down what was put there. A kill before this costs a read back, and no second send."""
        record = _Record(file.size, landed.sha256, landed.etag)
        with self._lock:
            if self._records.get(file.path) != record:
                self._records[file.path] = record
                self._volume.put(self._record_key, _dump_records(self._repository, self._revision, self._records))

    def _volume_ref(self) -> None:
        content = self._commit.encode()
        if self._volume.read_small(self._refs_key) != content:
            self._volume.put(self._refs_key, content)

    def _prune(self) -> int:
        kept = {f"{self._snapshot}/{file.path}" for file in self._selection.files}
        kept |= {self._record_key, self._refs_key}
        folders = (f"{self._folder}/snapshots/", f"{self._folder}/{_RECORDS}/")
        over = [key for folder in folders for key in self._volume.keys(folder) if key not in kept]
        for key in over:
            self._volume.delete(key)
        return len(over)


def _lock_entry(request: SeedRequest) -> LockEntry:
    if request.lock is None:
        raise BadRequest("neither a model nor a lock file is given", "name one with --model or --lock")
    images = read_lock(request.lock).images
    if not images:
        raise BadRequest(f"{request.lock} names no baked image", "bake one first, or name a model with --model")
    if request.target is None:
        if len(images) > 1:
            raise BadRequest(f"{request.lock} names {len(images)} images", f"choose one: {', '.join(sorted(images))}")
        return next(iter(images.values()))
    if request.target not in images:
        raise BadRequest(f"{request.lock} has no entry {request.target!r}", f"there are {', '.join(sorted(images))}")
    return images[request.target]


def _locked_model(entry: LockEntry | None, request: SeedRequest) -> str:
    """What to open for an entry: the very commit that was baked."""
    assert entry is not None
    assert request.lock is not None
    if entry.kind == "hub":
        return f"{entry.model}@{entry.revision}"
    if entry.source is None:
        raise BadRequest(
            f"{request.lock} does not say where {entry.model} is (a folder outside its own)", "name it with --model"
        )
    if entry.kind == "folder":
        return str(request.lock.resolve().parent / entry.source)
    return entry.source


def _as_locked(selection: Selection, entry: LockEntry) -> Selection:
    """The selection with the lock's digests, which are compared while a file is read. Refuses other files."""
    split = {split.path: split for split in entry.resharded}
    parts = {part for item in entry.resharded for part in item.parts}
    locked = {file.path: file for file in entry.files if file.path not in parts}
    files = []
    for file in selection.files:
        if file.path in split:  # the image holds its parts; the volume has no limit and takes the file as it is
            files.append(replace(file, sha256=file.sha256 or split[file.path].sha256))
            continue
        known = locked.pop(file.path, None)
        rewritten = bool(split) and file.path.endswith(".safetensors.index.json")
        if not rewritten and (known is None or known.size != file.size or file.sha256 not in (None, known.sha256)):
            raise SourceChanged(
                f"{entry.model}: {file.path} is not what the lock says", "bake again, or name the model with --model"
            )
        files.append(file if rewritten or known is None else replace(file, sha256=known.sha256))
    missing = [path for path in locked if not (split and path.endswith(".safetensors.index.json"))]
    if missing:
        raise SourceChanged(f"{entry.model} has no {missing[0]} any more", "bake again, or name the model with --model")
    return _with_digests(selection, tuple(files))


def _with_digests(selection: Selection, files: tuple[SourceFile, ...]) -> Selection:
    known = {file.path: file for file in files}
    renewed: Callable[[tuple[SourceFile, ...]], tuple[SourceFile, ...]] = lambda group: tuple(  # noqa: E731
        known[file.path] for file in group
    )
    return replace(selection, weights=renewed(selection.weights), others=renewed(selection.others))


def _read_records(content: bytes | None) -> dict[str, _Record]:
    """What an earlier run wrote down; a damaged record is as good as none: files are read back then."""
    if content is None:
        return {}
    try:
        files = json.loads(content)["files"]
        return {path: _Record(int(one["size"]), str(one["sha256"]), str(one["etag"])) for path, one in files.items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}


def _dump_records(repository: str, revision: str, records: dict[str, _Record]) -> bytes:
    files = {path: vars(record) for path, record in records.items()}
    content = {"version": 1, "repository": repository, "revision": revision, "files": files}
    return (json.dumps(content, indent=1, sort_keys=True) + "\n").encode()
