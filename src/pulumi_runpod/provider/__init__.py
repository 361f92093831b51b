"""The provider plugin behind the resources: it speaks Pulumi's plugin protocol and RunPod's REST v2.

True here: fields, defaults, ranges, replacement and secrets come from `pulumi_runpod.declarations`; no value is ever
logged; every secret that comes in is registered with `redaction`, and Read wraps secrets again; a missing key is an
error only when a call is needed. May import runpod_rest, weight_bakery, vllm_sizing and the leaves; the SDK half
(`pulumi_runpod` itself) never imports it.
"""

__all__: list[str] = []
