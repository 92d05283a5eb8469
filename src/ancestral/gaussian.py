"""Diagonal Gaussians: everything the chain is made of.

A pixel is one of 256 levels x_k = k / 127.5 - 1, and a Gaussian gives it the probability of its bin, which reaches
halfway to its neighbours; the first and the last bin are open (Ho et al. 2020, eq. 13):

    P(x_k) = F(z_{k+1}) - F(z_k),   z_k = ((k - 1/2) / 127.5 - 1 - mean) / sigma,   z_0 = -inf, z_256 = +inf     (1)

with F the standard normal distribution function, or that of another symmetric distribution. Far from the mean both
terms round to the same number, so (1) is taken in the log, on the side where F is small (F(b) - F(a) = F(-a) - F(-b)):

    log (F(b) - F(a)) = log F(b) + log(1 - exp(log F(a) - log F(b))),   a + b <= 0                                (2)
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float64
from torch import Tensor
from torch.special import log_ndtr

from ancestral.tensors import Data

LEVELS = 256
BIN_WIDTH = 2 / 255  # width of the bin of a pixel's level in [-1, 1]


class DiagonalGaussian(NamedTuple):
    """N(mean, exp(log_var) I), element by element."""

    mean: Data
    log_var: Tensor  # (B, ...), or such as broadcasts, () or (B, 1, ...); -inf is a point mass

    def sample(self, noise: Data) -> Data:
        """mean + sigma * noise, with noise ~ N(0, I): (B, ...)."""
        return self.mean + torch.exp(0.5 * self.log_var) * noise

    def log_prob(self, x: Data) -> Data:
        """Log-density of every element of x, nats: (B, ...)."""
        z = (x - self.mean) * torch.exp(-0.5 * self.log_var)
        return -0.5 * (z * z + self.log_var + math.log(2 * math.pi))

    def log_prob_of_bins(self, x0: Data) -> Float64[Tensor, "B ..."]:
        """Log-probability (1) of the level of every element of x0, nats, float64: (B, ...). Finite `log_var` only."""
        return level_log_prob(x0, self._standardised, log_ndtr)

    def _standardised(self, x: Data) -> Data:
        return (x - self.mean.double()) * torch.exp(-0.5 * self.log_var.double())

    def kl(self, other: "DiagonalGaussian") -> Data:
        """KL(self || other) of every element, nats: (B, ...). Infinite where `other` alone is a point mass."""
        gap = (self.mean - other.mean) ** 2 * torch.exp(-other.log_var)
        ratio = self.log_var - other.log_var
        return 0.5 * (gap + torch.exp(ratio) - 1 - ratio)


def level_log_prob(
    x0: Data, standardised: Callable[[Tensor], Tensor], log_cdf: Callable[[Tensor], Tensor]
) -> Float64[Tensor, "B ..."]:
    """Log-probability (1) of the level of every element of x0, nats, float64: (B, ...).

    Args:
        standardised: of points (B, ...) in [-1, 1], float64: how far from the centre, in scales of the distribution.
        log_cdf: log F of the distribution with centre 0 and scale 1, which is symmetric.
    """
    level = level_of(x0)
    lower = torch.where(level == 0, -math.inf, standardised((level - 0.5) / 127.5 - 1))
    upper = torch.where(level == 255, math.inf, standardised((level + 0.5) / 127.5 - 1))
    right = lower + upper > 0  # by (2), where F is small
    a, b = torch.where(right, -upper, lower), torch.where(right, -lower, upper)
    return log_cdf(b) + torch.log(-torch.expm1(log_cdf(a) - log_cdf(b)))


def level_of(x0: Data) -> Float64[Tensor, "B ..."]:
    """The k of x0 = k / 127.5 - 1, whole to the bit so that neighbouring bins share an edge: (B, ...)."""
    level = (x0.double() + 1) * 127.5
    whole = level.round().clamp(0, 255)
    gap = float((level - whole).abs().max())
    if not gap < 0.01:
        raise ValueError(
            f"expected x0 on the 256 levels of [-1, 1], got an element {gap:.2g} of a level away; "
            "make it with tensors.from_pixels in float32, or use a density for data that are not pixels"
        )
    return whole
