"""Closed forms: data whose best denoiser, posterior moments and probability-flow paths are known exactly.

Gaussian data, element by element, mean m and variance l; at a noise level with signal a, noise s, v = a^2 l + s^2:

    E[x_0 | x]   = m + (a l / v) (x - a m)
    E[eps | x]   = s / v (x - a m)
    x_s - a_s m  = sqrt(v_s / v_t) (x_t - a_t m)   along the probability flow

A mixture is the same under responsibilities r_k ~ w_k N(x; a m_k, v_k).

The reverse step of Gaussian data is Gaussian too. By Bayes' rule its precision is that of x_s plus what x_t tells,

    1 / Var(x_s | x_t) = 1 / v_s + (alpha_bar_t / alpha_bar_s) / beta(t, s),   Var(x_s | x_t) = beta(t, s) v_s / v_t.
"""

import itertools
import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from ancestral.diffusion.parameterization import PredictsEps
from ancestral.diffusion.process import GaussianDiffusion, Prediction
from ancestral.diffusion.schedules import Schedule, log_snr_linear
from ancestral.diffusion.variances import beta_tilde
from ancestral.sampling.denoiser import Denoiser
from ancestral.sampling.samplers import Sampler


def levels(schedule: Schedule, t: Tensor) -> tuple[Tensor, Tensor]:
    """(a_t, s_t), float64, straight from the table."""
    return schedule.alpha_bar[t].sqrt(), (1 - schedule.alpha_bar[t]).sqrt()


@dataclass(frozen=True)
class GaussianOracle:
    """The exact denoiser of N(mean, diag(variance)); mean and variance (D,)."""

    schedule: Schedule
    mean: Tensor
    variance: Tensor

    def __call__(self, x_t: Tensor, t: Tensor) -> Prediction:
        a, s = levels(self.schedule, t)
        centred = (x_t - a * self.mean) / self.marginal_variance(t)
        return Prediction(t, self.mean + a * self.variance * centred, s * centred)

    def marginal_variance(self, t: Tensor) -> Tensor:
        """v_t, (D,)."""
        a, s = levels(self.schedule, t)
        return a**2 * self.variance + s**2

    def flow(self, x_t: Tensor, t: Tensor, s: Tensor) -> Tensor:
        """Where the probability flow carries x_t from t to s."""
        a_t, a_s = levels(self.schedule, t)[0], levels(self.schedule, s)[0]
        stretch = (self.marginal_variance(s) / self.marginal_variance(t)).sqrt()
        return a_s * self.mean + stretch * (x_t - a_t * self.mean)


def entropy(variance: Tensor) -> Tensor:
    """Of N(., variance), nats: the shape of `variance`."""
    return 0.5 * torch.log(2 * math.pi * math.e * variance)


@dataclass(frozen=True)
class ExactVariance:
    """The log-variance of x_s given x_t when the data is N(., diag(variance)): a `Variance`, (1, D) or (B, D)."""

    variance: Tensor

    def __call__(self, schedule: Schedule, t: Tensor, s: Tensor, prediction: Prediction) -> Tensor:
        at_t, at_s = (schedule.alpha_bar[time].reshape(-1, 1) for time in (t, s))
        v_t, v_s = (at * (self.variance - 1) + 1 for at in (at_t, at_s))
        return torch.log((1 - at_t / at_s) * v_s / v_t)


@dataclass(frozen=True)
class MixtureOracle:
    """The exact denoiser of sum_k w_k N(means_k, variances_k I); weights (K,), means (K, D), variances (K,)."""

    schedule: Schedule
    weights: Tensor
    means: Tensor
    variances: Tensor

    def responsibilities(self, x_t: Tensor, t: Tensor) -> Tensor:
        """p(k | x_t), (B, K)."""
        a, s = levels(self.schedule, t)
        v = a**2 * self.variances + s**2
        distance = ((x_t[:, None] - a * self.means) ** 2).sum(-1)
        return torch.softmax(self.weights.log() - 0.5 * distance / v - 0.5 * self.means.shape[1] * v.log(), dim=1)

    def log_density(self, x_t: Tensor, t: Tensor) -> Tensor:
        """log q(x_t) up to a constant, (B,): its gradient is the score."""
        a, s = levels(self.schedule, t)
        v = a**2 * self.variances + s**2
        distance = ((x_t[:, None] - a * self.means) ** 2).sum(-1)
        return torch.logsumexp(self.weights.log() - 0.5 * distance / v - 0.5 * self.means.shape[1] * v.log(), dim=1)

    def __call__(self, x_t: Tensor, t: Tensor) -> Prediction:
        a, s = levels(self.schedule, t)
        v = a**2 * self.variances + s**2
        centred = (x_t[:, None] - a * self.means) / v[:, None]
        share = self.responsibilities(x_t, t)[..., None]
        x0 = (share * (self.means + a * self.variances[:, None] * centred)).sum(1)
        return Prediction(t, x0, (share * s * centred).sum(1))


def process(schedule: Schedule | None = None) -> GaussianDiffusion:
    """An eps process with variance beta_tilde on a short log-SNR table, or on `schedule`."""
    return GaussianDiffusion(schedule or log_snr_linear(40, 6.0, -6.0), PredictsEps(), beta_tilde)


def propagate(
    sampler: Sampler, denoise: Denoiser, timesteps: Tensor, mean: Tensor, variance: Tensor
) -> Iterable[tuple[int, Tensor, Tensor]]:
    """(s, mean, variance) of x_s after every step, exactly, for a denoiser that is affine in x_t, element by element.

    One step of any sampler is then x_s = offset + slope x_t + width z: three calls find the three numbers.
    """
    zero, one = torch.zeros(1, len(mean), dtype=torch.float64), torch.ones(1, len(mean), dtype=torch.float64)
    for t, s in itertools.pairwise(timesteps):
        offset = sampler.step(denoise, zero, t, s, [], lambda: zero)[0]
        slope = sampler.step(denoise, one, t, s, [], lambda: zero)[0] - offset
        width = sampler.step(denoise, zero, t, s, [], lambda: one)[0] - offset
        mean, variance = (offset + slope * mean)[0], (slope**2 * variance + width**2)[0]
        yield int(s), mean, variance
