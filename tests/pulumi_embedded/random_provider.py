"""The demo plugin as the told stories need it: faults that wait for company, and kills of the engine.

A fault with `delay` lets everything that runs beside it begin first, so that what was begun is no matter of luck.
`kill.json` {"at": n, "when": "before" | "after"} kills the engine around the n-th call that changes the cloud.
"""

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent / "provider"))

import demo_provider  # type: ignore[import-not-found]


class KillingCloud(demo_provider.Cloud):  # type: ignore[misc]
    """A cloud that may kill the engine when it is called."""

    changes = 0

    def log(self, rpc: str, name: str, preview: bool = False, **more: Any) -> None:
        """Note the call; kill before it acts, if this is the one."""
        super().log(rpc, name, preview, **more)
        if rpc in ("create", "update", "delete") and not preview:
            self.changes += 1
            self._kill("before")

    def write(self, things: dict[str, Any]) -> None:
        """Write; kill after it, if this is the one."""
        super().write(things)
        self._kill("after")

    def _kill(self, when: str) -> None:
        path = self.root / "kill.json"
        if not path.exists() or json.loads(path.read_text()) != {"at": self.changes, "when": when}:
            return
        path.unlink()
        for lock in (self.root.parent / "state" / ".pulumi" / "locks").rglob("*.json"):
            os.kill(json.loads(lock.read_text())["pid"], signal.SIGKILL)


class PatientDemo(demo_provider.Demo):  # type: ignore[misc]
    """A provider whose failures may come late."""

    async def _fault(self, rpc: str, name: str, context: Any, *more: Any) -> None:
        for fault in self.cloud._load("faults.json", []):
            if (fault["rpc"], fault["name"]) == (rpc, name) and fault.get("times", 1) > 0 and "delay" in fault:
                await asyncio.sleep(fault["delay"])
                break
        await super()._fault(rpc, name, context, *more)

    async def Read(self, request: Any, context: Any) -> Any:
        """What was read, secret where something in the property was: what a careful provider answers.

        The CLI takes the mark off a value that comes back without it, and the embedded engine does not, on purpose.
        """
        answer = await super().Read(request, context)
        for part in (answer.inputs, answer.properties):
            given = demo_provider.decode_struct(part)
            for key, value in demo_provider.decode_struct(request.inputs).items():
                if key in given and demo_provider.plain(value) != value:
                    part.update({key: demo_provider.secret(demo_provider.plain(given[key]))})
        return answer


def main() -> None:
    """Serve as the demo plugin does."""
    demo_provider.Cloud, demo_provider.Demo = KillingCloud, PatientDemo
    asyncio.run(demo_provider.main())


if __name__ == "__main__":
    main()
