"""vLLM's start-up caches: those of the image that fit this machine are laid out before vLLM starts, or written anew.

An image may hold caches for several keys, each in `/opt/vllm-worker/caches/<id>/`: `key.json` says for what they were
made and lists their files, `files/<sha256>` are the contents. They are copied to a folder that vLLM may write in, with
the times that they had (FlashInfer's build compares them). Caches of another key are never touched.

On a miss, and where WORKER_CACHE_HARVEST names a folder, what this start wrote is put there for `bake harvest`.
"""

import os
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vllm_worker._caches_archive import CacheFile, read_key_document, write_archive
from vllm_worker._caches_key import CachesKey, UnknownDevice, describe, find_device, make_key
from vllm_worker._log import event
from vllm_worker._seed import cache_root

IMAGE_CACHES = Path(__file__).parents[2] / "caches"
"""Beside the folder that the worker's code is in: where the image's root is another one, it is found all the same."""
# vLLM's own two forms: a model compiled ahead of time, and what its cache of compiled graphs is found by.
_COMPILED = (
    "vllm/torch_compile_cache/torch_aot_compile/*/rank_*/model",
    "vllm/torch_compile_cache/*/rank_*/*/vllm_compile_cache.py",
)
_TOLD = 4
"""Foreign caches that the log names one by one."""


@dataclass(frozen=True)
class StartCaches:
    """What was decided about start-up caches: `hit`, `miss`, or `off` where they cannot be used."""

    outcome: str
    key: CachesKey | None = None
    root: Path | None = None
    """Where vLLM keeps its caches in this start; None leaves vLLM its own places."""
    driver: str = ""
    harvest: Path | None = None
    """Where to put what vLLM writes; None when it need not be kept."""
    seconds: float = 0.0
    known: Mapping[str, int] = field(default_factory=dict)
    """Files that were laid out, and their times."""

    def environment(self) -> dict[str, str]:
        """What tells vLLM and its compilers where their caches are."""
        if self.root is None:
            return {}
        places = {
            # torch.compile's artifacts, autotuned configurations, DeepGEMM's kernels and start-up plans lie here.
            "VLLM_CACHE_ROOT": "vllm",
            "TRITON_CACHE_DIR": "triton",
            "TORCHINDUCTOR_CACHE_DIR": "inductor",
            "FLASHINFER_WORKSPACE_BASE": "flashinfer",
            # The driver's own cache of translated PTX.
            "CUDA_CACHE_PATH": f"nv/{self.driver}" if self.driver else "nv/none",
        }
        return {**{name: str(self.root / place) for name, place in places.items()}, "VLLM_ENABLE_STARTUP_PLAN": "1"}


def prepare(
    *,
    vllm_version: str,
    cpu: bool,
    model: str,
    command: tuple[str, ...],
    environment: Mapping[str, str],
    harvest: str | None,
    image: Path = IMAGE_CACHES,
) -> StartCaches:
    """Choose caches, lay them out, and say so in one line. Nothing that goes wrong here stops a start."""
    began = time.monotonic()
    there = _read_image(image)
    if not there and harvest is None:
        event("caches", "start-up caches: miss (the image holds none)", outcome="miss")
        return StartCaches("miss")
    if "VLLM_CACHE_ROOT" in environment:
        return _off("VLLM_CACHE_ROOT is set, so vLLM's caches are somebody else's")
    try:
        device = find_device(cpu, environment.get("PATH"))
    except (UnknownDevice, OSError) as error:
        return _off(str(error))
    key = make_key(device, vllm_version, _in_image(model, image), Path(model), _arguments(command), environment)
    # The same place in every worker of an image: compiled code may name it.
    root = cache_root(environment).with_name("vllm-worker") / key.id
    found = there.get(key.id)
    if found is not None and found.key == key.document:
        try:
            files, size = lay_out(found.folder, found.files, root)
        except (OSError, ValueError) as error:
            event("note", f"the image's start-up caches {key.id} cannot be used: {error}")
            shutil.rmtree(_partial(root), ignore_errors=True)
        else:
            seconds = round(time.monotonic() - began, 3)
            event(
                "caches",
                f"start-up caches: hit ({key}; {files} files, {size / 1e6:.1f} MB laid out in {seconds:.1f} s)",
                outcome="hit", key=key.id, files=files, size=size, seconds=seconds,
            )  # fmt: skip
            known = {file.path: file.mtime for file in found.files}
            return _ready(StartCaches("hit", key, root, device.driver, None, seconds, known))
    event(
        "caches",
        f"start-up caches: miss ({key}; {_instead(key, there)})",
        outcome="miss", key=key.id, wanted=key.document, there=sorted(there),
    )  # fmt: skip
    if harvest is None:
        return StartCaches("miss", key)
    return _ready(StartCaches("miss", key, root, device.driver, Path(harvest)))


def _ready(caches: StartCaches) -> StartCaches:
    """Make the folders: not everybody who is told of one makes it, the driver least of all."""
    for name, place in caches.environment().items():
        if "/" in place:
            try:
                Path(place).mkdir(parents=True, exist_ok=True)
            except OSError as error:
                event("note", f"{name}={place} cannot be made: {error}")
    return caches


