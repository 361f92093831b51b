# ruff: noqa: E501 - a case of a table is one line
"""Values on the wire, in the state, in paths: what goes out comes back."""

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pulumi_embedded._crypto import PassphraseCrypter
from pulumi_embedded._diff import structural_diff
from pulumi_embedded._errors import NotSupported, PassphraseError, WireError
from pulumi_embedded._goal import parse_duration
from pulumi_embedded._paths import contains, format_path, parse_path, reset
from pulumi_embedded._statejson import NoSecrets, Sealer
from pulumi_embedded._values import UNKNOWN, ResourceRef, Secret, deep_copy, equal, has_secret, has_unknown
from pulumi_embedded._wire import ASSET_SIG, PLAIN, SIG_KEY, Peer, decode, encode

# Written by pulumi CLI 3.260 for the passphrase "pw".
CLI_SALT = "v1:TG684qeGYN0=:v1:VQD3RVpuPgSdc+N3:+ch6ruN0NdZ7wTlb7lNrPZ1UnDmZvA=="
CLI_CONFIG_SECRET = "v1:FsyOKlhwoxhrY0/p:U5aafXcFsviXnjZyVjhPGgkw9WGbkg=="
CLI_STATE_SECRET = "v1:NCCvAvaxBzoEHVK3:9prHnAPQsR02qk7d3fzt9aZiAXva6VEgIDs="

KEYS = st.text(min_size=1, max_size=6).filter(lambda key: key != SIG_KEY)
LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**53) + 1, 2**53 - 1),
    st.floats(allow_nan=False, allow_infinity=False).filter(lambda f: not f.is_integer()),
    st.text(max_size=12), st.just(UNKNOWN),
    st.builds(ResourceRef, st.just("urn:pulumi:s::p::t:i:T::n"), st.one_of(st.none(), st.just(UNKNOWN), st.text(min_size=1))),
)  # fmt: skip
VALUES: Any = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(KEYS, inner, max_size=3), st.builds(Secret, inner)
    ),
    max_leaves=12,
)
MAPS = st.dictionaries(KEYS, VALUES, max_size=4)


class Rot:
    """An encryption good enough to see that it was used."""

    def encrypt(self, plaintext: str, /) -> str:
        return plaintext[::-1]

    def decrypt(self, ciphertext: str, /) -> str:
        return ciphertext[::-1]


@given(MAPS)
def test_what_goes_over_the_wire_comes_back(props: dict[str, Any]) -> None:
    """Encoding and decoding for a peer that understands everything changes nothing."""
    assert equal(decode(encode(props, Peer())), props)


@given(MAPS)
def test_a_peer_that_knows_no_secrets_gets_none(props: dict[str, Any]) -> None:
    """Neither secret nor reference wrappers reach a plain peer."""
    assert not has_secret(decode(encode(props, PLAIN)))
    assert has_unknown(decode(encode(props, PLAIN))) == has_unknown(props)


@given(MAPS)
def test_what_goes_into_the_state_comes_back(props: dict[str, Any]) -> None:
    """The state's JSON holds every value, secrets sealed."""
    text = json.dumps(Sealer(Rot()).seal(props, "urn/inputs"))
    assert equal(Sealer(Rot()).open(json.loads(text), "urn/inputs"), props)


@given(MAPS)
def test_writing_again_changes_no_byte(props: dict[str, Any]) -> None:
    """An unchanged value keeps its ciphertext, though encryption is different at every call."""

    class Counting(Rot):
        calls = 0

        def encrypt(self, plaintext: str, /) -> str:
            Counting.calls += 1
            return f"{plaintext[::-1]}{Counting.calls:08}"

        def decrypt(self, ciphertext: str, /) -> str:
            return ciphertext[:-8][::-1]

    first = json.dumps(Sealer(Counting()).seal(props, "urn/inputs"))
    sealer = Sealer(Counting())
    assert json.dumps(sealer.seal(sealer.open(json.loads(first), "urn/inputs"), "urn/inputs")) == first


def test_infinite_numbers_survive_the_state() -> None:
    """JSON has no infinity; the state has a form for it."""
    sealed = json.loads(json.dumps(Sealer(NoSecrets()).seal({"a": math.inf, "b": -math.inf}, "p")))
    assert Sealer(NoSecrets()).open(sealed, "p") == {"a": math.inf, "b": -math.inf}


