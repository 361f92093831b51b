"""What the Hub and the network do to a bake: damaged, cut-off, refused and collapsing transfers."""

import asyncio
from pathlib import Path

import pytest
from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]

from tests.weight_bakery.hub import COMMIT, Hub
from tests.weight_bakery.support import Layout, image_root
from weight_bakery import (
    AccessDenied,
    BakeReceipt,
    BakeRequest,
    Event,
    ModelNotFound,
    Note,
    SourceChanged,
    SourceDamaged,
    SourceUnavailable,
    bake_async,
)
from weight_bakery._source_flow import COLLAPSE, WINDOW_S, FlowGate, RateWatch
from weight_bakery._turns import Turns

SHARD = "model-00002-of-00002.safetensors"
TOKEN = "hf_abcdefghijklmnop"


async def bake_here(hub: Hub, tmp_path: Path, token: str | None = None) -> tuple[BakeReceipt, list[str]]:
    """Bake into a layout; also returns the notes."""
    events: list[Event] = []
    request = BakeRequest(model="owner/Tiny", to=f"oci:{tmp_path}/layout:v1", hub_endpoint=hub.origin, hub_token=token)
    receipt = await bake_async(request, progress=events.append)
    return receipt, [event.text for event in events if isinstance(event, Note)]


def assert_sound(hub: Hub, tmp_path: Path) -> None:
    """Every file in the image is the Hub's, byte for byte."""
    expected = {name: content for name, content in hub.files.items() if name != "README.md"}
    assert Layout(tmp_path / "layout").files("v1") == image_root(expected, "models/tiny")


@pytest.mark.parametrize("path", [SHARD, "tokenizer.json", "config.json"])
async def test_a_flipped_bit_is_fetched_again(hub: Hub, tmp_path: Path, path: str) -> None:
    """LFS files are checked by sha256 and small ones by git's name; the next try gets the right bytes."""
    hub.corrupt, hub.corrupt_times = path, 1
    receipt, _ = await bake_here(hub, tmp_path)
    assert receipt.revision == COMMIT
    assert_sound(hub, tmp_path)


@pytest.mark.parametrize("path", [SHARD, "tokenizer.json", "config.json"])
async def test_a_bit_that_is_always_flipped_ends_the_bake(hub: Hub, tmp_path: Path, path: str) -> None:
    """After three tries, in one line; nothing is tagged."""
    hub.corrupt = path
    with pytest.raises(SourceDamaged, match="has not the digest its source promised") as caught:
        await bake_here(hub, tmp_path)
    assert path in str(caught.value)
    assert not (tmp_path / "layout/index.json").exists() or Layout(tmp_path / "layout").tags() == {}


async def test_a_file_that_is_announced_too_short_is_asked_for_again(hub: Hub, tmp_path: Path) -> None:
    """A length other than the listed one is a failure of the transfer, before a byte is taken."""
    hub.short = 100
    await bake_here(hub, tmp_path)
    assert_sound(hub, tmp_path)


async def test_failures_of_the_storage_are_repeated_with_a_new_address(hub: Hub, tmp_path: Path) -> None:
    """5xx and an address that has run out both lead back to the resolve route."""
    hub.storage_failures = [503, 403, 500, 502]
    await bake_here(hub, tmp_path)
    assert_sound(hub, tmp_path)


async def test_connections_that_bring_next_to_nothing_are_given_up(hub: Hub, tmp_path: Path) -> None:
    """A few bytes per connection is not progress: the tries are bounded."""
    hub.drop_after = 10_000
    with pytest.raises(SourceUnavailable, match="the Hub stopped answering for owner/Tiny"):
        await bake_here(hub, tmp_path)
    assert hub.seen["storage"] < 40


async def test_another_digest_on_the_way_is_noticed_before_a_byte_is_read(hub: Hub, tmp_path: Path) -> None:
    """The resolve route contradicts the listing."""
    hub.etag = "0" * 64
    with pytest.raises(SourceChanged, match="the Hub has another model-0000"):
        await bake_here(hub, tmp_path)
    assert hub.seen["storage"] <= 4


async def test_another_commit_on_the_way_is_noticed(hub: Hub, tmp_path: Path) -> None:
    """A mirror that serves another commit than it was asked for is no source."""
    hub.commit = "f" * 40
    with pytest.raises(SourceChanged, match=f"the Hub answers for commit {'f' * 40}, not {COMMIT}"):
        await bake_here(hub, tmp_path)


