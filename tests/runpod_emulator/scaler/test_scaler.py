"""The scaler's life under a clock that only the test moves."""

import asyncio
import random
from pathlib import Path

import pytest

from runpod_emulator.jobs import JobStatus
from tests.runpod_emulator.jobs.support import endpoint
from tests.runpod_emulator.scaler.support import settle, world

DELAY = {"type": "QUEUE_DELAY", "queueDelay": 4.0}
COUNT = {"type": "REQUEST_COUNT", "requestCount": 2}


async def test_from_zero_after_the_queue_delay_and_to_zero_after_the_idle_timeout() -> None:
    """A job that waits long enough starts a worker; a worker that idles long enough ends."""
    with world(endpoint(scaling=DELAY, idle_timeout_s=30)) as it:
        job = it.submit()
        await it.tick(3.9)
        assert it.statuses() == []
        await it.tick(0.2)
        assert it.statuses() == ["INITIALIZING"]
        (session,) = it.sessions()
        assert [taken.id for taken in it.poll(session)] == [job.id]
        await it.tick(1)
        assert it.statuses() == ["RUNNING"]
        it.scaler.book.finish(session.worker_id, job.id, output="1", error=None)
        await it.tick(29.9)
        assert it.statuses() == ["IDLE"]
        await it.tick(0.2)
        assert it.statuses() == []
        assert it.host.alive() == []


async def test_min_workers_start_without_a_job_and_stay() -> None:
    """The floor holds whatever the idle timeout says."""
    with world(endpoint(workers_min=2, workers_max=3, idle_timeout_s=5)) as it:
        await it.tick()
        assert it.statuses() == ["INITIALIZING"] * 2
        for session in it.sessions():
            it.poll(session)
        await it.tick(600)
        assert it.statuses() == ["IDLE"] * 2


async def test_request_count_follows_the_queue() -> None:
    """Five jobs at two per worker are three workers."""
    with world(endpoint(scaling=COUNT, workers_max=9, idle_timeout_s=None)) as it:
        for _ in range(5):
            it.submit()
        await it.tick()
        assert len(it.statuses()) == 3
        jobs = [job for session in it.sessions() for job in it.poll(session, 2)]
        for job in jobs:
            it.finish(job)
        await it.tick(9)
        assert it.statuses() == ["IDLE"] * 3
        await it.tick(2)
        assert it.statuses() == []


async def test_a_low_priority_job_starts_nobody() -> None:
    """It is done by a worker that is there for others."""
    with world(endpoint(scaling=DELAY)) as it:
        it.submit(low_priority=True)
        await it.tick(60)
        assert it.statuses() == []


async def test_a_worker_that_is_not_ready_in_time_is_replaced() -> None:
    """UNHEALTHY after RUNPOD_INIT_TIMEOUT, replaced after a pause that grows."""
    with world(endpoint(workers_min=1, env={"RUNPOD_INIT_TIMEOUT": "60"})) as it:
        await it.tick()
        (first,) = it.scaler.workers(it.id)
        await it.tick(60)
        assert it.statuses() == ["UNHEALTHY"]
        assert "RUNPOD_INIT_TIMEOUT" in it.scaler.worker_details(it.id)[0]["reason"]
        await it.tick(2)
        (second,) = it.scaler.workers(it.id)
        assert second.id != first.id
        assert second.status == "INITIALIZING"


async def test_a_crash_loop_slows_down() -> None:
    """Each failure doubles the pause; the worker shows as UNHEALTHY meanwhile."""
    with world(endpoint(workers_min=1)) as it:
        for _ in range(60):
            await it.tick(1)
            for container in list(it.host.containers.values()):
                container.exit(1)
            await it.tick()
            assert it.statuses() == ["UNHEALTHY"]
        assert 4 <= len(it.host.specs) <= 6  # 2 + 4 + 8 + 16 + 32 seconds


