"""The loss of a batch at given timesteps and noise, in the precision the machine is fast in."""

from collections.abc import Callable

from torch import Tensor

from ancestral.diffusion.losses import squared_error
from ancestral.diffusion.process import network_time
from ancestral.pipeline import Pipeline
from ancestral.tensors import Labels, PerImage


def denoising_losses(
    pipeline: Pipeline, network: Callable[..., Tensor], x0: Tensor, t: Tensor, eps: Tensor, labels: Labels | None
) -> PerImage:
    """The unweighted loss of each image, (B,) float32, with the network in the pipeline's precision."""
    diffusion = pipeline.diffusion
    x_t = diffusion.q_sample(x0, t, eps)
    with pipeline.compute.autocast(pipeline.device):
        output = network(x_t, network_time(t, x_t), labels)
    return squared_error(diffusion, output.float(), x0, eps, t)