def finish(caches: StartCaches) -> None:
    """See what vLLM made of its caches, once it is ready: told after a hit, kept after a miss where the user asked."""
    if caches.root is None:
        return
    if caches.outcome == "hit" and (anew := compiled_anew(caches.root, caches.known)):
        event(
            "note",
            f"vLLM compiled again although start-up caches were laid out ({anew} models): its log says why, or its own "
            "key differs in something that ours does not know",
        )
    if caches.harvest is not None and caches.key is not None:
        _keep(caches.harvest, caches.key, caches.root, caches.driver)


def compiled_anew(root: Path, known: Mapping[str, int]) -> int:
    """How many compiled models vLLM wrote: new ones, and laid out ones that it could not load and wrote once more."""
    found = (path for pattern in _COMPILED for path in root.glob(pattern))
    return sum(known.get(path.relative_to(root).as_posix()) != int(path.stat().st_mtime) for path in found)


def _keep(folder: Path, key: CachesKey, root: Path, driver: str) -> None:
    """Put what vLLM has written where the user wants it, once for each key: another worker may have been first."""
    began = time.monotonic()
    target = folder / f"{key.id}.tar"
    try:
        if target.exists():
            event("caches", f"start-up caches: {target} is there already; nothing was written", outcome="there")
            return
        size, files = write_archive(root, target, key.document, {"driver": driver})
    except (OSError, ValueError) as error:
        event("note", f"the start-up caches were not kept in {folder} (WORKER_CACHE_HARVEST): {error}")
        return
    seconds = round(time.monotonic() - began, 3)
    event(
        "caches",
        f"start-up caches: kept in {target} ({files} files, {size / 1e6:.1f} MB in {seconds:.1f} s); "
        "`vllm-runpod bake harvest` puts them into the image",
        outcome="kept", key=key.id, path=str(target), files=files, size=size, seconds=seconds,
    )  # fmt: skip


def lay_out(folder: Path, files: tuple[CacheFile, ...], root: Path) -> tuple[int, int]:
    """Copy caches to where they can be written; returns the number of files and of bytes.

    Caches that an earlier start in this container laid out are used as they are: vLLM may have added to them.
    """
    size = sum(file.size for file in files)
    if root.is_dir():
        if all((root / file.path).is_file() for file in files):
            return len(files), size
        shutil.rmtree(root)  # what a start left that had no caches and did not get far
    partial = _partial(root)
    shutil.rmtree(partial, ignore_errors=True)
    for file in files:
        target = partial / file.path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(folder / "files" / file.sha256, target, follow_symlinks=False)
        if target.stat().st_size != file.size:
            raise ValueError(f"{file.path} has {target.stat().st_size} bytes instead of {file.size}")
        target.chmod(0o755 if file.executable else 0o644)
        os.utime(target, (file.mtime, file.mtime))
    partial.rename(root)
    return len(files), size


def _in_image(model: str, image: Path) -> str:
    """The model's path as the image has it, also where the image's root is a folder of this machine."""
    root = image.parents[2]
    path = Path(model)
    return f"/{path.relative_to(root)}" if path.is_absolute() and path.is_relative_to(root) else model


def _arguments(command: tuple[str, ...]) -> tuple[str, ...]:
    """vLLM's options, without the program in front of them."""
    first = next((place for place, word in enumerate(command) if word.startswith("--")), len(command))
    return command[first:]


def _partial(root: Path) -> Path:
    return root.with_name(f"{root.name}.partial")


@dataclass(frozen=True)
class _Found:
    """Caches of the image."""

    folder: Path
    key: Mapping[str, Any]
    files: tuple[CacheFile, ...]


def _read_image(image: Path) -> dict[str, _Found]:
    """The image's caches by their names; what cannot be read is told and left alone."""
    found: dict[str, _Found] = {}
    try:
        folders = sorted(path for path in image.iterdir() if path.is_dir())
    except OSError:
        return found
    for folder in folders:
        try:
            key, files = read_key_document((folder / "key.json").read_bytes())
        except (OSError, ValueError) as error:
            event("note", f"the image's start-up caches in {folder} cannot be read: {error}")
            continue
        found[folder.name] = _Found(folder, key, files)
    return found


def _instead(key: CachesKey, there: Mapping[str, _Found]) -> str:
    """What the image holds, and in which parts that is another key."""
    if not there:
        return "the image holds none"
    told = []
    for name, found in sorted(there.items())[:_TOLD]:
        parts = [part for part, value in key.document.items() if found.key.get(part) != value]
        differs = f"other {' and '.join(parts)}" if parts else "under another name than its own"
        told.append(f"{name}: {describe(found.key)}, {differs}")
    more = f", and {len(there) - _TOLD} more" if len(there) > _TOLD else ""
    return f"the image holds {'; '.join(told)}{more}"


def _off(reason: str) -> StartCaches:
    event("caches", f"start-up caches: off ({reason})", outcome="off")
    return StartCaches("off")
