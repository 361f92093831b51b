"""Workers as real processes from real images, the same table with and without namespaces."""

import asyncio
import os
import signal
import sys
import time
from pathlib import Path

import pytest

from runpod_emulator.config import Mount
from runpod_emulator.host import BadImage, HostError, Isolation, NamespacesMissing, StartFailed
from runpod_emulator.host._processes import Process, all_states, is_alive
from tests.runpod_emulator.host.support import File, Image, below, bench, folder, shell_image, symlink, tar


async def test_env_of_the_endpoint_lies_over_the_images(tmp_path: Path, isolation: Isolation) -> None:
    """The image's Env is kept where the endpoint is silent; PATH has a default."""
    image = shell_image('echo "$A $B $C"; echo "$PATH"', Env=["A=image", "B=image"])
    async with bench(tmp_path, isolation) as host:
        code, said = await host.run(image, env={"B": "endpoint", "C": "with = and 'quotes'"})
    assert (code, said[0]) == (0, "image endpoint with = and 'quotes'")
    assert said[1] == "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


async def test_files_come_from_the_image(tmp_path: Path, isolation: Isolation) -> None:
    """By a path in an argument, by one in the environment, and in a list of paths."""
    image = shell_image(
        'cat /models/m/a "$MODEL_NAME/b"; cat "${LIST#*:}/c"',
        File("models/m/a", b"1\n"), File("models/m/b", b"2\n"), File("opt/worker/c", b"3\n"),
        Env=["MODEL_NAME=/models/m", "LIST=/nowhere:/opt/worker"],
    )  # fmt: skip
    async with bench(tmp_path, isolation) as host:
        assert await host.run(image) == (0, ["1", "2", "3"])


async def test_python_finds_its_packages_in_the_image(tmp_path: Path, isolation: Isolation) -> None:
    """As the worker is found: PYTHONPATH in the image, the interpreter in a mount."""
    image = Image(
        [tar([folder("opt"), folder("opt/code"), File("opt/code/hello.py", b"import sys; print('hi', sys.argv[1:])")])],
        {
            "Entrypoint": ["python3", "-m", "hello"],
            "Cmd": ["from image"],
            "Env": ["PYTHONPATH=/opt/code", "PATH=/opt/python/bin"],
        },
    )
    base = Path(sys.base_prefix)
    mounts = (Mount(base, "/opt/python"),) if base != Path("/usr") else ()
    async with bench(tmp_path, isolation, mounts=mounts) as host:
        if not mounts:
            pytest.skip("this Python is the system's, it needs no mount")
        assert await host.run(image, env={"PYTHONHOME": "/opt/python"}) == (0, ["hi ['from image']"])
        assert (await host.run(image, cmd=("x", "y"), env={"PYTHONHOME": "/opt/python"}))[1] == ["hi ['x', 'y']"]


async def test_entrypoint_replaces_command_too(tmp_path: Path, isolation: Isolation) -> None:
    """As with container engines; cmd alone keeps the image's entrypoint."""
    image = Image([tar([folder("models")])], {"Entrypoint": ["/bin/echo", "image"], "Cmd": ["cmd"]})
    async with bench(tmp_path, isolation) as host:
        assert (await host.run(image))[1] == ["image cmd"]
        assert (await host.run(image, cmd=("other",)))[1] == ["image other"]
        assert (await host.run(image, entrypoint=("/bin/echo",)))[1] == [""]
        assert (await host.run(image, entrypoint=("/bin/echo", "a"), cmd=("b",)))[1] == ["a b"]


async def test_exit_codes_are_told_apart_from_signals(tmp_path: Path, isolation: Isolation) -> None:
    """137 said by a shell is 137; killed by SIGKILL is -9."""
    async with bench(tmp_path, isolation) as host:
        for script, expected in (
            ("exit 3", 3),
            ("sleep 0.1; exit 137", 137),
            ("kill -9 $$", -9),
            ("kill -TERM $$", -15),
        ):
            assert (await host.run(shell_image(script)))[0] == expected, script


