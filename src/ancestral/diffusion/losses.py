"""The losses a network trains on: simple, the bound, and their hybrid.

    L_simple = E_{t, x_0, eps} || target - network(x_t, t) ||^2,   t uniform on 1..T            (1)

is the weighted bound of Ho et al. 2020 (eq. 14) with every weight set to 1. As an error of x_0 it weighs noise levels
by 1 / x0_scale^2; min-SNR (Hang et al. 2023) wants them weighed by min(SNR, gamma) instead, whatever the network
predicts, so (1) is multiplied by

    w(t) = min(SNR_t, gamma) x0_scale_t^2                                                       (2)

which is min(SNR, gamma) / SNR for eps, min(SNR, gamma) for x0 and min(SNR, gamma) / (SNR + 1) for v.

(1) says nothing of variances, so a network that has a variance coefficient trains on the bound too (Nichol and Dhariwal
2021):

    L_vlb    = sum_{t=1..T} L_{t-1} = E_t [ T L_{t-1} ]   bits per dimension, t uniform on 1..T  (3)
    L_hybrid = L_simple + lambda L_vlb,   lambda = 0.001                                        (4)

where L_T is left out, for it has no parameters. One t an image stands for the whole sum, hence the factor T: at
T = 1000 it cancels lambda. In the L_vlb of (4) the mean is detached, so that (1) alone guides it and the noisier (3)
only the variance. The paper measures L_vlb in bits per dimension, and its lambda is for that unit; in nats per
dimension the same hybrid has 0.001 / log 2.

As T grows, a step's KL becomes (1 - SNR_t / SNR_s) / 2 || eps - eps_hat ||^2 and the sum an integral over l = log-SNR,
whatever the schedule between its ends (Kingma et al. 2021, eq. 17; u uniform on [0, 1], l linear in u):

    L_inf = 1/2 integral || eps - eps_hat(x_l, l) ||^2 dl = (l_max - l_min) / 2 E_u || eps - eps_hat ||^2   (5)
"""

import math
from collections.abc import Callable

import torch

from ancestral.diffusion.level import Level, Noised
from ancestral.diffusion.likelihood import PIXELS, Decoder, bits_per_dim, step_term
from ancestral.diffusion.process import GaussianDiffusion
from ancestral.tensors import Data, PerImage, mean_over_image

Loss = Callable[[GaussianDiffusion, Data, Noised], PerImage]
"""(diffusion, output at x_t, what x_t is made of) -> the loss of each image, at least float32: (B,)."""
Weighting = Callable[[GaussianDiffusion, Level], PerImage]
"""(diffusion, level of each image) -> the weight of each image's loss, float64 (B,)."""
BOUND_SHARE = 0.001  # lambda of (4)


def uniform(diffusion: GaussianDiffusion, level: Level) -> PerImage:
    """1 at every level (1)."""
    return torch.ones_like(level.log_snr)


def min_snr(gamma: float = 5.0) -> Weighting:
    """The weighting (2)."""

    def weight(diffusion: GaussianDiffusion, level: Level) -> PerImage:
        scale = diffusion.parameterization.x0_scale(level.alpha, level.sigma)
        return level.log_snr.exp().clamp(max=gamma) * scale**2

    return weight


def squared_error(diffusion: GaussianDiffusion, output: Data, noised: Noised) -> PerImage:
    """|| target - output ||^2 of each image, without variance coefficient, a mean, at least float32: (B,)."""
    target, mean = diffusion.target(noised), diffusion.split_output(output, noised.x_t)[0]
    answer = diffusion.parameterization.answer(mean.to(target.dtype), noised.x_t, *noised.level.over(noised.x_t))
    return mean_over_image((target - answer) ** 2)


def vlb(diffusion: GaussianDiffusion, output: Data, noised: Noised, decoder: Decoder = PIXELS) -> PerImage:
    """T L_{t-1} of each image, bits per dimension, float64: (B,). Its mean over t is (3); trains mean and variance.

    Args:
        output: (B, C or 2C, ...); with C channels its variance is fixed.
        noised: at timesteps of the table, (B,) in 1..T.
    """
    x0, _, x_t, level = noised
    prediction = diffusion.decode(output.to(x_t.dtype), x_t, level.t)
    nats = step_term(diffusion, prediction, x0, x_t, level.t, level.t - 1, decoder)
    return diffusion.num_timesteps * bits_per_dim(nats, math.prod(x0.shape[1:]))


def continuous(diffusion: GaussianDiffusion, output: Data, noised: Noised) -> PerImage:
    """(5) of each image at one l, bits per dimension, at least float32: (B,). Of L_0 and L_T it says nothing."""
    clean, noisy = diffusion.schedule.ends_of_log_snr
    mean = diffusion.split_output(output, noised.x_t)[0].to(noised.x_t.dtype)
    eps_hat = diffusion.parameterization.decode(mean, noised.x_t, *noised.level.over(noised.x_t))[1]
    return float(clean - noisy) / (2 * math.log(2)) * mean_over_image((noised.eps - eps_hat) ** 2)


def variance_loss(diffusion: GaussianDiffusion, output: Data, noised: Noised, decoder: Decoder = PIXELS) -> PerImage:
    """lambda L_vlb of (4), (B,): BOUND_SHARE times `vlb`, with gradients of the variance coefficient alone."""
    mean, variance_coeff = diffusion.split_output(output, noised.x_t)
    if variance_coeff is None:
        raise ValueError(
            "expected a variance coefficient to train by the hybrid loss, got none; it takes twice the output channels"
        )
    still = torch.cat([mean.detach(), variance_coeff], dim=1)
    return BOUND_SHARE * vlb(diffusion, still, noised, decoder)


def hybrid(diffusion: GaussianDiffusion, output: Data, noised: Noised, decoder: Decoder = PIXELS) -> PerImage:
    """(4) of each image, float64: (B,)."""
    return squared_error(diffusion, output, noised) + variance_loss(diffusion, output, noised, decoder)
