"""Each refusal becomes its own error, with RunPod's words and without our secrets."""

import json

import pytest

import runpod_rest
from redaction import register_secret
from runpod_rest import (
    ApiError,
    BadRequest,
    Conflict,
    EdgeRejected,
    Forbidden,
    NotFound,
    PaymentRequired,
    RateLimited,
    Redirected,
    RetryPolicy,
    RunPodError,
    ServerError,
    TooLarge,
    Unauthorized,
    UnreadableAnswer,
    UnusableArgument,
    Validation,
)
from tests.runpod_rest.support import KEY, Answer, client, problem, serving

STATUSES: list[tuple[int, type[ApiError]]] = [
    (400, BadRequest),
    (401, Unauthorized),
    (402, PaymentRequired),
    (403, Forbidden),
    (404, NotFound),
    (409, Conflict),
    (413, TooLarge),
    (418, ApiError),
    (422, Validation),
    (429, RateLimited),
    (500, ServerError),
    (501, ServerError),
    (503, ServerError),
    (524, ServerError),
]
ONCE = RetryPolicy(tries=1)


@pytest.mark.parametrize(("status", "kind"), STATUSES)
async def test_each_status_has_its_error(status: int, kind: type[ApiError]) -> None:
    """The class follows the status; title, detail and entries are RunPod's own."""
    async with (
        serving(problem(status, "No", "because of it", ["$: missing property 'name'"])) as server,
        client(server, policy=ONCE) as cloud,
    ):
        with pytest.raises(kind) as caught:
            await cloud.endpoints.create({})
    error = caught.value
    assert type(error) is kind
    assert (error.status, error.title, error.detail) == (status, "No", "because of it")
    assert error.errors == ("$: missing property 'name'",)
    assert str(error).startswith(f"POST /v2/serverless: {status} No: because of it")
    assert "\n  $: missing property 'name'" in str(error)
    assert error.ambiguous is (status >= 500)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 429, 500, 502])
async def test_an_empty_body_is_no_obstacle(status: int) -> None:
    """Bare refusals with Content-Length 0 occur (runpod-api-live.md §3 "Edge"): the status alone decides."""
    async with serving(Answer(status, b"")) as server, client(server, policy=ONCE) as cloud:
        with pytest.raises(ApiError) as caught:
            await cloud.endpoints.get("e1")
    assert caught.value.status == status
    assert str(caught.value).startswith(f"GET /v2/serverless/e1: {status} ")


@pytest.mark.parametrize(
    "answer",
    [
        Answer(403, "error code: 1010"),
        Answer(403, "<html><head><style>b{}</style></head><body><h1>Access denied</h1></body></html>", {}, "text/html"),
        Answer(403, b""),
    ],
)
async def test_the_edge_is_not_the_api(answer: Answer) -> None:
    """A 403 without a problem document says nothing about the key."""
    async with serving(answer) as server, client(server) as cloud:
        with pytest.raises(EdgeRejected) as caught:
            await cloud.gpus()
    assert "User-Agent" in str(caught.value)
    assert "<" not in caught.value.detail
    assert not isinstance(caught.value, Forbidden)


async def test_html_is_shown_as_its_text() -> None:
    """A gateway's page is cut down to its words."""
    page = "<html><body><center><h1>502 Bad Gateway</h1></center>\n<hr>nginx</body></html>"
    async with serving(Answer(502, page, {}, "text/html")) as server, client(server, policy=ONCE) as cloud:
        with pytest.raises(ServerError) as caught:
            await cloud.endpoints.list()
    assert caught.value.detail == "502 Bad Gateway nginx"


@pytest.mark.parametrize("body", ["not json", "[1, 2]", '"text"', "<html></html>", "{" * 100_000])
async def test_a_success_that_is_no_object_is_named(body: str) -> None:
    """What was created may exist: the error says that it is worth looking."""
    async with serving(Answer(201, body)) as server, client(server) as cloud:
        with pytest.raises(UnreadableAnswer) as caught:
            await cloud.endpoints.create({"name": "x"})
    assert caught.value.ambiguous
    assert len(str(caught.value)) < 400


async def test_a_create_without_an_id_is_named() -> None:
    """An id is the one thing a create must give."""
    async with serving(Answer(201, {"name": "x"})) as server, client(server) as cloud:
        with pytest.raises(UnreadableAnswer, match="no id") as caught:
            await cloud.templates.create({"name": "x"})
    assert caught.value.ambiguous