async def test_the_volume_is_read_and_written_at_runpod_volume(tmp_path: Path, isolation: Isolation) -> None:
    """What the worker writes there is on the host and stays."""
    volume = tmp_path / "volume"
    volume.mkdir()
    (volume / "in").write_text("from host\n")
    image = shell_image('cat /runpod-volume/in; echo from worker > "$V/out"', Env=["V=/runpod-volume"])
    async with bench(tmp_path, isolation) as host:
        assert await host.run(image, volume_dir=volume) == (0, ["from host"])
    assert (volume / "out").read_text() == "from worker\n"


async def test_mounts_are_visible_where_they_are_wanted(tmp_path: Path, isolation: Isolation) -> None:
    """Beside folders of the image, and with namespaces read-only."""
    source = tmp_path / "venv"
    source.mkdir()
    (source / "f").write_text("mounted\n")
    script = "cat /opt/vllm/f /opt/worker/a; echo x > /opt/vllm/g && echo written"
    image = shell_image(script, folder("opt/worker"), File("opt/worker/a", b"a\n"))
    async with bench(tmp_path, isolation, mounts=(Mount(source, "/opt/vllm"),)) as host:
        _, said = await host.run(image)
    assert said[:2] == ["mounted", "a"]
    assert ("written" in said) == (isolation == "none")


@pytest.mark.parametrize("target", ["/", "/proc/x", "/dev", "/sys", "/runpod-volume/a", "/a/../proc"])
async def test_a_mount_cannot_take_what_every_worker_needs(tmp_path: Path, target: str) -> None:
    """It is refused by name, before anything starts."""
    async with bench(tmp_path, mounts=(Mount(tmp_path, target),)) as host:
        with pytest.raises(HostError, match="--mount SRC=DST"):
            await host.run(shell_image("true"))


async def test_sigterm_reaches_the_program_and_its_code_comes_back(tmp_path: Path, isolation: Isolation) -> None:
    """The program itself, not only what wraps it, and as its own choice of exit code."""
    image = shell_image("trap 'echo got it; exit 5' TERM; echo ready; while :; do sleep 0.05; done")
    async with bench(tmp_path, isolation) as host:
        container = await host.start(image)
        await host.until("w1", "ready")
        await container.stop(10)
        assert await container.wait() == 5
        assert host.said("w1") == ["ready", "got it"]
        assert host.said("w1", "system")[-2:] == ["stopping: SIGTERM sent", "exited with code 5"]


async def test_sigkill_follows_when_sigterm_is_ignored(tmp_path: Path, isolation: Isolation) -> None:
    """Grandchildren in sessions of their own are gone as well when stop returns."""
    script = (
        "trap '' TERM; setsid sh -c 'trap \"\" TERM; echo up; while :; do sleep 1; done' & while :; do sleep 1; done"
    )
    async with bench(tmp_path, isolation) as host:
        container = await host.start(shell_image(script))
        await host.until("w1", "up")
        before = below([container._outer.pid])
        await container.stop(0.2)
        assert await container.wait() == -signal.SIGKILL
        assert not leftovers(before)


async def test_nothing_survives_the_program(tmp_path: Path, isolation: Isolation) -> None:
    """A program that ends leaves its daemons; the host does not."""
    script = "setsid sh -c 'echo $$; echo up; exec sleep 1000' & sleep 0.2; exit 4"
    async with bench(tmp_path, isolation) as host:
        container = await host.start(shell_image(script))
        await host.until("w1", "up")
        before = below([container._outer.pid])
        assert await container.wait() == 4
        assert not leftovers(before)


