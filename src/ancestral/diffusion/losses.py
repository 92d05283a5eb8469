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

from ancestral.diffusion.likelihood import PIXELS, Decoder, bits_per_dim, step_term
from ancestral.diffusion.process import GaussianDiffusion
from ancestral.diffusion.schedules import alpha_and_sigma
from ancestral.tensors import Data, PerImage, Timesteps, mean_over_image

Loss = Callable[[GaussianDiffusion, Data, Data, Data, Timesteps], PerImage]
"""(diffusion, output, x0, eps, t (B,)) -> the loss of each image (B,), of the output at q_sample(x0, t, eps)."""
Weighting = Callable[[GaussianDiffusion, Timesteps], PerImage]
"""(diffusion, t (B,)) -> the weight of each image's loss, float64 (B,)."""
BOUND_SHARE = 0.001  # lambda of (4)


def uniform(diffusion: GaussianDiffusion, t: Timesteps) -> PerImage:
    """1 for every timestep (1)."""
    return torch.ones(t.shape, dtype=torch.float64, device=t.device)


def min_snr(gamma: float = 5.0) -> Weighting:
    """The weighting (2)."""

    def weight(diffusion: GaussianDiffusion, t: Timesteps) -> PerImage:
        alpha_bar = diffusion.schedule.alpha_bar_at(t)
        scale = diffusion.parameterization.x0_scale(alpha_bar.sqrt(), (1 - alpha_bar).sqrt())
        return (alpha_bar / (1 - alpha_bar)).clamp(max=gamma) * scale**2

    return weight


def squared_error(diffusion: GaussianDiffusion, output: Data, x0: Data, eps: Data, t: Timesteps) -> PerImage:
    """|| target - output ||^2 of each image, without variance coefficient, a mean, at least float32: (B,)."""
    target, mean = diffusion.target(x0, eps, t), diffusion.split_output(output, x0)[0]
    alpha, sigma = diffusion.schedule.alpha(t, x0), diffusion.schedule.sigma(t, x0)
    answer = diffusion.parameterization.answer(mean.to(target.dtype), alpha * x0 + sigma * eps, alpha, sigma)
    return mean_over_image((target - answer) ** 2)


def vlb(
    diffusion: GaussianDiffusion, output: Data, x0: Data, eps: Data, t: Timesteps, decoder: Decoder = PIXELS
) -> PerImage:
    """T L_{t-1} of each image, bits per dimension, float64: (B,). Its mean over t is (3); trains mean and variance.

    Args:
        output: (B, C or 2C, ...), the network's at x_t = q_sample(x0, t, eps); with C channels its variance is fixed.
        t: (B,) in 1..T.
    """
    x_t = diffusion.q_sample(x0, t, eps)
    nats = step_term(diffusion, diffusion.decode(output.to(x0.dtype), x_t, t), x0, x_t, t, t - 1, decoder)
    return diffusion.num_timesteps * bits_per_dim(nats, math.prod(x0.shape[1:]))


def continuous(diffusion: GaussianDiffusion, output: Data, x0: Data, eps: Data, log_snr: PerImage) -> PerImage:
    """(5) of each image at one l, bits per dimension, at least float32: (B,). Of L_0 and L_T it says nothing.

    Args:
        output: (B, C or more, ...), the network's at x_l = sqrt(sigmoid(l)) x0 + sqrt(sigmoid(-l)) eps.
        log_snr: (B,), l of each image, nats.
    """
    clean, noisy = diffusion.schedule.ends_of_log_snr
    alpha, sigma = alpha_and_sigma(log_snr, x0)
    mean = diffusion.split_output(output, x0)[0].to(x0.dtype)
    eps_hat = diffusion.parameterization.decode(mean, alpha * x0 + sigma * eps, alpha, sigma)[1]
    return float(clean - noisy) / (2 * math.log(2)) * mean_over_image((eps - eps_hat) ** 2)


def variance_loss(
    diffusion: GaussianDiffusion, output: Data, x0: Data, eps: Data, t: Timesteps, decoder: Decoder = PIXELS
) -> PerImage:
    """lambda L_vlb of (4), (B,): BOUND_SHARE times `vlb`, with gradients of the variance coefficient alone."""
    mean, variance_coeff = diffusion.split_output(output, x0)
    if variance_coeff is None:
        raise ValueError(
            "expected a variance coefficient to train by the hybrid loss, got none; it takes twice the output channels"
        )
    still = torch.cat([mean.detach(), variance_coeff], dim=1)
    return BOUND_SHARE * vlb(diffusion, still, x0, eps, t, decoder)


def hybrid(
    diffusion: GaussianDiffusion, output: Data, x0: Data, eps: Data, t: Timesteps, decoder: Decoder = PIXELS
) -> PerImage:
    """(4) of each image, float64: (B,)."""
    return squared_error(diffusion, output, x0, eps, t) + variance_loss(diffusion, output, x0, eps, t, decoder)
