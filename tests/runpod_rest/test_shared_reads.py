"""Reads that share a list: how few calls it takes, and that no answer is older than it may be."""

import asyncio
from typing import Any

import pytest
from aiohttp import web

from runpod_rest import NotFound, RateLimited
from runpod_rest._shared_reads import SharedReads
from tests.runpod_rest.support import Answer, Clock, Server, client, serving

ITEMS = 20


class Kind(Server):
    """Endpoints in a dictionary, listed in pages of 8."""

    def __init__(self) -> None:
        super().__init__()
        self.items: dict[str, dict[str, Any]] = {f"e{n}": {"id": f"e{n}", "name": "first"} for n in range(ITEMS)}
        self.hidden: set[str] = set()
        """Not listed yet, as in a list that lags behind."""
        self.calls: list[str] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        resource_id = request.path.rpartition("/")[2]
        is_list = resource_id == "serverless"
        self.calls.append(f"{request.method} {'list' if is_list else 'one'}")
        if is_list:
            start = int(request.query.get("cursor", "0"))
            found = [item for key, item in self.items.items() if key not in self.hidden]
            page, more = found[start : start + 8], start + 8 < len(found)
            answer = {
                "endpoints": [dict(item) for item in page],
                "pagination": {"nextCursor": str(start + 8) if more else None, "hasNextPage": more},
            }
            await self.gate.wait()
            return web.json_response(answer)
        if resource_id not in self.items:
            return web.json_response({"status": 404, "title": "Not Found"}, status=404)
        if request.method == "PATCH":
            self.items[resource_id] |= await request.json()
        return web.json_response(self.items[resource_id])


@pytest.fixture
async def kind() -> Any:
    server = Kind()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", server.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.05)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield server
    await runner.cleanup()


async def test_many_reads_at_once_are_one_walk_through_the_list(kind: Kind) -> None:
    """Each gets its own item; three pages are three calls."""
    async with client(kind) as cloud:
        items = await asyncio.gather(*(cloud.endpoints.read(key) for key in kind.items))
    assert [item["id"] for item in items] == list(kind.items)
    assert kind.calls == ["GET list"] * 3


async def test_who_comes_at_the_very_end_of_the_list_is_answered_from_it() -> None:
    """After the list has ended, before those who waited for it have their turn: there is still one list."""
    lists, late = [0], list[asyncio.Task[None]]()

    async def list_all() -> list[dict[str, Any]]:
        lists[0] += 1
        if lists[0] == 1:
            loop = asyncio.get_running_loop()
            loop.call_soon(lambda: late.append(asyncio.create_task(reads._refill("e4"))))
        return [{"id": f"e{number}"} for number in range(5)]

    async def get_one(_resource_id: str) -> dict[str, Any]:
        raise AssertionError("nobody is alone here")

    reads = SharedReads(Clock(), list_all, get_one)
    await asyncio.gather(*(reads.read(f"e{number}") for number in range(4)))
    await asyncio.gather(*late)
    assert len(late) == 1
    assert lists == [1]


async def test_reads_one_after_the_other_come_to_share_a_list_too(kind: Kind) -> None:
    """An engine with `--parallel 1`: two by themselves, then the list."""
    async with client(kind) as cloud:
        for key in kind.items:
            await cloud.endpoints.read(key)
    assert kind.calls == ["GET one"] * 2 + ["GET list"] * 3


async def test_one_read_is_one_get(kind: Kind) -> None:
    """A single resource is not worth the whole account."""
    async with client(kind) as cloud:
        assert (await cloud.endpoints.read("e3"))["id"] == "e3"
    assert kind.calls == ["GET one"]


async def test_an_item_missing_in_the_list_is_asked_for(kind: Kind) -> None:
    """A list may lag behind; only RunPod's own 404 for the item means that it is gone."""
    kind.hidden = {"e5"}
    async with client(kind) as cloud:
        reads = [cloud.endpoints.read(key) for key in (*kind.items, "gone")]
        *items, missing = await asyncio.gather(*reads, return_exceptions=True)
    assert {item["id"] for item in items if isinstance(item, dict)} == set(kind.items)
    assert isinstance(missing, NotFound)
    assert kind.calls.count("GET one") == 2


