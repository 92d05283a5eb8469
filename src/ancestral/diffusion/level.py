"""A noise level is one value, wherever it comes from: a table at an index, or a continuous time.

x_t = alpha x_0 + sigma eps,   alpha^2 + sigma^2 = 1,   log-SNR = log(alpha^2 / sigma^2)                   (1)
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float64
from torch import Tensor

from ancestral.tensors import Data, Timesteps, broadcast_like


@dataclass(frozen=True)
class Level:
    """The level of noise (1) of each image, float64: (B,), or () where it is the same for all."""

    alpha: Float64[Tensor, "..."]
    sigma: Float64[Tensor, "..."]
    log_snr: Float64[Tensor, "..."]  # nats
    index: Timesteps | None = None  # the timestep in the table it comes from; None: from continuous time

    @classmethod
    def of_log_snr(cls, log_snr: Float64[Tensor, "..."]) -> "Level":
        """The level of any log-SNR."""
        return cls(torch.sigmoid(log_snr).sqrt(), torch.sigmoid(-log_snr).sqrt(), log_snr)

    @property
    def t(self) -> Timesteps:
        """The timestep of a level that comes from a table."""
        assert self.index is not None, "a level of a table"
        return self.index

    def over(self, like: Data) -> tuple[Tensor, Tensor]:
        """alpha and sigma, broadcast over `like` and in its type."""
        return broadcast_like(self.alpha, like), broadcast_like(self.sigma, like)


class Noised(NamedTuple):
    """Clean data, noise, and what (1) makes of them at a level: (B, ...) each. A training step makes it once."""

    x0: Data
    eps: Data
    x_t: Data
    level: Level

    @classmethod
    def at(cls, level: Level, x0: Data, eps: Data) -> "Noised":
        """x_t by (1)."""
        alpha, sigma = level.over(x0)
        return cls(x0, eps, alpha * x0 + sigma * eps, level)
