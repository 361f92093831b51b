"""The invokes: questions to RunPod's catalogue that make nothing."""

from typing import Any

from pulumi_runpod.declarations import FUNCTIONS, GET_DATA_CENTERS, GET_GPUS
from pulumi_runpod.provider.checking import Failure, check_fields
from pulumi_runpod.provider.errors import Code, ProviderError
from pulumi_runpod.provider.reading import outputs_from_answer
from pulumi_runpod.provider.session import Session
from pulumi_runpod.provider.values import UNKNOWN, Properties, has_unknown, plain


async def invoke(session: Session, token: str, arguments: Properties) -> tuple[Properties, list[Failure]]:
    """Answer one function. With an unknown argument the whole answer is unknown."""
    function = next((f for f in FUNCTIONS if f.token == token), None)
    if function is None:
        raise ProviderError(f"the runpod provider has no function {token}", Code.NOT_FOUND)
    failures: list[Failure] = []
    given = plain(check_fields(function.arguments, arguments, failures))
    if failures:
        return {}, failures
    if has_unknown(given):
        return {field.wire: UNKNOWN for field in function.result.fields}, []
    client = await session.client()
    if function is GET_GPUS:
        answer: dict[str, Any] = {
            "gpus": await client.gpus(include=["AVAILABILITY"], product=["SERVERLESS"])
            if given.get("count") is None
            else (
                await client.document(
                    "GET",
                    "/v2/catalog/gpus",
                    params={"include": ["AVAILABILITY"], "product": ["SERVERLESS"], "count": given["count"]},
                )
            ).get("gpus", [])
        }
    else:
        assert function is GET_DATA_CENTERS
        answer = {"dataCenters": await client.data_centers()}
    return outputs_from_answer(function.result.fields, answer), []
