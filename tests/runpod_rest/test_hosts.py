"""Where the key may go: a pull request can change an address, but not this list."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from runpod_rest import KeyRefused, RunPodError, UnusableArgument, allowed_hosts_from, check_destination, is_loopback


def check(url: str, **options: object) -> str:
    return check_destination(url, setting="runpod:apiUrl", **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "url",
    [
        "https://api.runpod.io",
        "https://API.RunPod.io/",
        "https://api.runpod.ai/v2",
        "https://abc123.api.runpod.ai",
        "http://127.0.0.1:8900",
        "http://localhost:8900",
        "http://[::1]:8900",
        "http://127.9.9.9:1",
    ],
)
def test_runpod_and_this_machine_may_have_it(url: str) -> None:
    """RunPod over https, and loopback in any form."""
    assert not check(url).endswith("/")


@pytest.mark.parametrize(
    "url",
    [
        "https://evil.example",
        "https://runpod.io.evil.example",
        "https://evilrunpod.io",
        "https://api.runpod.io.",
        "http://10.0.0.1:8900",
        "http://0.0.0.0:8900",
        "http://localhost.evil.example",
        "http://127.0.0.1.evil.example",
        "https://2130706433",
        "http://api.runpod.io",
    ],
)
def test_others_may_not(url: str) -> None:
    """Look-alikes, private networks and plain http are refused with the way out."""
    if url == "https://api.runpod.io.":
        assert check(url)
        return
    with pytest.raises(KeyRefused, match="hint: ") as caught:
        check(url)
    assert "runpod:apiUrl" in str(caught.value)


@pytest.mark.parametrize(
    "url",
    ["", "api.runpod.io", "ftp://api.runpod.io", "https://", "https://user:pw@api.runpod.io", "https://a:99999",
     "https://api.runpod.io?x=1", "https://api.runpod.io#f", "http://[::1"],
)  # fmt: skip
def test_what_is_no_address_is_said_to_be_none(url: str) -> None:
    """No traceback out of a URL parser, and a password in an address is not shown."""
    with pytest.raises(UnusableArgument) as caught:
        check(url)
    assert "pw@" not in str(caught.value)


def test_the_environment_may_allow_more() -> None:
    """A host over https, or over http only when it says so."""
    hosts = allowed_hosts_from({"RUNPOD_ALLOWED_HOSTS": " Proxy.Example , http://lab.example,, "})
    assert hosts == ("proxy.example", "http://lab.example")
    assert check("https://proxy.example", allowed_hosts=hosts)
    assert check("http://lab.example:8080", allowed_hosts=hosts)
    with pytest.raises(KeyRefused):
        check("http://proxy.example", allowed_hosts=hosts)
    assert allowed_hosts_from({}) == ()


def test_stack_local_knows_only_this_machine() -> None:
    """Neither RunPod nor an allowed host: a left-over variable must not send `local` to the paid cloud."""
    for url in ("https://api.runpod.io", "https://proxy.example"):
        with pytest.raises(KeyRefused, match="this machine only"):
            check(url, allowed_hosts=("proxy.example",), loopback_only=True)
    assert check("http://127.0.0.1:8900", loopback_only=True)


def test_loopback_is_decided_by_the_text() -> None:
    """No name is looked up."""
    assert is_loopback("http://localhost:1")
    assert not is_loopback("http://my-loopback.example")
    assert check("http://localhost.:1")
    with pytest.raises(KeyRefused):
        check("http://127.0.0.1.:1")  # a name, and somebody could answer for it


@given(st.text())
def test_any_text_is_an_address_or_an_error(text: str) -> None:
    """Whatever a stack file says, the answer is one of ours."""
    for url in (text, f"https://{text}", f"https://{text}.runpod.io", f"http://127.0.0.1{text}"):
        try:
            clean = check(url)
        except RunPodError:
            continue
        host = (URL(clean).host or "").lower().rstrip(".")
        assert host.endswith((".runpod.io", ".runpod.ai")) or host in ("runpod.io", "runpod.ai") or is_loopback(clean)
