"""What goes over the wire, and how lists and bodies come back."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runpod_rest import Client, NetworkError, RetryPolicy, UnreadableAnswer, UnusableArgument, default_user_agent
from runpod_rest._address import query, segment
from tests.runpod_rest.support import KEY, Answer, client, serving


def page(ids: list[str], cursor: str | None = None, **changes: Any) -> Answer:
    """One page of endpoints."""
    pagination = {"nextCursor": cursor, "hasNextPage": cursor is not None}
    return Answer(200, {"endpoints": [{"id": name, "name": name} for name in ids], "pagination": pagination | changes})


async def test_each_request_names_us_and_holds_one_key() -> None:
    """The edge refuses Python's own agent, and two Authorization headers."""
    async with serving(Answer(200, {"endpoints": []})) as server, client(server) as cloud:
        await cloud.endpoints.list()
    seen = server.seen[0]
    assert seen.authorizations == [f"Bearer {KEY}"]
    assert seen.headers["user-agent"] == default_user_agent()
    assert seen.headers["user-agent"].startswith("vllm-runpod/")
    assert seen.headers["accept"] == "application/json"


async def test_without_a_key_there_is_no_header() -> None:
    """An absent key is not sent as the word None."""
    async with serving(Answer(200, {"gpus": []})) as server, Client(None, server.url) as cloud:
        await cloud.gpus()
    assert server.seen[0].authorizations == []


async def test_bodies_go_as_json_unchanged() -> None:
    """Whole numbers stay whole, text stays text, null stays null."""
    body = {"name": "zähler", "size": 10, "registry": None, "env": {"A": "1"}}
    async with serving(Answer(201, {"id": "v1", **body})) as server, client(server) as cloud:
        created = await cloud.network_volumes.create(body)
        await cloud.network_volumes.update("v1", {"size": 20})
    assert created == {"id": "v1", **body}
    first, second = server.seen
    assert (first.method, first.path, json.loads(first.body)) == ("POST", "/v2/network-volumes", body)
    assert (second.method, second.path, json.loads(second.body)) == ("PATCH", "/v2/network-volumes/v1", {"size": 20})
    assert first.headers["content-type"] == "application/json"


async def test_every_page_is_read() -> None:
    """A page may be short or empty; only hasNextPage ends the walk."""
    async with serving(page(["a", "b"], "c1"), page([], "c2"), page(["c"])) as server, client(server) as cloud:
        assert [item["id"] for item in await cloud.endpoints.list()] == ["a", "b", "c"]
    assert [seen.query for seen in server.seen] == ["", "cursor=c1", "cursor=c2"]


@pytest.mark.parametrize("pagination", [None, {}, {"hasNextPage": False, "nextCursor": "x"}, {"hasNextPage": True}])
async def test_missing_pagination_means_one_page(pagination: Any) -> None:
    """Older builds of the API, and unpaged lists, have none."""
    answer = Answer(200, {"endpoints": [{"id": "a"}], "pagination": pagination})
    async with serving(answer) as server, client(server) as cloud:
        assert await cloud.endpoints.list() == [{"id": "a"}]
    assert len(server.seen) == 1


async def test_pages_in_a_circle_end() -> None:
    """A cursor that comes again is an error, not an endless walk."""
    async with serving(page(["a"], "c1")) as server, client(server) as cloud:
        with pytest.raises(UnreadableAnswer, match="circle"):
            await cloud.endpoints.list()
    assert len(server.seen) == 2


@pytest.mark.parametrize("body", [{}, {"endpoints": None}, {"endpoints": {}}, {"endpoints": ["x"]}, {"items": []}])
async def test_a_list_without_its_key_is_named(body: dict[str, Any]) -> None:
    """An answer of another shape is no empty account."""
    async with serving(Answer(200, body)) as server, client(server) as cloud:
        with pytest.raises(UnreadableAnswer, match="no list `endpoints`"):
            await cloud.endpoints.list()


async def test_looking_by_name_is_exact() -> None:
    """Names are not unique, and case counts."""
    items = [{"id": "1", "name": "a"}, {"id": "2", "name": "A"}, {"id": "3", "name": "a"}]
    async with serving(Answer(200, {"templates": items})) as server, client(server) as cloud:
        assert [item["id"] for item in await cloud.templates.find_by_name("a")] == ["1", "3"]


async def test_arrays_in_a_query_are_one_value() -> None:
    """RunPod refuses a repeated key (runpod-api-live.md §3 row 13)."""
    async with serving(Answer(200, {"gpus": []})) as server, client(server) as cloud:
        await cloud.gpus(include=["AVAILABILITY"], product=["POD", "SERVERLESS"])
    assert server.seen[0].query == "include=AVAILABILITY&product=POD,SERVERLESS"


async def test_each_collection_has_its_routes() -> None:
    """The wrapper keys and paths of the published API."""
    routes = {
        "network_volumes": ("/v2/network-volumes", "networkVolumes"),
        "templates": ("/v2/templates", "templates"),
        "endpoints": ("/v2/serverless", "endpoints"),
        "registries": ("/v2/registries", "registries"),
    }
    for name, (path, key) in routes.items():
        async with serving(Answer(200, {key: [], "id": "i"})) as server, client(server) as cloud:
            collection = getattr(cloud, name)
            assert await collection.list() == []
            await collection.get("a/b c")
            await collection.delete("i")
        assert [(seen.method, seen.path) for seen in server.seen] == [
            ("GET", path),
            ("GET", f"{path}/a%2Fb%20c"),
            ("DELETE", f"{path}/i"),
        ]


