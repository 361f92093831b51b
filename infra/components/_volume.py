"""The `ModelVolume` component: one network volume for model files, protected unless told otherwise."""

import pulumi

import pulumi_runpod as runpod

from ._volume_plan import ModelVolumeArgs, plan_model_volume


class ModelVolume(pulumi.ComponentResource):
    """A network volume. Workers that mount it see it at /runpod-volume.

    Example:
        volume = ModelVolume("models", ModelVolumeArgs(data_center="EU-RO-1"))
    """

    volume_id: pulumi.Output[str]
    volume: runpod.NetworkVolume

    def __init__(self, name: str, args: ModelVolumeArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        plan = plan_model_volume(args)
        super().__init__("vllm-runpod:index:ModelVolume", name, None, opts)
        self.volume = runpod.NetworkVolume(
            name,
            name=name,
            size=plan.size,
            data_center=plan.data_center,
            type=plan.type,
            opts=pulumi.ResourceOptions(parent=self, protect=plan.protect or None),
        )
        self.volume_id = self.volume.id
        self.register_outputs({"volumeId": self.volume_id})
