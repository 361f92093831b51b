"""The job plane of queue endpoints: ask an endpoint to do something, and see what became of it."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from runpod_rest._address import segment

if TYPE_CHECKING:
    from runpod_rest._client import Client

Json = dict[str, Any]


class Jobs:
    """Calls under `<jobsUrl>/<endpointId>/…`."""

    def __init__(self, client: "Client") -> None:
        self._client = client

    async def run(self, endpoint_id: str, job_input: Json, *, policy: Mapping[str, object] | None = None) -> Json:
        """Queue a job: `{"id", "status"}`. Not repeated after a lost answer, since it might run twice."""
        body: Json = {"input": job_input}
        if policy:
            body["policy"] = dict(policy)
        return await self._call("POST", endpoint_id, "run", body)

    async def status(self, endpoint_id: str, job_id: str) -> Json:
        """State and, once finished, output of a job. NotFound when its retention is over."""
        return await self._call("GET", endpoint_id, f"status/{segment(job_id)}")

    async def cancel(self, endpoint_id: str, job_id: str) -> Json:
        """Cancel a job. Cancelling twice is the same as once, so this is repeated like a read."""
        return await self._call("POST", endpoint_id, f"cancel/{segment(job_id)}", repeatable=True)

    async def health(self, endpoint_id: str) -> Json:
        """Counters of jobs and workers. They lag behind, and may disagree with `endpoint_workers`."""
        return await self._call("GET", endpoint_id, "health")

    async def _call(
        self, method: str, endpoint_id: str, route: str, body: Json | None = None, *, repeatable: bool = False
    ) -> Json:
        return await self._client.document(
            method,
            f"/{segment(endpoint_id)}/{route}",
            json=body,
            base_url=self._client.jobs_url,
            repeatable=repeatable,
        )