@pytest.mark.parametrize("victim", ["program", "wrapper"])
async def test_a_kill_from_outside_ends_everything(tmp_path: Path, isolation: Isolation, victim: str) -> None:
    """kill -9 of the program, or of what wraps it: no daemon of the worker is left."""
    script = "setsid sh -c 'echo up; exec sleep 1000' & wait"
    async with bench(tmp_path, isolation) as host:
        container = await host.start(shell_image(script))
        await host.until("w1", "up")
        before = below([container._outer.pid])
        os.kill(container.pid if victim == "program" else container._outer.pid, signal.SIGKILL)
        async with asyncio.timeout(10):
            assert await container.wait() == -signal.SIGKILL
        assert not leftovers(before)


def leftovers(before: set[Process]) -> list[Process]:
    """Those of the worker's processes that still run; there were several, or the test shows nothing."""
    assert len(before) >= 3
    return [process for process in before if is_alive(process)]


async def test_stop_may_be_called_twice_and_after_the_end(tmp_path: Path, isolation: Isolation) -> None:
    """The second call, with less patience, hastens the first."""
    async with bench(tmp_path, isolation) as host:
        container = await host.start(shell_image("trap '' TERM; echo ready; while :; do sleep 0.1; done"))
        await host.until("w1", "ready")
        async with asyncio.timeout(10):
            await asyncio.gather(container.stop(60), container.stop(0.1))
        await container.stop(0)
        assert await container.wait() == -signal.SIGKILL


async def test_a_missing_program_is_a_start_failure(tmp_path: Path, isolation: Isolation) -> None:
    """One line with the program's name; nothing stays behind, and the id can be used again."""
    image = Image([tar([folder("models")])], {"Cmd": ["no-such-program"]})
    async with bench(tmp_path, isolation) as host:
        with pytest.raises(StartFailed, match=r"does not start: .*no-such-program: No such file or directory; check"):
            await host.start(image)
        assert not list(host.config.workers_dir.glob("*/process.json"))


async def test_no_command_at_all_is_a_start_failure(tmp_path: Path) -> None:
    """It says what to set."""
    async with bench(tmp_path) as host:
        with pytest.raises(
            StartFailed, match="neither the image nor the endpoint names a command; set entrypoint or cmd"
        ):
            await host.start(Image([tar([folder("models")])]))


async def test_the_working_directory_is_the_images(tmp_path: Path, isolation: Isolation) -> None:
    """Also when the image does not have the folder: then it is made."""
    async with bench(tmp_path, isolation) as host:
        assert (await host.run(shell_image("cat here", File("app/here", b"x\n"), WorkingDir="/app")))[1] == ["x"]
        if isolation != "none":
            assert (await host.run(shell_image("pwd", WorkingDir="/new/place")))[1] == ["/new/place"]


async def test_what_a_worker_writes_is_gone_with_it(tmp_path: Path) -> None:
    """The image's files stay what they are; the next worker sees them so."""
    async with bench(tmp_path, "overlay") as host:
        image = shell_image("cat /models/a; echo changed > /models/a; cat /models/a", File("models/a", b"old\n"))
        assert (await host.run(image))[1] == ["old", "changed"]
        assert (await host.run(image))[1] == ["old", "changed"]


@pytest.mark.parametrize("way", ["overlay", "binds"])
async def test_the_host_is_not_visible_inside(tmp_path: Path, way: Isolation) -> None:
    """Neither home, nor the state directory, nor other processes; and no capability is left."""
    (tmp_path / "secret").write_text("secret")
    script = (
        f"ls -A /root /home {tmp_path} 2>/dev/null | grep -v :; "
        "ls /proc | grep -c '^[0-9]'; grep CapEff /proc/self/status"
    )
    async with bench(tmp_path, way) as host:
        _, said = await host.run(shell_image(script))
    assert [line for line in said if line] == [said[-2], "CapEff:\t0000000000000000"]
    assert int(said[-2]) < 8


