"""Whatever body comes in, the answer is declared, fits its schema and is never a fault of the emulator."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.contract.support import MISSING, contract
from tests.contract.test_bodies import FULL_ENDPOINT, FULL_REGISTRY, FULL_TEMPLATE, FULL_VOLUME, mutated
from tests.runpod_emulator.control import support

JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(st.characters())),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(), inner, max_size=3)),
    max_leaves=8,
)
# Fields that only fit together in part; the mutations take some of them away.
ENDPOINT = {key: value for key, value in FULL_ENDPOINT.items() if key not in ("templateId", "networkVolumes")}
REQUESTS = st.one_of(
    st.tuples(st.just("serverless"), mutated(ENDPOINT)),
    st.tuples(st.just("templates"), mutated(FULL_TEMPLATE)),
    st.tuples(st.just("network-volumes"), mutated(FULL_VOLUME)),
    st.tuples(st.just("registries"), mutated(FULL_REGISTRY)),
    st.tuples(st.sampled_from(["serverless", "templates", "network-volumes", "registries"]), JSON),
)


def test_no_body_breaks_the_emulator(tmp_path: Path) -> None:
    """Creates with bodies that are right, nearly right and nonsense; what was made can be read, changed and deleted."""
    published = contract()
    if published is None:
        pytest.skip(MISSING)
    statuses: set[int] = set()
    with asyncio.Runner() as runner:
        opened = support.cloud(tmp_path, worker_quota=1000)
        cloud = runner.run(opened.__aenter__())

        async def ask(method: str, path: str, text: str | None) -> Any:
            answer = await cloud.call(method, path, text)
            wrong = published.mistakes(method, path, answer.status, answer.headers, answer.text)
            assert wrong == [], (method, path, text, answer.status, answer.text)
            assert answer.status < 500, (method, path, text, answer.text)
            statuses.add(answer.status)
            return answer.json if answer.text else None

        async def life(kind: str, text: str) -> None:
            made = await ask("POST", f"/v2/{kind}", text)
            if "id" not in made:
                return
            path = f"/v2/{kind}/{made['id']}"
            assert await ask("GET", path, None) == made
            if kind != "registries":
                await ask("PATCH", path, text)
            assert await ask("DELETE", path, None) is None

        @settings(max_examples=300, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
        @given(REQUESTS)
        def try_one(request: tuple[str, Any]) -> None:
            runner.run(life(request[0], json.dumps(request[1])))

        try:
            try_one()
        finally:
            runner.run(opened.__aexit__(None, None, None))
    assert {200, 201, 204, 400, 422} <= statuses, "every kind of answer occurred"