async def test_an_image_that_cannot_be_started_is_an_unhealthy_worker_with_a_reason() -> None:
    """The host's one line is kept, and written to the worker's system log."""
    with world(endpoint(workers_min=1)) as it:
        it.host.broken = True
        await it.tick()
        (details,) = it.scaler.worker_details(it.id)
        assert (details["status"], details["reason"]) == ("UNHEALTHY", "layer sha256:00 does not match its digest")
        assert any("does not match" in line for _, line in it.host.by_worker[details["id"]].lines)


async def test_a_silent_worker_is_lost_and_its_job_goes_to_another() -> None:
    """No ping for three intervals: the job is queued again, the worker's key is void."""
    with world(endpoint(workers_min=1)) as it:
        await it.tick()
        (session,) = it.sessions()
        it.scaler.roster.pinged(session, set())
        job = it.submit()
        it.poll(session)
        it.silent = {session.worker_id}
        await it.tick(29)
        assert it.statuses() == ["RUNNING"]
        await it.tick(5)
        found = it.scaler.book.get(it.id, job.id)
        assert found is not None
        assert found.status is JobStatus.IN_QUEUE
        assert it.scaler.roster.authorize(it.id, session.worker_id, session.key) is None
        await it.tick(2)
        (other,) = it.sessions()
        assert [taken.id for taken in it.poll(other)] == [job.id]


async def test_a_machine_that_slept_loses_no_worker() -> None:
    """When the emulator itself stood still, nobody is called silent."""
    with world(endpoint(workers_min=1)) as it:
        await it.tick()
        (session,) = it.sessions()
        it.poll(session)
        it.silent = {session.worker_id}
        await it.tick(3600, step_s=3600)
        assert it.statuses() == ["IDLE"]


async def test_a_release_replaces_idle_workers_at_once_and_lets_busy_ones_finish() -> None:
    """Old and new overlap, and never are there more than workers.max."""
    with world(endpoint(workers_min=2, workers_max=2)) as it:
        await it.tick()
        idle, busy = it.sessions()
        it.poll(idle)
        job = it.submit()
        it.poll(busy)
        await it.tick()
        it.catalogue.change(it.id, version=2, image="new")
        it.scaler.endpoint_changed(it.id)
        it.submit()
        assert it.poll(idle) == []  # even before the next look: the old release gets no new job
        await it.tick()
        views = {worker.version: worker for worker in it.scaler.workers(it.id)}
        assert (views[1].id, views[1].status, views[2].status) == (busy.worker_id, "RUNNING", "INITIALIZING")
        assert views[2].image == "new"
        it.finish(it.scaler.book.get(it.id, job.id))  # type: ignore[arg-type]
        await it.tick()
        assert {worker.version for worker in it.scaler.workers(it.id)} == {2}
        assert len(it.host.alive()) == 2


async def test_a_worker_that_is_slow_to_end_still_takes_its_place() -> None:
    """Its successor starts when the process is gone: two models at once may be more than the machine holds."""
    with world(endpoint(workers_min=1)) as it:
        await it.tick()
        (old,) = it.sessions()
        it.poll(old)
        it.host.containers[old.worker_id].deaf = True
        it.catalogue.change(it.id, version=2)
        it.scaler.endpoint_changed(it.id)
        await it.tick(5)
        assert it.statuses() == []
        assert it.host.alive() == [old.worker_id]
        it.host.containers[old.worker_id].exit(-9)
        await it.tick()
        assert [worker.version for worker in it.scaler.workers(it.id)] == [2]


async def test_a_new_release_clears_the_back_off() -> None:
    """Whoever fixes the image does not wait for the old one's pause."""
    with world(endpoint(workers_min=1)) as it:
        it.host.broken = True
        for _ in range(20):
            await it.tick(5)
        it.host.broken = False
        it.catalogue.change(it.id, version=2)
        it.scaler.endpoint_changed(it.id)
        await it.tick()
        assert it.statuses() == ["INITIALIZING"]


async def test_lowering_max_ends_the_surplus() -> None:
    """Idle ones at once, busy ones when they are done; zero means none at all."""
    with world(endpoint(workers_min=2, workers_max=2)) as it:
        await it.tick()
        first, second = it.sessions()
        it.poll(first)
        job = it.submit()
        it.poll(second)
        it.catalogue.change(it.id, workers_min=0, workers_max=0)
        await it.tick()
        assert it.statuses() == ["RUNNING"]
        it.finish(it.scaler.book.get(it.id, job.id))  # type: ignore[arg-type]
        await it.tick()
        assert it.statuses() == []