@pytest.mark.parametrize("way", ["overlay", "binds"])
async def test_usual_places_can_be_written(tmp_path: Path, way: Isolation) -> None:
    """/tmp, /var/tmp, /root, /run and /dev/shm, whether or not the image has them."""
    script = "for d in /tmp /var/tmp /root /run /dev/shm; do echo x > $d/f || exit 1; done; id -un; test -s /etc/hosts"
    async with bench(tmp_path, way) as host:
        assert await host.run(shell_image(script)) == (0, ["root"])
        more = (folder("var"), folder("run", 0o755), folder("tmp", 0o1777), File("etc/x"))
        assert await host.run(shell_image(script, *more)) == (0, ["root"])


USERS = {"1000": "1000 0 /", "1000:50": "1000 50 /", "svc": "1234 99 /srv", "svc:grp": "1234 77 /srv"}


@pytest.mark.parametrize("way", ["overlay", "binds"])
async def test_the_user_of_the_image_is_taken_over(tmp_path: Path, way: Isolation) -> None:
    """By number, by number and group, by name in the image's own passwd."""
    accounts = (File("etc/passwd", b"svc:x:1234:99::/srv:/bin/sh\n"), File("etc/group", b"grp:x:77:\n"))
    async with bench(tmp_path, way) as host:
        for user, expected in (
            ("1000", "1000 0 /"),
            ("1000:50", "1000 50 /"),
            ("svc", "1234 99 /srv"),
            ("svc:grp", "1234 77 /srv"),
        ):
            image = shell_image('echo "$(id -u) $(id -g) $HOME"', *accounts, User=user)
            assert (await host.run(image))[1] == [expected]
        with pytest.raises(StartFailed, match="its user 'nobody-here' is not in its /etc/passwd"):
            await host.run(shell_image("true", *accounts, User="nobody-here"))


@pytest.mark.parametrize("way", ["overlay", "binds"])
async def test_symlinks_of_the_image_do_not_lead_the_mounts_astray(tmp_path: Path, way: Isolation) -> None:
    """A mount below a symlinked folder goes to where the link points inside; the host gets nothing."""
    source, outside = tmp_path / "venv", tmp_path / "outside"
    source.mkdir()
    outside.mkdir()
    (source / "f").write_text("mounted\n")
    image = shell_image("cat /opt/vllm/f", folder("var/opt"), symlink("opt", "/var/opt"), symlink("etc", str(outside)))
    async with bench(tmp_path, way, mounts=(Mount(source, "/opt/vllm"),)) as host:
        assert (await host.run(image))[1] == ["mounted"]
        assert not list(outside.iterdir())
        with pytest.raises(BadImage, match="/proc is a symlink"):
            await host.run(shell_image("true", symlink("proc", "/tmp")))


async def test_the_environment_stands_in_no_command_line(tmp_path: Path, isolation: Isolation) -> None:
    """Whoever lists processes sees no value of it."""
    async with bench(tmp_path, isolation) as host:
        container = await host.start(shell_image("echo up; sleep 100"), env={"TOKEN": "very-secret-value"})
        await host.until("w1", "up")
        for state in all_states():
            try:
                line = Path(f"/proc/{state.process.pid}/cmdline").read_bytes()
            except OSError:
                continue
            assert b"very-secret-value" not in line
        await container.stop(0)


async def test_an_images_loader_variables_do_not_act_on_the_host(tmp_path: Path, isolation: Isolation) -> None:
    """LD_PRELOAD is for the worker's program, not for what starts it."""
    async with bench(tmp_path, isolation) as host:
        code, said = await host.run(shell_image("exit 0", Env=["LD_LIBRARY_PATH=/none", "PYTHONHOME=/none"]))
    assert (code, said) == (0, [])


async def test_output_is_logged_without_secrets(tmp_path: Path, isolation: Isolation) -> None:
    """stdout and stderr in their true order; a secret by value, wherever it is printed."""
    image = shell_image("echo out; echo err >&2; echo key=$KEY; printf 'no line end'")
    async with bench(tmp_path, isolation) as host:
        _, said = await host.run(image, env={"KEY": "s3cr3t-value"}, secrets=("s3cr3t-value",))
        assert said == ["out", "err", "key=[secret]", "no line end"]
        stored = b"".join(path.read_bytes() for path in host.config.workers_dir.rglob("*") if path.is_file())
        assert b"s3cr3t-value" not in stored


