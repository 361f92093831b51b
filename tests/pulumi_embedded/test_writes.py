"""Many steps at once write the state: each has what it was promised on disk, and they share the writing."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from pulumi_embedded import _snapshot
from pulumi_embedded._backend import Backend
from pulumi_embedded._errors import IntegrityError
from pulumi_embedded._project import load_project
from pulumi_embedded._snapshot import SnapshotManager
from pulumi_embedded._state import Deployment, IntegrityCheck, ResourceState, resource_to_json, verify_integrity
from pulumi_embedded._statejson import NoSecrets, Sealer
from pulumi_embedded._steps import CREATE, DELETE, UPDATE, Step

PARALLEL = 16


class CountingBackend(Backend):
    """A real one that counts."""

    writes = 0

    def write(self, stack: str, data: bytes) -> None:
        """Write, and count."""
        self.writes += 1
        super().write(stack, data)

    def latest(self) -> dict[str, Any]:
        """What is on disk now."""
        return dict(self.read("dev")["checkpoint"]["latest"])


def _backend(tmp_path: Path) -> CountingBackend:
    (tmp_path / "Pulumi.yaml").write_text("name: shop\nruntime: python\n")
    return CountingBackend(tmp_path / "state", load_project(tmp_path).name)


def _thing(number: int, **fields: Any) -> ResourceState:
    type_ = "demo:index:Thing"
    return ResourceState(f"urn:pulumi:dev::shop::{type_}::t{number}", type_, True, **fields)


def test_what_a_step_was_promised_is_on_disk_and_steps_share_writes(tmp_path: Path) -> None:
    """Pending before the cloud is touched, the result before it is used; far fewer files than promises."""
    backend = _backend(tmp_path)
    backend.create("dev")
    count = 200

    async def run() -> None:
        manager = SnapshotManager(backend, "dev", Deployment(), Sealer(NoSecrets()), lambda: "")
        slots = asyncio.Semaphore(PARALLEL)

        async def create(number: int) -> None:
            async with slots:
                step = Step(CREATE, None, _thing(number))
                await manager.begin(step)
                assert step.urn in {entry["resource"]["urn"] for entry in backend.latest()["pending_operations"]}
                await asyncio.sleep(0.001)
                assert step.new is not None
                step.new.id = f"id-{number}"
                await manager.end(step, True)
                known = {entry["urn"]: entry["id"] for entry in backend.latest()["resources"]}
                assert known[step.urn] == step.new.id

        await asyncio.gather(*(create(number) for number in range(count)))
        await manager.close()

    asyncio.run(run())
    assert len(backend.latest()["resources"]) == count
    assert "pending_operations" not in backend.latest()
    assert backend.writes < count  # of 2 * count promises


def test_a_lone_step_does_not_wait_for_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With nobody who could join, a promise is one write, at once."""
    backend = _backend(tmp_path)
    backend.create("dev")
    monkeypatch.setattr(_snapshot, "_LONGEST_WAIT_S", 30.0)

    async def run() -> None:
        manager = SnapshotManager(backend, "dev", Deployment(), Sealer(NoSecrets()), lambda: "")
        manager._write_s = 30.0  # as if the disk were very slow
        for number in range(3):
            step = Step(CREATE, None, _thing(number))
            await asyncio.wait_for(manager.begin(step), 5)
            await asyncio.wait_for(manager.end(step, True), 5)
            manager._write_s = 30.0

    asyncio.run(run())
    assert backend.writes == 1 + 3 * 2


def test_what_is_written_after_many_changes_is_what_a_fresh_look_would_write(tmp_path: Path) -> None:
    """Kept entries follow every change: of a field, of the list, and of the old state's part of it."""
    backend = _backend(tmp_path)
    backend.create("dev")
    old = [_thing(number, id=f"id-{number}") for number in range(6)]
    old[3].dependencies = [old[0].urn]

    async def run() -> None:
        manager = SnapshotManager(backend, "dev", Deployment(resources=list(old)), Sealer(NoSecrets()), lambda: "")

        async def done(step: Step) -> None:
            await manager.begin(step)
            await manager.end(step, True)
            states = manager.deployment().resources
            assert backend.latest()["resources"] == [resource_to_json(s, Sealer(NoSecrets())) for s in states]

        new = _thing(0, id="id-0", inputs={"a": 1})
        await done(Step(UPDATE, old[0], new))
        await done(Step(CREATE, None, _thing(7, id="id-7", dependencies=[new.urn])))
        new.protect = True
        await done(Step(DELETE, old[5], None))
        with pytest.raises(IntegrityError, match="duplicate resource"):
            await done(Step(CREATE, None, _thing(1, id="again")))

    asyncio.run(run())


def test_a_copied_check_leaves_the_first_as_it_was() -> None:
    """What the copy has seen, the original has not."""
    check = IntegrityCheck()
    first, second = _thing(1), _thing(2)
    second.dependencies = [first.urn]
    check.copy().add(first)
    with pytest.raises(IntegrityError, match="is not before it"):
        check.add(second)
    verify_integrity([first, second])