@pytest.mark.parametrize(
    ("status", "headers", "token", "error", "message"),
    [
        (401, {"X-Error-Message": "Invalid credentials in Authorization header"}, TOKEN, AccessDenied,
         "the Hub does not know the token it was given for owner/Tiny; set HF_TOKEN to a valid token, or log in"),
        (401, {"X-Error-Code": "RepoNotFound"}, None, ModelNotFound, "set HF_TOKEN if it is private or gated"),
        (404, {"X-Error-Code": "RepoNotFound"}, TOKEN, ModelNotFound, "check that the token may read it"),
        (403, {"X-Error-Code": "GatedRepo", "X-Error-Message": "Your request is awaiting a review"}, TOKEN,
         AccessDenied, "owner/Tiny is gated, and your request is still under review; see http"),
        (403, {"X-Error-Message": "Access to this resource is disabled."}, None, AccessDenied, "has disabled owner"),
        (403, {"X-Error-Message": "Forbidden: pass a token with the right scope"}, TOKEN, AccessDenied,
         "HTTP 403: forbidden: pass a token with the right scope"),
    ],
)  # fmt: skip
async def test_what_a_refusal_means(
    hub: Hub, tmp_path: Path, status: int, headers: dict[str, str], token: str | None, error: type, message: str
) -> None:
    """Wrong token, private, under review, disabled: each has its own line and its own way out."""
    hub.refusal = (status, headers)
    with pytest.raises(error, match=message) as caught:
        await bake_here(hub, tmp_path, token)
    assert "\n" not in str(caught.value)
    assert "hf_" not in str(caught.value)


@pytest.mark.parametrize(
    ("said", "remedy"),
    [
        ("certificate is not yet valid (_ssl.c:1006)", "; check this machine's clock and HF_ENDPOINT"),
        ("certificate has expired (_ssl.c:1006)", "; check this machine's clock and HF_ENDPOINT"),
        ("self-signed certificate (_ssl.c:1006)", "; check HF_ENDPOINT"),
    ],
)
async def test_a_certificate_that_is_not_trusted_is_told_at_once(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, remedy: str
) -> None:
    """Asking again would not help; a wrong clock is named, since it makes good certificates look bad."""
    calls: list[str] = []

    def refused(*_: object, **__: object) -> None:
        calls.append(said)
        raise HTTPError(f"[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: {said}")

    monkeypatch.setattr("weight_bakery._source_hub.HfApi.model_info", refused)
    with pytest.raises(SourceUnavailable, match="the Hub has no certificate that is trusted here") as caught:
        await bake_here(hub, tmp_path)
    assert str(caught.value).endswith(remedy)
    assert len(calls) == 1


async def test_a_collapsed_flow_gets_a_new_address(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection stays open but brings next to nothing: the rest comes by another one, and is not waited for."""
    monkeypatch.setattr("weight_bakery._source_flow.WINDOW_S", 0.15)
    monkeypatch.setattr("weight_bakery._source_flow.PAUSE_S", 0.1)
    hub.collapse_after = 2_000_000
    _, notes = await asyncio.wait_for(bake_here(hub, tmp_path), 60)
    assert_sound(hub, tmp_path)
    slowed = [note for note in notes if "the Hub slowed from" in note]
    assert slowed
    assert any("1 flow at once from now on" in note for note in slowed)
    assert any(wanted.startswith("bytes=2") for wanted in hub.ranges)


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def flow(watch: RateWatch, clock: Clock, *, waited: float, idle: float, size: int) -> bool:
    """One read of a flow, then time in which the flow waits for its consumer; whether it was a collapse."""
    started = watch.start()
    clock.now += waited
    found = watch.took(started, size)
    clock.now += idle
    return found is not None


def test_a_collapse_is_a_fall_below_a_twentieth() -> None:
    """And not a fall to a tenth, as when flows share a line."""
    clock = Clock()
    watch = RateWatch(clock)
    assert not flow(watch, clock, waited=WINDOW_S, idle=0, size=800_000_000)
    assert not flow(watch, clock, waited=WINDOW_S, idle=0, size=800_000_000 // (COLLAPSE // 2))
    assert flow(watch, clock, waited=WINDOW_S, idle=0, size=800_000_000 // (COLLAPSE * 2))
    assert watch.best == 80_000_000


def test_a_slow_target_is_no_collapse() -> None:
    """When the flow mostly waits for whoever takes its bytes, the source is not to blame."""
    clock = Clock()
    watch = RateWatch(clock)
    flow(watch, clock, waited=WINDOW_S, idle=0, size=800_000_000)
    for _ in range(20):
        assert not flow(watch, clock, waited=0.1, idle=0.9, size=1000)


def test_the_gate_shrinks_by_one_and_never_closes() -> None:
    """Each collapse takes a flow away; the last one stays."""
    gate = FlowGate()
    for _ in range(4):
        gate.enter(lambda: False)
    assert [gate.collapsed() for _ in range(5)] == [3, 2, 1, 1, 1]
    for _ in range(4):
        gate.leave()
    gate.enter(lambda: False, pause_s=0)
    gate.enter(lambda: False, pause_s=0)  # full, but nobody waits for ever


async def test_layers_take_turns_once_there_is_a_limit() -> None:
    """A limit that falls while layers are under way holds for those that begin later."""
    limit: int | None = None
    turns = Turns(lambda: limit)
    active = most = 0

    async def layer() -> None:
        nonlocal active, most
        async with turns.one():
            active += 1
            most = max(most, active)
            await asyncio.sleep(0)
            active -= 1

    await asyncio.gather(*(layer() for _ in range(4)))
    assert most == 4
    limit, most = 1, 0
    await asyncio.gather(*(layer() for _ in range(4)))
    assert most == 1
