"""Pods as processes. One task per running pod: it starts the image, waits for the end, and writes down how it ended."""

import asyncio
import logging
from dataclasses import dataclass, field, replace
from typing import Literal

from aiohttp import web

from redaction import redact
from runpod_emulator.balancer import is_free
from runpod_emulator.context import Context
from runpod_emulator.control.containers import decode
from runpod_emulator.control.problem import bad_request
from runpod_emulator.control.records import Pod, Records
from runpod_emulator.errors import EmulatorError
from runpod_emulator.model import ContainerSpec
from runpod_emulator.pods._rules import http_ports
from runpod_emulator.ports import Container
from runpod_emulator.scaler import secret_values

_log = logging.getLogger(__name__)


@dataclass(eq=False)
class Run:
    """One life of a pod, from its start to the end of its process."""

    pod: Pod
    status: Literal["PROVISIONING", "STARTING", "RUNNING"] = "PROVISIONING"
    started_at: float | None = None
    asked_to_stop: bool = False
    container: Container | None = None
    task: asyncio.Task[None] | None = field(default=None, repr=False)


class PodRunner:
    def __init__(self, ctx: Context, records: Records) -> None:
        self._ctx, self._records = ctx, records
        self._runs: dict[str, Run] = {}
        self._ending = False

    async def start(self, _app: web.Application | None = None) -> None:
        """Start again what ran when an earlier emulator ended (our assumption)."""
        for pod in self._records.pods():
            if pod.at_rest is None:
                self._launch(pod)

    async def stop(self, _app: web.Application | None = None) -> None:
        """End all processes; their pods shall run again in the next life."""
        self._ending = True
        await asyncio.gather(*(self._end(run) for run in list(self._runs.values())))

    async def state_replaced(self) -> None:
        """The database holds other rows now."""
        await self.stop()
        self._ending = False
        await self.start()

    def run_of(self, pod_id: str) -> Run | None:
        return self._runs.get(pod_id)

    def check_ports(self, pod: Pod) -> None:
        """All pods share this machine's ports; one that is in use is no capacity, which is a 400 (our assumption)."""
        theirs = {port for run in self._runs.values() for port, _ in http_ports(run.pod.container)}
        for port, _ in http_ports(pod.container):
            if port in theirs or not is_free(port):
                raise bad_request(f"port {port} is in use on this machine; free it or publish another one")

    def begin(self, pod: Pod) -> None:
        """Store that it shall run, and start it. Never blocks."""
        pod = replace(pod, at_rest=None)
        self._records.save_pod(pod)
        self._launch(pod)

    async def end(self, pod_id: str) -> None:
        """Its process is gone when this returns."""
        run = self._runs.get(pod_id)
        if run is not None:
            await self._end(run)

    async def terminate(self, pod_id: str) -> None:
        """The record goes first, so that nothing starts it again."""
        self._records.delete_pod(pod_id)
        await self.end(pod_id)

    def _launch(self, pod: Pod) -> None:
        run = self._runs[pod.id] = Run(pod)
        run.task = asyncio.get_running_loop().create_task(self._run(run), name=f"pod {pod.id}")
        # A task that is cancelled before its first step never enters its own `finally`.
        run.task.add_done_callback(lambda _task: self._conclude(run, "EXITED"))

    async def _end(self, run: Run) -> None:
        run.asked_to_stop = True
        assert run.task is not None
        if run.container is None:
            run.task.cancel()
        else:
            await run.container.stop(self._ctx.config.timing.stop_grace_s)
        await asyncio.gather(run.task, return_exceptions=True)
        self._conclude(run, "EXITED")

    async def _run(self, run: Run) -> None:
        ended: Literal["EXITED", "ERROR"] = "ERROR"
        try:
            run.status = "STARTING"
            run.container = await self._ctx.host.start(self._spec(run.pod))
            run.started_at = self._ctx.clock()
            run.status = "RUNNING"
            code = await run.container.wait()
            await run.container.stop(0.0)  # its children may have outlived it
            ended = "EXITED" if code == 0 or run.asked_to_stop else "ERROR"
            self._note(run.pod, f"the container ended with code {code}")
        except asyncio.CancelledError:
            ended = "EXITED"
            if run.container is not None:
                await run.container.stop(0.0)
        except (EmulatorError, OSError) as error:
            reason = redact(str(error)) or type(error).__name__
            self._note(run.pod, f"the container did not start: {reason}")
            _log.warning("pod %s did not start: %s", run.pod.id, reason)
        except Exception:  # noqa: BLE001 - the outermost edge of this pod: it fails, the emulator goes on
            _log.exception("pod %s; this is a fault of the emulator, please report it", run.pod.id)
        finally:
            self._conclude(run, ended)

    def _conclude(self, run: Run, ended: Literal["EXITED", "ERROR"]) -> None:
        if self._runs.get(run.pod.id) is not run:
            return
        del self._runs[run.pod.id]
        stored = self._records.pod(run.pod.id)
        if stored is not None and not self._ending:
            self._records.save_pod(replace(stored, at_rest=ended))

    def _note(self, pod: Pod, line: str) -> None:
        self._ctx.host.logs(pod.id).append("system", line)

    def _spec(self, pod: Pod) -> ContainerSpec:
        """RunPod's variables of a pod (runpod-api.md §3.1); no RUNPOD_API_KEY (our assumption)."""
        command = decode(pod.container.args)
        told = {
            "RUNPOD_POD_ID": pod.id,
            "RUNPOD_POD_HOSTNAME": f"{pod.id}-local",
            "RUNPOD_DC_ID": pod.data_center_id,
            "RUNPOD_PUBLIC_IP": "127.0.0.1",
            "RUNPOD_GPU_COUNT": str(pod.gpu["count"] if pod.gpu is not None else 0),
            **{f"RUNPOD_TCP_PORT_{port}": str(port) for port, kind in http_ports(pod.container) if kind == "tcp"},
        }
        if pod.cpu is not None:
            told["RUNPOD_CPU_COUNT"] = str(pod.cpu["vcpuCount"])
        registry = pod.container.registry
        auth = self._ctx.endpoints.registry_auth(registry) if registry else None
        return ContainerSpec(
            worker_id=pod.id,
            endpoint_id="",
            image=pod.container.image,
            env={**pod.container.env, **told},
            entrypoint=command.entrypoint,
            cmd=command.cmd,
            registry_auth=auth,
            secrets=(*(auth or ())[1:], *secret_values(pod.container.env)),
        )


PODS: web.AppKey[PodRunner] = web.AppKey("runpod_emulator.pods", PodRunner)