async def test_no_answer_is_older_than_our_last_write(kind: Kind) -> None:
    """After a write to the kind everything is asked for anew."""
    async with client(kind) as cloud:
        await asyncio.gather(*(cloud.endpoints.read(key) for key in list(kind.items)[:10]))
        kind.items["e15"]["name"] = "changed by RunPod with it"
        await cloud.endpoints.update("e1", {"name": "second"})
        assert (await cloud.endpoints.read("e15"))["name"] == "changed by RunPod with it"


async def test_a_list_that_a_write_overtook_is_not_used(kind: Kind) -> None:
    """The list was asked for before the write and answered after it."""
    kind.gate.clear()
    async with client(kind) as cloud:
        reads = [asyncio.create_task(cloud.endpoints.read(f"e{n}")) for n in range(4)]
        while "GET list" not in kind.calls:
            await asyncio.sleep(0.001)
        await cloud.endpoints.update("e1", {"name": "second"})
        kind.gate.set()
        items = await asyncio.gather(*reads)
    assert items[1]["name"] == "second"


async def test_a_list_serves_half_a_minute(kind: Kind) -> None:
    """A later read asks again, even for an item that was not told yet."""
    clock = Clock()
    async with client(kind, clock) as cloud:
        await asyncio.gather(*(cloud.endpoints.read(key) for key in list(kind.items)[:10]))
        kind.items["e15"]["name"] = "second"
        clock.now += 29
        assert (await cloud.endpoints.read("e16"))["name"] == "first"
        clock.now += 2
        assert (await cloud.endpoints.read("e15"))["name"] == "second"


async def test_who_asks_again_hears_anew(kind: Kind) -> None:
    """One list answers for one item once, so that two looks at one resource see what happened between them."""
    async with client(kind) as cloud:
        await asyncio.gather(*(cloud.endpoints.read(key) for key in kind.items))
        kind.items["e3"]["name"] = "second"
        assert (await cloud.endpoints.read("e3"))["name"] == "second"


async def test_an_answer_belongs_to_who_asked(kind: Kind) -> None:
    """Whoever changes its item changes nobody else's."""
    async with client(kind) as cloud:
        first, second = await asyncio.gather(cloud.endpoints.look_up("e1"), cloud.endpoints.look_up("e1"))
        first["name"] = "mine"
    assert second["name"] == "first"
    assert kind.calls == ["GET one"]


async def test_a_look_up_may_repeat_itself_until_a_write(kind: Kind) -> None:
    """A hundred endpoints of one template: one call. A failed look-up is not remembered."""
    async with client(kind) as cloud:
        with pytest.raises(NotFound):
            await cloud.endpoints.look_up("new")
        kind.items["new"] = {"id": "new", "name": "first"}
        for _ in range(5):
            await cloud.endpoints.look_up("new")
        assert kind.calls == ["GET one"] * 2
        await cloud.endpoints.update("new", {"name": "second"})
        assert (await cloud.endpoints.look_up("new"))["name"] == "second"


async def test_a_deleted_credential_changes_who_refers_to_it() -> None:
    """RunPod empties `registry` of templates silently, so their list is thrown away with it."""
    listed = Answer(200, {"templates": [{"id": f"t{n}", "registry": "r"} for n in range(3)]})
    async with serving(listed) as server, client(server) as cloud:
        await asyncio.gather(*(cloud.templates.read(f"t{n}") for n in range(3)))
        await cloud.registries.delete("r")
        server.answers = [Answer(200, {"id": "t1", "registry": None})]
        assert (await cloud.templates.look_up("t1"))["registry"] is None


async def test_a_list_that_fails_fails_for_all_who_wait(kind: Kind) -> None:
    """One clean error each, and the next read tries again."""
    limited = Answer(429, {}, {"Retry-After": "1812"})
    async with serving(limited) as server, client(server) as cloud:
        found = await asyncio.gather(*(cloud.endpoints.read(f"e{n}") for n in range(5)), return_exceptions=True)
        assert all(isinstance(error, RateLimited) for error in found)
    assert len(server.seen) == 1
