"""A client for the emulator's levers (docs/emulator-levers.md), for tests and benchmarks.

    async with Levers(base_url, api_key) as levers:
        await levers.fault({"kind": "reset", "when": "after"}, method="POST", path="/v2/templates")

Every method raises LeverRefused with the emulator's own words when it does not succeed.
"""

from types import TracebackType
from typing import Any, Literal

import aiohttp

Json = dict[str, Any]


class LeverRefused(Exception):
    """The emulator did not do what a lever was asked for."""

    def __init__(self, method: str, path: str, status: int, text: str) -> None:
        self.status, self.text = status, text
        super().__init__(f"{method} {path}: {status} {text}")


class Levers:
    """All levers of one emulator. Makes a session of its own with the first call; `close` it, or use `async with`."""

    def __init__(self, base_url: str, api_key: str) -> None:
        self._base_url, self._api_key = base_url.rstrip("/"), api_key
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> "Levers":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    # --- the network between client and service ---------------------------------------------------------------------

    async def fault(
        self,
        fault: Json,
        *,
        method: str | None = None,
        path: str | None = None,
        name: str | None = None,
        times: int | None = 1,
        skip: int = 0,
        chance: float = 1.0,
    ) -> str:
        """Add a rule; its id. `path` is a regular expression for the whole path; `times=None`: until removed."""
        match = {"method": method, "path": path, "name": name}
        rule = {"match": match, "times": times, "skip": skip, "chance": chance, "fault": fault}
        return str((await self._call("POST", "faults", rule))["id"])

    async def latency(self, seconds: float, *, when: Literal["before", "after"] = "before", **rule: Any) -> str:
        return await self.fault({"kind": "latency", "seconds": seconds, "when": when}, **rule)

    async def connection_reset(self, when: Literal["before", "after"], **rule: Any) -> str:
        return await self.fault({"kind": "reset", "when": when}, **rule)

    async def status(self, status: int, *, retry_after: int | None = None, bare: bool = False, **rule: Any) -> str:
        return await self.fault({"kind": "status", "status": status, "retry_after": retry_after, "bare": bare}, **rule)

    async def edge(self, **rule: Any) -> str:
        return await self.fault({"kind": "edge"}, **rule)

    async def truncate(self, after_bytes: int, **rule: Any) -> str:
        return await self.fault({"kind": "truncate", "after_bytes": after_bytes}, **rule)

    async def faults(self) -> list[Json]:
        """All rules, each with `seen` and `fired`."""
        found: list[Json] = (await self._call("GET", "faults"))["faults"]
        return found

    async def fired(self, rule_id: str) -> int:
        return next(int(rule["fired"]) for rule in await self.faults() if rule["id"] == rule_id)

    async def clear(self, rule_id: str | None = None) -> None:
        """Remove one rule, or all."""
        await self._call("DELETE", f"faults/{rule_id}" if rule_id else "faults")

    async def seed(self, seed: int) -> None:
        """Begin the sequence of chances anew."""
        await self._call("POST", "seed", {"seed": seed})

    async def limits(self, requests_per_minute: int | None) -> Json:
        """A fresh budget of so many calls a minute, enforced; None: as the emulator was started."""
        return await self._json("PUT", "limits", {"requests_per_minute": requests_per_minute})

    async def requests(self) -> dict[str, int]:
        """Calls of the control plane so far, as `{"GET /v2/templates/{id}": 3}`."""
        return await self._json("GET", "requests")

    async def forget_requests(self) -> None:
        await self._call("DELETE", "requests")

    # --- the world behind the service -------------------------------------------------------------------------------

    async def advance(self, seconds: float) -> float:
        """Skip time; the emulator's time now, in seconds since the epoch."""
        return float((await self._json("POST", "clock", {"advance_s": seconds}))["now"])

    async def clock(self) -> Json:
        return await self._json("GET", "clock")

    async def capacity(self, places: dict[str, int | None] | None = None) -> dict[str, int]:
        """Set how many workers GPU pools, GPU types or `*` hold (None: no limit) and keep the rest; all limits now."""
        if places is None:
            return await self._json("GET", "capacity")
        return await self._json("PUT", "capacity", places)

    async def workers(
        self,
        endpoint: str,
        *,
        crash_after_s: float | None = None,
        exit_code: int = 1,
        pull_seconds: float | None = None,
        shown_as: str | None = None,
    ) -> Json:
        """What befalls workers of an endpoint (id, name or `*`) that start from now on; nothing: no rule any more."""
        return await self._json(
            "PUT",
            "workers",
            {
                "endpoint": endpoint,
                "crash_after_s": crash_after_s,
                "exit_code": exit_code,
                "pull_seconds": pull_seconds,
                "shown_as": shown_as,
            },
        )

    async def worker_rules(self) -> list[Json]:
        found: list[Json] = (await self._call("GET", "workers"))["workers"]
        return found

    async def clear_workers(self) -> None:
        """Nothing befalls workers any more that start from now on."""
        await self._call("DELETE", "workers")

    # --- what was made ----------------------------------------------------------------------------------------------

    async def reset(self, *, force: bool = False) -> None:
        """Delete everything that was made; refused while workers run, unless `force`. Levers stay as they are."""
        await self._call("POST", "reset?force" if force else "reset")

    async def dump(self) -> Json:
        """Everything that was made, secrets in clear."""
        return await self._json("GET", "dump")

    async def load(self, dump: Any) -> dict[str, int]:
        """Put a dump in place of everything that was made; how many rows each table has now."""
        loaded: dict[str, int] = (await self._call("POST", "load", dump))["loaded"]
        return loaded

    # --- inside -----------------------------------------------------------------------------------------------------

    async def _json(self, method: str, path: str, body: Any = None) -> Json:
        answer = await self._call(method, path, body)
        assert isinstance(answer, dict), answer
        return answer

    async def _call(self, method: str, path: str, body: Any = None) -> Any:
        if self._session is None:
            headers = {"Authorization": f"Bearer {self._api_key}", "User-Agent": "vllm-runpod-tests"}
            self._session = aiohttp.ClientSession(headers=headers)
        async with self._session.request(method, f"{self._base_url}/_emulator/{path}", json=body) as response:
            if response.status >= 300:
                raise LeverRefused(method, f"/_emulator/{path}", response.status, await response.text())
            return None if response.status == 204 else await response.json()
