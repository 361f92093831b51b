"""Where the key comes from, where it may go, and that it is never seen."""

from pathlib import Path

import grpc
import pytest
from pulumi.runtime.proto import provider_pb2

from pulumi_runpod.provider.codec import to_struct
from pulumi_runpod.provider.config import addresses, settings_from
from pulumi_runpod.provider.values import Secret
from runpod_rest import KeyRefused, RunPodError
from tests.pulumi_runpod.cloud import KEY, Cloud
from tests.pulumi_runpod.engine_player import CheckFailed, State, engine
from tests.pulumi_runpod.test_life_cycles import VOLUME

LOOPBACK = {"apiUrl": "http://127.0.0.1:8900"}


def test_the_key_of_the_file_wins_then_the_environment(tmp_path: Path) -> None:
    """A stack that names a file means it; else the environment is before the stack's own key."""
    (tmp_path / "key").write_text("from-file\n")
    inputs = {**LOOPBACK, "apiKey": Secret("from-stack"), "apiKeyFile": "key"}
    environ = {"RUNPOD_API_KEY": "from-environment"}
    assert settings_from(inputs, environ, "dev", tmp_path).api_key == "from-file"
    del inputs["apiKeyFile"]
    assert settings_from(inputs, environ, "dev", tmp_path).api_key == "from-environment"
    assert settings_from(inputs, {}, "dev", tmp_path).api_key == "from-stack"
    assert "from-stack" not in repr(settings_from(inputs, {}, "dev", tmp_path))


@pytest.mark.parametrize(
    ("given", "environ", "expected"),
    [
        ({}, {}, ("https://api.runpod.io", "https://api.runpod.ai/v2")),
        ({"apiUrl": "http://127.0.0.1:1"}, {}, ("http://127.0.0.1:1", "http://127.0.0.1:1/v2")),
        ({}, {"RUNPOD_API_BASE_URL": "http://127.0.0.1:1"}, ("http://127.0.0.1:1", "http://127.0.0.1:1/v2")),
        (
            {"apiUrl": "http://127.0.0.1:1"},
            {"RUNPOD_API_BASE_URL": "http://127.0.0.1:2", "RUNPOD_ENDPOINT_BASE_URL": "http://127.0.0.1:2/v2"},
            ("http://127.0.0.1:1", "http://127.0.0.1:1/v2"),
        ),
    ],
)
def test_the_environment_counts_where_the_stack_says_nothing(
    given: dict[str, str], environ: dict[str, str], expected: tuple[str, str]
) -> None:
    """A left-over variable never leads a stack elsewhere."""
    assert addresses(given, environ) == expected


@pytest.mark.parametrize(
    ("stack", "config", "words"),
    [
        ("dev", {"apiUrl": "https://evil.example"}, "the API key is not sent there"),
        ("dev", {"jobsUrl": "https://runpod.io.evil.example/v2"}, "the API key is not sent there"),
        ("dev", {"apiUrl": "http://api.runpod.io"}, "never sent to RunPod over plain http"),
        ("dev", {"apiUrl": "https://api.runpod.io/v2"}, "ends in /v2"),
        ("local", {"apiUrl": "https://api.runpod.io"}, "runs on this machine only"),
        ("dev", {"apikey": "x"}, "did you mean apiKey?"),
    ],
)
async def test_a_bad_address_fails_before_anything_is_sent(stack: str, config: dict[str, str], words: str) -> None:
    """CheckConfig names the key and the remedy."""
    async with engine() as player:
        with pytest.raises(CheckFailed) as caught:
            await player.configure(config, stack)
        assert words in " ".join(caught.value.failures.values())


async def test_a_left_over_variable_cannot_send_local_to_the_cloud() -> None:
    """Stack `local` without an address refuses what the environment says."""
    async with engine(environ={"RUNPOD_API_BASE_URL": "https://api.runpod.io"}) as player:
        with pytest.raises(grpc.aio.AioRpcError, match="runs on this machine only"):
            await player.configure({}, "local")
    with pytest.raises(KeyRefused):
        settings_from({}, {}, "local", Path())


