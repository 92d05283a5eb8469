"""The simple loss and its weights.

    L_simple = E_{t, x_0, eps} || target - network(x_t, t) ||^2,   t uniform on 1..T            (1)

is the weighted bound of Ho et al. 2020 (eq. 14) with every weight set to 1. As an error of x_0 it weighs noise levels
by 1 / x0_scale^2; min-SNR (Hang et al. 2023) wants them weighed by min(SNR, gamma) instead, whatever the network
predicts, so (1) is multiplied by

    w(t) = min(SNR_t, gamma) x0_scale_t^2                                                       (2)

which is min(SNR, gamma) / SNR for eps, min(SNR, gamma) for x0 and min(SNR, gamma) / (SNR + 1) for v.
"""

from collections.abc import Callable

import torch

from ancestral.diffusion.process import GaussianDiffusion
from ancestral.tensors import Data, PerImage, Timesteps, mean_over_image

Weighting = Callable[[GaussianDiffusion, Timesteps], PerImage]
"""(diffusion, t (B,)) -> the weight of each image's loss, float64 (B,)."""


def uniform(diffusion: GaussianDiffusion, t: Timesteps) -> PerImage:
    """1 for every timestep (1)."""
    return torch.ones(t.shape, dtype=torch.float64, device=t.device)


def min_snr(gamma: float = 5.0) -> Weighting:
    """The weighting (2)."""

    def weight(diffusion: GaussianDiffusion, t: Timesteps) -> PerImage:
        alpha_bar = diffusion.schedule.at(t)
        scale = diffusion.parameterization.x0_scale(alpha_bar.sqrt(), (1 - alpha_bar).sqrt())
        return (alpha_bar / (1 - alpha_bar)).clamp(max=gamma) * scale**2

    return weight


def squared_error(diffusion: GaussianDiffusion, output: Data, x0: Data, eps: Data, t: Timesteps) -> PerImage:
    """|| target - output ||^2 of each image, as the mean over its elements, at least float32: (B,)."""
    target = diffusion.target(x0, eps, t)
    return mean_over_image((target - output.to(target.dtype)) ** 2)
