"""A prediction for pixels: how likely each of the 256 levels is, and from that the noise.

Let a network say of every pixel how likely it holds level c_k, k = 0..255, judged by all that surrounds it: logits
o_k. What the pixel itself shows is known exactly, x_t = alpha x_0 + sigma eps, so by Bayes' rule

    p(x_0 = c_k | x_t) ~ exp(o_k) N(x_t; alpha c_k, sigma^2)                                    (1)
    x_0_hat = sum_k c_k p(c_k | x_t),   eps_hat = (x_t - alpha x_0_hat) / sigma                 (2)

and (2) has the least squared error wherever (1) is the true posterior. With little noise the second factor finds the
level alone: a network that answers 0 already rounds, to a precision that no convolution has. With much noise it is
flat, and the network decides. Dieleman et al. 2022 (section 3.1) predict classes and diffuse their embeddings; here
the embedding of a level is its value, and the factor of the pixel itself is not left to be learned.

(1) is a distribution of pixels, so it is also the decoder of L_0: no Gaussian has to be integrated over bins.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from ancestral.diffusion.parameterization import Parameterization
from ancestral.gaussian import LEVELS, level_of
from ancestral.tensors import Data

LogLevels = Float[Tensor, "B ... levels"]
"""Log-probabilities of the 256 levels of every element, up to a constant."""


@dataclass(frozen=True)
class PredictsCategorical(Parameterization):
    """The output is o_k of (1): channel 256 c + k is level k of channel c."""

    channels: ClassVar[int] = LEVELS

    def target(self, x0: Data, eps: Data, alpha: Tensor, sigma: Tensor) -> Data:
        """x0, which `answer` compares with."""
        return x0

    def answer(self, output: Data, x_t: Data, alpha: Tensor, sigma: Tensor) -> Data:
        """x_0_hat of (2)."""
        return expected(self.log_levels(output, x_t, alpha, sigma))

    def decode(self, output: Data, x_t: Data, alpha: Tensor, sigma: Tensor) -> tuple[Data, Data]:
        """By (2)."""
        return self.predict(output, x_t, alpha, sigma)[:2]

    def predict(self, output: Data, x_t: Data, alpha: Tensor, sigma: Tensor) -> tuple[Data, Data, Data | None]:
        """(2), and (1) in the log."""
        levels = self.log_levels(output, x_t, alpha, sigma)
        x0 = expected(levels)
        return x0, (x_t - alpha * x0) / sigma, levels

    def x0_scale(self, alpha: Tensor, sigma: Tensor) -> Tensor:
        """1."""
        return torch.ones_like(sigma)

    def log_levels(self, output: Data, x_t: Data, alpha: Tensor, sigma: Tensor) -> LogLevels:
        """(1) in the log: (B, 256 C, ...) -> (B, C, ..., 256).

        Computed channels last, as a network that keeps its channels last hands them out: twice as fast, for it is
        memory that limits it. The square is of a small number near the level that matters; expanded, it would not be.
        """
        last = output.movedim(1, -1)
        logits = last.reshape(*last.shape[:-1], -1, LEVELS)
        shown = (x_t / sigma).movedim(1, -1)[..., None]
        gap = shown - (alpha / sigma)[..., None] * level_values(x_t)
        return torch.addcmul(logits, gap, gap, value=-0.5).movedim(-2, 1)


def expected(log_levels: LogLevels) -> Data:
    """The mean level in [-1, 1]: (B, ..., 256) -> (B, ...)."""
    return log_levels.softmax(-1) @ level_values(log_levels)


def levels_log_prob(log_levels: LogLevels, x0: Data) -> Float64[Tensor, "B ..."]:
    """Log-probability of the level of every element of x0, nats, float64: (B, ...). Its 256 add to 1."""
    return log_levels.double().log_softmax(-1).gather(-1, level_of(x0).long()[..., None])[..., 0]


def level_values(like: Data) -> Float[Tensor, "levels"]:
    """c_k = k / 127.5 - 1, k = 0..255, in the type of `like` and where it is."""
    return torch.arange(LEVELS, dtype=like.dtype, device=like.device) / 127.5 - 1