async def test_a_registry_cannot_be_changed() -> None:
    """The API has no PATCH for it, so neither have we."""
    async with serving() as server, client(server) as cloud:
        assert not hasattr(cloud.registries, "update")


async def test_the_other_reads() -> None:
    """Workers, releases and catalogue."""
    answer = {"workers": [], "releases": [], "gpus": [], "dataCenters": [{"id": "EU-RO-1"}]}
    async with serving(Answer(200, answer)) as server, client(server) as cloud:
        assert (await cloud.endpoint_workers("e"))["workers"] == []
        assert (await cloud.endpoint_releases("e"))["releases"] == []
        assert await cloud.data_centers() == [{"id": "EU-RO-1"}]
    assert [seen.path for seen in server.seen] == [
        "/v2/serverless/e/workers",
        "/v2/serverless/e/releases",
        "/v2/catalog/datacenters",
    ]


async def test_jobs_go_to_their_own_address() -> None:
    """The job plane has another base, and its refusals other bodies."""
    async with (
        serving(Answer(200, {"id": "j", "status": "IN_QUEUE"})) as jobs,
        serving() as control,
        client(control, jobs_url=f"{jobs.url}/v2") as cloud,
    ):
        await cloud.jobs.run("e1", {"prompt": "hi"}, policy={"ttl": 10_000})
        await cloud.jobs.status("e1", "j-1")
        await cloud.jobs.cancel("e1", "j-1")
        await cloud.jobs.health("e1")
    assert control.seen == []
    assert [(seen.method, seen.path) for seen in jobs.seen] == [
        ("POST", "/v2/e1/run"),
        ("GET", "/v2/e1/status/j-1"),
        ("POST", "/v2/e1/cancel/j-1"),
        ("GET", "/v2/e1/health"),
    ]
    assert json.loads(jobs.seen[0].body) == {"input": {"prompt": "hi"}, "policy": {"ttl": 10_000}}


async def test_an_idle_connection_that_closes_harms_no_write() -> None:
    """Writes use a connection of their own, so a server that closes idle ones never leaves a write in doubt."""
    async with serving(Answer(200, {"id": "x", "endpoints": []})) as server, client(server) as cloud:
        for _ in range(3):
            await cloud.endpoints.list()
            await cloud.endpoints.create({})
    connections = [seen.headers.get("connection", "") for seen in server.seen if seen.method == "POST"]
    assert connections == ["close"] * 3


@pytest.mark.parametrize("key", ["rpa_a b", "rpa_a\nX-Evil: 1", "rpa_ä"])
def test_a_key_that_is_no_key_is_refused(key: str) -> None:
    """A line break in a key file must not become a header."""
    with pytest.raises(UnusableArgument) as caught:
        Client(key, "http://127.0.0.1:1")
    assert "rpa_" not in str(caught.value)


def test_the_address_is_without_the_version() -> None:
    """`…/v2` as API address is a usual slip: the paths bring it."""
    with pytest.raises(UnusableArgument, match=r"hint: write https://api.runpod.io$"):
        Client(KEY, "https://api.runpod.io/v2")


def test_here_one_port_serves_both_planes() -> None:
    """With a local API address the job plane is on the same port unless told otherwise."""
    assert Client(KEY, "http://127.0.0.1:8900").jobs_url == "http://127.0.0.1:8900/v2"
    assert Client(KEY).jobs_url == "https://api.runpod.ai/v2"
    assert repr(Client(KEY)) == "Client(api_url='https://api.runpod.io', jobs_url='https://api.runpod.ai/v2')"


@given(st.text(min_size=1).filter(lambda text: text not in (".", "..")))
def test_a_segment_stays_one_segment(value: str) -> None:
    """No id can climb out of its place in the path."""
    from urllib.parse import unquote

    try:
        quoted = segment(value)
    except UnicodeEncodeError:
        return
    assert not set("/?#") & set(quoted)
    assert unquote(quoted) == value


@given(st.dictionaries(st.from_regex(r"[a-z]{1,8}", fullmatch=True), st.lists(st.text("abc é&=", max_size=4))))
def test_a_query_can_be_read_back(params: dict[str, list[str]]) -> None:
    """Each key stands once, with the joined value."""
    from urllib.parse import parse_qsl

    pairs = parse_qsl(query(params).removeprefix("?"), keep_blank_values=True, strict_parsing=False)
    assert dict(pairs) == {key: joined for key, values in params.items() if (joined := ",".join(values))}
    assert len(pairs) == len(dict(pairs))


async def test_a_slow_body_ends_with_the_try() -> None:
    """The time-out covers the whole answer, not only its head."""
    policy = RetryPolicy(tries=2, try_timeout_s=0.05)
    async with serving(Answer(hang=True)) as server, client(server, policy=policy) as cloud:
        with pytest.raises(NetworkError, match=r"within 0.05 s \(after 2 tries\)"):
            await cloud.endpoints.list()