async def test_the_system_log_tells_the_steps(tmp_path: Path, isolation: Isolation) -> None:
    """Looked up, unpacked, created, started, ended; and times on the container."""
    async with bench(tmp_path, isolation) as host:
        await host.run(shell_image("exit 0", File("models/a", b"x" * 2_000_000)))
        lines, container = host.said("w1", "system"), host.containers[0]
    expected = [
        "looking it up",
        "sha256:",
        "layer 1/1 sha256:",
        "image ready after",
        "created:",
        "started, pid",
        "exited with code 0",
    ]
    found = iter(lines)
    assert all(any(word in line for line in found) for word in expected), lines
    assert "2.0 MB verified and unpacked in" in "\n".join(lines)
    assert container.timings.unpack_s > 0
    assert container.timings.start_s > 0
    assert container.image_ready_at is not None
    assert container.image_digest.startswith("sha256:")
    assert sum("warning: no namespaces" in line for line in lines) == (isolation == "none")


async def test_cancelling_a_start_leaves_no_process(tmp_path: Path, isolation: Isolation) -> None:
    """At whatever point it is cancelled."""
    async with bench(tmp_path, isolation) as host:
        seconds = str(time.time_ns())  # tells our process from all others
        image = shell_image(f"echo up; exec sleep {seconds}")
        for pause in (0.0, 0.005, 0.02, 0.04, 0.08):
            task = asyncio.create_task(host.start(image))
            await asyncio.sleep(pause)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            if not task.cancelled() and task.exception() is None:
                await task.result().stop(0)
        assert not [s for s in all_states() if seconds.encode() in _cmdline(s.process.pid)]
        assert not list(host.config.workers_dir.glob("*/process.json"))


def _cmdline(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


async def test_an_id_is_used_once_at_a_time_and_must_be_plain(tmp_path: Path) -> None:
    """A path in it would be a way out of the workers' folder."""
    async with bench(tmp_path) as host:
        container = await host.start(shell_image("sleep 100"))
        with pytest.raises(HostError, match="w1 runs already"):
            await host.start(shell_image("true"), worker_id="w1")
        with pytest.raises(HostError, match="is no worker id"):
            await host.start(shell_image("true"), worker_id="../x")
        await container.stop(0)
        assert (await host.run(shell_image("true"), worker_id="w1"))[0] == 0
        assert host.host.logs("../../etc/passwd").read() == []


async def test_a_full_host_of_workers_shares_one_pull(tmp_path: Path, isolation: Isolation) -> None:
    """Workers of one image started at once unpack it once; each has the lines in its log."""
    async with bench(tmp_path, isolation) as host:
        shell_image("exit 0", File("models/a", b"x" * 100_000)).write(tmp_path / "root/images")
        results = await asyncio.gather(*(host.run("oci:images:1") for _ in range(4)))
        assert [code for code, _ in results] == [0] * 4
        assert len(list((host.config.cache_dir / "layers").iterdir())) == 1
        for number in range(1, 5):
            assert any("verified and unpacked" in line or "cache" in line for line in host.said(f"w{number}", "system"))


async def test_asking_for_namespaces_that_are_not_there_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`auto` would fall back with a warning; who insists is told."""
    monkeypatch.setattr("runpod_emulator.host._bubblewrap.find", lambda: None)
    async with bench(tmp_path, "overlay") as host:
        with pytest.raises(NamespacesMissing, match="bubblewrap is not installed"):
            await host.run(shell_image("true"))
    async with bench(tmp_path, "auto") as host:
        assert (await host.run(shell_image("echo fell back")))[1] == ["fell back"]
        assert any("bubblewrap is not installed" in line for line in host.said("w1", "system"))
