"""Questions to RunPod's catalogue.

Written by `python -m pulumi_runpod.provider.generate` from pulumi_runpod.declarations; do not edit.
"""

import pulumi

from pulumi_runpod import _outputs


def get_gpus(
    count: int | None = None,
    opts: pulumi.InvokeOptions | None = None,
) -> _outputs.GetGpusResult:
    """The GPU types RunPod has, with pool, memory, price and serverless stock.

    :param count: Ask for stock of this many GPUs in one worker. At least 1.
    """
    answer: _outputs.GetGpusResult = pulumi.runtime.invoke(
        "runpod:index:getGpus", {"count": count}, opts=opts, typ=_outputs.GetGpusResult
    ).value
    return answer


def get_gpus_output(
    count: pulumi.Input[int] | None = None,
    opts: pulumi.InvokeOptions | pulumi.InvokeOutputOptions | None = None,
) -> pulumi.Output[_outputs.GetGpusResult]:
    """The GPU types RunPod has, with pool, memory, price and serverless stock. Accepts outputs, and answers in a
    preview once they are known.

    :param count: Ask for stock of this many GPUs in one worker. At least 1.
    """
    answer: pulumi.Output[_outputs.GetGpusResult] = pulumi.runtime.invoke_output(
        "runpod:index:getGpus", {"count": count}, opts=opts, typ=_outputs.GetGpusResult
    )
    return answer


def get_data_centers(
    opts: pulumi.InvokeOptions | None = None,
) -> _outputs.GetDataCentersResult:
    """The data centers RunPod has, and which storage they offer."""
    answer: _outputs.GetDataCentersResult = pulumi.runtime.invoke(
        "runpod:index:getDataCenters", {}, opts=opts, typ=_outputs.GetDataCentersResult
    ).value
    return answer


def get_data_centers_output(
    opts: pulumi.InvokeOptions | pulumi.InvokeOutputOptions | None = None,
) -> pulumi.Output[_outputs.GetDataCentersResult]:
    """The data centers RunPod has, and which storage they offer. Accepts outputs, and answers in a preview once they
    are known.
    """
    answer: pulumi.Output[_outputs.GetDataCentersResult] = pulumi.runtime.invoke_output(
        "runpod:index:getDataCenters", {}, opts=opts, typ=_outputs.GetDataCentersResult
    )
    return answer


__all__ = [
    "get_data_centers",
    "get_data_centers_output",
    "get_gpus",
    "get_gpus_output",
]
