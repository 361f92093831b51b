"""Laws of the pure parts: commands in `args`, overlays, releases, identifiers."""

from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from runpod_emulator.control.containers import Command, Container, decode, encode
from runpod_emulator.control.records import RESERVED_SEGMENTS, new_id, with_container
from runpod_emulator.control.releases import FIELDS, difference
from runpod_emulator.model import Endpoint

WORDS = st.lists(st.text(max_size=8), max_size=4).map(tuple)
COMMANDS = st.builds(Command, WORDS, WORDS)
CONTAINERS = st.builds(
    Container,
    image=st.text(min_size=1, max_size=5),
    args=st.one_of(st.text(max_size=20), COMMANDS.map(encode)),
    disk=st.integers(1, 500),
    env=st.dictionaries(st.text(max_size=4), st.text(max_size=4), max_size=4),
    ports=WORDS,
    registry=st.one_of(st.none(), st.text(min_size=1, max_size=3)),
)


@given(COMMANDS)
def test_a_command_survives_args(command: Command) -> None:
    """Encoded and decoded, lists come back word for word."""
    assert decode(encode(command)) == command


@given(st.text(max_size=40))
def test_any_args_text_means_something(args: str) -> None:
    """Decoding never fails: unbalanced quotes and half JSON are words."""
    decode(args)


def test_how_args_is_read() -> None:
    """A JSON object as it is; else shell words; else blanks."""
    assert decode('{"cmd": ["a b"]}') == Command((), ("a b",))
    assert decode('{"cmd": ["a"], "more": 1}').entrypoint == ()
    assert decode("serve 'a b' c\\ d") == Command((), ("serve", "a b", "c d"))
    assert decode("it's broken") == Command((), ("it's", "broken"))
    assert decode("") == Command()


@given(CONTAINERS)
def test_sending_back_what_came_changes_nothing(container: Container) -> None:
    """A read-modify-write without modification is the identity, and makes no release."""
    after = container.overlaid(container.as_json())
    assert after == container
    assert difference(_endpoint(container), _endpoint(after)) == []


@given(CONTAINERS, CONTAINERS)
def test_a_template_loses_to_the_body_and_keeps_its_env(template: Container, body: Container) -> None:
    """Every sent field wins; env is the union with the body's values on top."""
    merged = template.overlaid(body.as_json() | {"args": body.args}, merge_env=True)
    assert merged.env == {**template.env, **body.env}
    assert replace(merged, env=body.env) == body


@given(CONTAINERS, CONTAINERS)
def test_a_release_names_exactly_what_changed(old: Container, new: Container) -> None:
    """Applying the diff's new values to the old endpoint's fields gives the new one's."""
    before, after = _endpoint(old), _endpoint(new)
    seen = {name: read(before) for name, read in FIELDS}
    for entry in difference(before, after):
        assert entry["old"] == seen[entry["field"]]
        assert entry["old"] != entry["new"]
        seen[entry["field"]] = entry["new"]
    assert seen == {name: read(after) for name, read in FIELDS}


def test_ids_are_never_words_of_the_api() -> None:
    """Letters and digits only; no reserved segment has such a length by chance."""
    made = {new_id(14) for _ in range(1000)}
    assert len(made) == 1000
    assert all((name.isalnum() and name.islower()) or name.isdigit() for name in made)
    assert not made & RESERVED_SEGMENTS


def _endpoint(container: Container) -> Endpoint:
    gpu: dict[str, Any] = {"pools": ["P"], "excludedTypes": [], "count": 1, "allowedCudaVersions": []}
    bare = Endpoint(
        id="e",
        name="n",
        type="QUEUE",
        image="",
        args="",
        entrypoint=(),
        cmd=(),
        disk=1,
        env={},
        ports=(),
        registry=None,
        gpu={**gpu, "minCudaVersion": None},
        cpu=None,
        workers_min=0,
        workers_max=1,
        idle_timeout_s=10,
        scaling={"type": "QUEUE_DELAY", "queueDelay": 4},
        data_center_ids=(),
        network_volumes=(),
        timeout_ms=0,
        flashboot="OFF",
        created_at=0.0,
        version=1,
    )
    return with_container(bare, container)