async def test_a_worker_that_asks_for_a_fresh_start_is_ended_after_its_jobs() -> None:
    """`stopPod` of one job does not cut off the others of the same worker."""
    with world(endpoint(workers_min=1)) as it:
        await it.tick()
        (session,) = it.sessions()
        it.submit(), it.submit()
        one, two = it.poll(session, 2)
        session.restart_asked = True
        session.drain()
        it.finish(one)
        await it.tick()
        assert it.host.alive() == [session.worker_id]
        it.finish(two)
        await it.tick(1)
        (fresh,) = it.sessions()
        assert fresh.worker_id != session.worker_id
        assert it.statuses() == ["INITIALIZING"]


async def test_deleting_an_endpoint_ends_its_workers_and_its_jobs() -> None:
    """Nothing of it is left, whatever it was doing, and nothing comes back."""
    with world(endpoint(workers_min=1)) as it:
        await it.tick()
        (session,) = it.sessions()
        job = it.submit()
        it.poll(session)
        await it.scaler.endpoint_deleted(it.id)
        assert it.host.alive() == []
        assert it.scaler.book.get(it.id, job.id) is None
        await it.tick(60)
        assert it.host.alive() == []


async def test_deleting_while_the_image_is_fetched_cancels_the_start() -> None:
    """A start that takes minutes does not hold the deletion up."""
    with world(endpoint(workers_min=1)) as it:
        it.host.slow = asyncio.Event()
        await it.tick()
        assert it.statuses() == ["INITIALIZING"]
        async with asyncio.timeout(10):
            await it.scaler.endpoint_deleted(it.id)
        it.host.slow.set()
        await it.tick(10)
        assert it.host.alive() == []


async def test_stopping_keeps_the_jobs_for_the_next_life() -> None:
    """What was running is queued again and no retry is counted."""
    with world(endpoint(workers_min=1)) as it:
        await it.tick()
        job = it.submit()
        it.poll(it.sessions()[0])
        await it.scaler.stop()
        found = it.scaler.book.get(it.id, job.id)
        assert found is not None
        assert (found.status, found.lost) == (JobStatus.IN_QUEUE, 0)
        assert it.host.alive() == []


async def test_without_capacity_workers_are_throttled() -> None:
    """The lever, and the machine's slots; both let go again."""
    with world(endpoint(workers_min=2, workers_max=2), worker_slots=1) as it:
        it.scaler.throttle(it.id, True)
        await it.tick()
        assert it.statuses() == ["THROTTLED"] * 2
        assert it.host.specs == []
        it.scaler.throttle(it.id, False)
        await it.tick()
        assert it.statuses() == ["INITIALIZING", "THROTTLED"]


async def test_phases_have_times() -> None:
    """What the start table of `up` is made of."""
    with world(endpoint(workers_min=1)) as it:
        await it.tick()
        (session,) = it.sessions()
        await it.tick(5)
        it.poll(session)
        await it.tick(5)
        it.submit()
        it.poll(session)
        (details,) = it.scaler.worker_details(it.id)
        times = details["times"]
        assert times["queued"] <= times["started"] < times["firstPoll"] < times["firstJob"]
        assert times["ended"] is None
        assert details["phases"] == {"process": 0.0, "ready": 5.0}