async def test_another_host_needs_a_word_from_outside_the_stack() -> None:
    """RUNPOD_ALLOWED_HOSTS is what a pull request cannot change."""
    async with engine(environ={"RUNPOD_ALLOWED_HOSTS": "proxy.example"}) as player:
        await player.configure({"apiUrl": "https://proxy.example", "jobsUrl": "https://proxy.example/v2"})


async def test_a_missing_key_is_an_error_only_when_it_is_needed(tmp_path: Path) -> None:
    """Check, Diff and previews work; a real create says what to do."""
    async with engine(project_dir=tmp_path) as player:
        await player.configure({**LOOPBACK, "apiKeyFile": ".local/emulator/api-key"})
        state = State("NetworkVolume", "v")
        inputs = await player.check(state, VOLUME)
        await player.create_preview(state, inputs)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await player.create(state, inputs)
        assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
        assert ".local/emulator/api-key (runpod:apiKeyFile) does not exist" in (caught.value.details() or "")


@pytest.mark.parametrize(
    ("given", "environ", "named"),
    [
        ({}, {"RUNPOD_API_BASE_URL": "ftp://x"}, "the environment variable RUNPOD_API_BASE_URL is not an http"),
        ({"apiUrl": "ftp://x"}, {"RUNPOD_API_BASE_URL": "http://127.0.0.1:1"}, "runpod:apiUrl is not an http"),
        ({}, {"RUNPOD_ENDPOINT_BASE_URL": "ftp://x"}, "the environment variable RUNPOD_ENDPOINT_BASE_URL is not"),
    ],
)
def test_a_refused_address_names_its_source(
    given: dict[str, str], environ: dict[str, str], named: str, tmp_path: Path
) -> None:
    """What has to be mended is what the address came from."""
    with pytest.raises(RunPodError, match=named):
        settings_from(dict(given), environ, "dev", tmp_path)


async def test_a_refused_key_names_its_source_and_not_itself(cloud: Cloud) -> None:
    """401 says where the key came from."""
    async with engine(environ={"RUNPOD_API_KEY": "rpa_WRONGwrongWRONG1234"}) as player:
        await player.configure({"apiUrl": cloud.url})
        state = State("NetworkVolume", "v")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await player.create(state, await player.check(state, VOLUME))
        details = caught.value.details() or ""
        assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
        assert "the API key from the environment variable RUNPOD_API_KEY" in details
        assert "rpa_WRONG" not in details
        assert "\n" not in details


async def test_a_changed_key_is_used_at_once_and_replaces_nothing() -> None:
    """DIFF_SOME without replaces; CheckConfig marks the key secret although it gets it in clear."""
    async with engine() as player:
        urn = "urn:pulumi:dev::project::pulumi:providers:runpod::default"
        old, new = {**LOOPBACK, "apiKey": "rpa_OLD11111111"}, {**LOOPBACK, "apiKey": "rpa_NEW11111111"}
        for first, second, changes, paths in (
            (old, new, "DIFF_SOME", ["apiKey"]),
            (old, old, "DIFF_NONE", []),
            (old, LOOPBACK, "DIFF_SOME", ["apiKey"]),
        ):
            answer = await player.call(
                "DiffConfig",
                provider_pb2.DiffRequest(
                    urn=urn, olds=to_struct(first), old_inputs=to_struct(first), news=to_struct(second)
                ),
            )
            assert provider_pb2.DiffResponse.DiffChanges.Name(answer.changes) == changes
            assert list(answer.detailedDiff) == paths
            assert list(answer.replaces) == []
        await player.configure(new)
        assert player.leaks("rpa_NEW11111111") == []


async def test_the_key_stays_out_of_every_answer(cloud: Cloud) -> None:
    """Neither from the environment nor from a file does it come back."""
    async with engine(environ={"RUNPOD_API_KEY": KEY}) as player:
        await player.configure({"apiUrl": cloud.url})
        await player.up(State("NetworkVolume", "v"), VOLUME)
        assert KEY not in "".join(str(answer) for answer in player.answers)
