"""The loss of a batch at given timesteps and noise, in the precision the machine is fast in."""

from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn

from ancestral.diffusion.losses import squared_error
from ancestral.diffusion.process import network_time
from ancestral.pipeline import Pipeline
from ancestral.tensors import Labels, PerImage


def denoising_losses(
    pipeline: Pipeline, network: nn.Module, x0: Tensor, t: Tensor, eps: Tensor, labels: Labels | None
) -> PerImage:
    """The unweighted loss of each image, (B,) float32, with the network in the pipeline's precision."""
    diffusion = pipeline.diffusion
    x_t = diffusion.q_sample(x0, t, eps)
    with autocast(pipeline):
        output = network(x_t, network_time(t, x_t), labels)
    return squared_error(diffusion, output.float(), x0, eps, t)


def autocast(pipeline: Pipeline) -> AbstractContextManager[None]:
    """bfloat16 where the settings ask for it, or leave it to a machine that computes in it."""
    device, precision = pipeline.device.type, pipeline.config.training.precision
    wanted = precision == "bfloat16" or (precision == "auto" and computes_in_bfloat16(device))
    return torch.autocast(device, torch.bfloat16, enabled=wanted)


def computes_in_bfloat16(device: str) -> bool:
    """Whether bfloat16 is the machine's fast path: matrix units of the CPU (AMX), or a GPU that has it."""
    if device == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device == "cpu" and torch.cpu._is_amx_tile_supported()