def test_assets_are_refused_by_name_and_path() -> None:
    """What the engine cannot carry is named, with the property it came in."""
    struct = encode({"list": [{"file": {"x": 1}}]}, PLAIN)
    struct.fields["list"].list_value.values[0].struct_value.fields["file"].struct_value.fields[
        SIG_KEY
    ].string_value = ASSET_SIG
    with pytest.raises(WireError, match=r"demo: property `list\[0\]\.file`: pulumi_embedded does not support assets"):
        decode(struct, "demo")
    with pytest.raises(NotSupported, match="asset"):
        Sealer(NoSecrets()).open({"a": {SIG_KEY: ASSET_SIG, "text": "x"}}, "p")


@pytest.mark.parametrize(
    ("left", "right", "alike"),
    [(True, 1, False), (6, 6.0, True), (Secret(1), 1, False), (Secret([1]), Secret([1.0]), True), ({"a": None}, {}, True),
     (UNKNOWN, UNKNOWN, True), (UNKNOWN, "x", False), ([1, 2], [2, 1], False)],
)  # fmt: skip
def test_equality_is_the_clis(left: Any, right: Any, alike: bool) -> None:
    """True is not 1; a null key is no key; a secret equals only a secret."""
    assert equal(left, right) is alike


@given(
    st.lists(
        st.one_of(st.integers(0, 99), st.text(min_size=1, max_size=5).filter(lambda t: t != "*" and "\\" not in t)),
        min_size=1,
    )
)
def test_paths_print_as_they_parse(path: list[str | int]) -> None:
    """Any path survives being written."""
    assert list(parse_path(format_path(path))) == path


@pytest.mark.parametrize("text", ["[", "a[x", '["a', "a..b", ".a"])
def test_a_bad_path_is_refused(text: str) -> None:
    """A path that means nothing is an error, not another path."""
    with pytest.raises(ValueError, match="is not a property path"):
        parse_path(text)


def test_wildcards_contain() -> None:
    """`*` stands for any one element."""
    assert contains(parse_path("a[*].b"), parse_path("a[3].b.c"))
    assert not contains(parse_path("a[*].b"), parse_path("a[3]"))
    assert not contains(parse_path("a[0]"), parse_path("a[1]"))


def test_reset_puts_the_old_value_back() -> None:
    """Changed, removed and added values go back to what they were; secrets stay secret."""
    old = {"a": 1, "t": {"x": 1, "y": 2}, "s": Secret({"k": 1}), "l": [{"k": 1}, {"k": 2}]}
    new = deep_copy({"t": {"x": 9, "y": 9, "n": 9}, "b": 5, "s": {"k": 7}, "l": [{"k": 8}, {"k": 9}]})
    for path in ("a", "t.x", "t.n", "b", "l[*].k"):
        assert reset(parse_path(path), old, new)
    assert new["a"] == 1
    assert new["t"] == {"x": 1, "y": 9}
    assert "b" not in new
    assert new["l"] == [{"k": 1}, {"k": 2}]
    assert reset(parse_path("s.k"), old, new)
    assert has_secret(new["s"])


@given(MAPS, MAPS)
def test_a_structural_diff_is_empty_exactly_for_equals(left: dict[str, Any], right: dict[str, Any]) -> None:
    """The engine's own diff sees a change where there is one, and in itself none."""
    assert not structural_diff(left, left).changes
    if not structural_diff(left, right).changes:
        assert not structural_diff(right, left).changes


def test_secrets_of_the_cli_are_read() -> None:
    """What the CLI encrypted is decrypted, in its form."""
    crypter = PassphraseCrypter(CLI_SALT, "pw")
    assert crypter.decrypt(CLI_CONFIG_SECRET) == "s3cret"
    assert crypter.decrypt(CLI_STATE_SECRET) == '"hunter22"'
    assert crypter.decrypt(crypter.encrypt("ä")) == "ä"


def test_a_wrong_passphrase_is_told_in_one_line() -> None:
    """The proof in the salt gives it away before anything is decrypted."""
    with pytest.raises(PassphraseError, match=r"^incorrect passphrase: PULUMI_CONFIG_PASSPHRASE"):
        PassphraseCrypter(CLI_SALT, "other").decrypt(CLI_CONFIG_SECRET)
    with pytest.raises(PassphraseError, match="passphrase must be set"):
        PassphraseCrypter(CLI_SALT, None).check()


@pytest.mark.parametrize(
    ("text", "seconds"), [("20m", 1200), ("1h30m", 5400), ("1.5s", 1.5), ("90s", 90), ("500ms", 0.5), ("0", 0)]
)
def test_durations(text: str, seconds: float) -> None:
    """Timeouts are written as Go writes durations."""
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "5", "5x", "m5", "1h 30m"])
def test_bad_durations(text: str) -> None:
    """Anything else is refused with its text."""
    with pytest.raises(ValueError, match="unable to parse customTimeout Value"):
        parse_duration(text)