@pytest.mark.parametrize("seed", range(8))
async def test_never_more_workers_than_max_and_everything_ends(seed: int) -> None:
    """Under random jobs, crashes, releases and limits: processes never exceed the largest max in force since they
    were started, and once the jobs are done everything goes back to min."""
    dice = random.Random(seed)
    scaling = dice.choice([DELAY, COUNT])
    with world(endpoint(workers_max=3, scaling=scaling, idle_timeout_s=5)) as it:
        for _ in range(120):
            match dice.randrange(8):
                case 0 | 1 | 2:
                    it.submit()
                case 3 if it.sessions():
                    it.poll(dice.choice(it.sessions()), dice.randint(1, 2))
                case 4 if it.sessions():
                    session = dice.choice(it.sessions())
                    for job_id in list(session.jobs):
                        it.scaler.book.finish(session.worker_id, job_id, output="1", error=None)
                case 5 if it.host.alive():
                    it.host.containers[dice.choice(it.host.alive())].exit(dice.choice([0, 1, -9]))
                case 6 if dice.random() < 0.3:
                    it.catalogue.change(it.id, version=it.catalogue.by_id[it.id].version + 1)
                    it.scaler.endpoint_changed(it.id)
            await it.tick(dice.choice([0.0, 1.0, 3.0]))
            assert len(it.host.alive()) <= 3
            assert len(it.statuses()) <= 3
        for _ in range(400):
            for session in it.sessions():
                for job in it.poll(session, 5):
                    it.finish(job)
                for job_id in list(session.jobs):
                    it.scaler.book.finish(session.worker_id, job_id, output="1", error=None)
            await it.tick(3)
        await settle()
        counts = it.scaler.book.counts(it.id)
        assert (counts.in_queue, counts.in_progress) == (0, 0)
        assert it.host.alive() == []
        assert it.statuses() == []


async def test_a_volume_is_mounted_where_it_lives(tmp_path: Path) -> None:
    """The worker runs in the volume's data centre and sees its directory."""
    with world(endpoint(workers_min=1, network_volumes=("v1", "v2"), data_center_ids=("EU-RO-1",))) as it:
        it.catalogue.volumes = {"v1": "US-KS-2", "v2": "EU-RO-1"}
        await it.tick()
        (spec,) = it.host.specs
        assert spec.volume_dir == it.ctx.config.volume_dir("v2")
        assert spec.volume_dir.is_dir()
        assert spec.env["RUNPOD_VOLUME_ID"] == "v2"
        assert it.scaler.workers(it.id)[0].data_center_id == "EU-RO-1"


async def test_the_environment_of_a_worker() -> None:
    """Endpoint env under the platform's own, placeholders literal, secrets named for the log."""
    env = {
        "MODEL_NAME": "/models/m",
        "HF_TOKEN": "hf_12345678",
        "RUNPOD_POD_ID": "forged",
        "RUNPOD_SKIP_GPU_CHECK": "false",
    }
    with world(endpoint(workers_min=1, env=env, registry="r1", entrypoint=("a",), cmd=("b", "c"))) as it:
        await it.tick()
        (spec,) = it.host.specs
        base = f"http://127.0.0.1:1/v2/{it.id}"
        query = "?gpu=NVIDIA+GeForce+RTX+4090"
        assert spec.env["RUNPOD_WEBHOOK_GET_JOB"] == f"{base}/job-take/$ID{query}"
        assert spec.env["RUNPOD_WEBHOOK_POST_OUTPUT"] == f"{base}/job-done/$RUNPOD_POD_ID/$ID{query}"
        assert spec.env["RUNPOD_WEBHOOK_POST_STREAM"] == f"{base}/job-stream/$RUNPOD_POD_ID/$ID{query}"
        assert spec.env["RUNPOD_WEBHOOK_PING"] == f"{base}/ping/$RUNPOD_POD_ID{query}"
        assert spec.env["RUNPOD_PING_INTERVAL"] == "10000"
        assert spec.env["RUNPOD_POD_ID"] == spec.worker_id
        assert spec.env["RUNPOD_ENDPOINT_ID"] == it.id
        assert spec.env["RUNPOD_SKIP_AUTO_SYSTEM_CHECKS"] == "true"
        assert spec.env["RUNPOD_SKIP_GPU_CHECK"] == "false"
        assert spec.env["MODEL_NAME"] == "/models/m"
        assert (spec.entrypoint, spec.cmd, spec.registry_auth) == (("a",), ("b", "c"), ("user", "password-of-r1"))
        assert set(spec.secrets) == {spec.env["RUNPOD_AI_API_KEY"], "password-of-r1", "hf_12345678"}
