"""Diagonal Gaussians: everything the chain is made of."""

import math
from typing import NamedTuple

import torch

from ancestral.tensors import Data


class DiagonalGaussian(NamedTuple):
    """N(mean, exp(log_var) I), element by element. A log-variance of -inf is a point mass.

    Both fields are (B, ...); `log_var` may also broadcast, () or (B, 1, ...).
    """

    mean: Data
    log_var: torch.Tensor

    def sample(self, noise: Data) -> Data:
        """mean + sigma * noise, with noise ~ N(0, I): (B, ...)."""
        return self.mean + torch.exp(0.5 * self.log_var) * noise

    def log_prob(self, x: Data) -> Data:
        """Log-density of every element of x, nats: (B, ...)."""
        z = (x - self.mean) * torch.exp(-0.5 * self.log_var)
        return -0.5 * (z * z + self.log_var + math.log(2 * math.pi))

    def kl(self, other: "DiagonalGaussian") -> Data:
        """KL(self || other) of every element, nats: (B, ...). Infinite where `other` alone is a point mass."""
        gap = (self.mean - other.mean) ** 2 * torch.exp(-other.log_var)
        ratio = self.log_var - other.log_var
        return 0.5 * (gap + torch.exp(ratio) - 1 - ratio)