async def test_an_empty_answer_to_a_read_is_named() -> None:
    """A 200 with nothing in it is not an empty list."""
    async with serving(Answer(200, b"")) as server, client(server) as cloud:
        with pytest.raises(UnreadableAnswer, match="empty") as caught:
            await cloud.endpoints.list()
    assert not caught.value.ambiguous


async def test_answers_are_bounded() -> None:
    """A body above the limit is not read to its end; a large refusal is cut, and still a refusal."""
    big = {"endpoints": [{"id": "x" * 5000}]}
    async with (
        serving(Answer(200, big), Answer(500, "y" * 500_000)) as server,
        client(server, max_body_bytes=1000, policy=ONCE) as cloud,
    ):
        with pytest.raises(UnreadableAnswer, match="larger than 1000 bytes"):
            await cloud.endpoints.list()
        with pytest.raises(ServerError) as caught:
            await cloud.endpoints.list()
    assert len(str(caught.value)) < 1000


async def test_redirects_are_not_followed() -> None:
    """The key stays here, whatever the Location says."""
    async with serving(Answer(200, {"endpoints": []})) as elsewhere, serving() as server:
        server.answers = [Answer(307, b"", {"Location": f"{elsewhere.url}/v2/serverless"})]
        async with client(server) as cloud:
            with pytest.raises(Redirected, match="never followed"):
                await cloud.endpoints.list()
        assert elsewhere.seen == []


async def test_no_secret_is_in_any_error() -> None:
    """A server that echoes the key and a password in every place it can is redacted in message, repr and fields."""
    password = "correct-horse-battery"
    echo = f"key {KEY} password {password}"
    texts = []
    for answer in (
        problem(422, echo, echo, [echo]),
        Answer(500, echo),
        Answer(201, echo),
        Answer(403, f"<p>{echo}</p>", {}, "text/html"),
        Answer(200, {"error": echo}),
    ):
        async with serving(answer) as server, client(server, policy=ONCE) as cloud:
            with pytest.raises(RunPodError) as caught:
                await cloud.registries.create({"name": "r", "username": "u", "password": password})
            error: BaseException | None = caught.value
            while error is not None:
                texts += [str(error), repr(error), json.dumps(vars(error), default=repr)]
                error = error.__cause__ or error.__context__
            texts.append(repr(cloud))
    everything = "\n".join(texts)
    assert KEY not in everything
    assert password not in everything
    assert "[secret]" in everything


async def test_no_secret_is_in_a_broken_connection() -> None:
    """aiohttp's own exceptions carry request headers; none of them travels with ours."""
    for answer in (Answer(drop=True), Answer(200, b"x", {"Content-Encoding": "gzip"}), Answer(200, b"x" * 9)):
        async with serving(answer) as server, client(server, policy=ONCE) as cloud:
            with pytest.raises(RunPodError) as caught:
                await cloud.endpoints.create({})
        assert caught.value.__cause__ is None
        assert caught.value.__context__ is None
        assert KEY not in repr(vars(caught.value))


async def test_a_secret_in_a_path_is_redacted() -> None:
    """Even an id that is a secret does not reach a message."""
    register_secret("hunter2hunter2")
    async with serving(problem(404, "Not Found")) as server, client(server) as cloud:
        with pytest.raises(NotFound) as caught:
            await cloud.endpoints.get("hunter2hunter2")
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("bad", ["", ".", ".."])
async def test_an_id_that_names_another_route_is_refused(bad: str) -> None:
    """DELETE with an empty id must not reach the list."""
    async with serving() as server, client(server) as cloud:
        for call in (cloud.endpoints.get, cloud.endpoints.delete, cloud.endpoint_workers, cloud.jobs.health):
            with pytest.raises(UnusableArgument):
                await call(bad)
    assert server.seen == []


async def test_a_closed_client_says_so() -> None:
    """Using it outside `async with` is a mistake with a name."""
    async with serving() as server:
        with pytest.raises(RunPodError, match="async with"):
            await client(server).endpoints.list()


def test_the_public_face_is_what_it_says() -> None:
    """Everything in __all__ exists, and every error class is in it."""
    assert all(hasattr(runpod_rest, name) for name in runpod_rest.__all__)
    tree = {RunPodError}
    while more := {child for kind in tree for child in kind.__subclasses__()} - tree:
        tree |= more
    assert {kind.__name__ for kind in tree} <= set(runpod_rest.__all__)
