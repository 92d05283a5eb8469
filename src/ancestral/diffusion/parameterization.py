"""What a network's output means. Every parameterisation decodes to the pair (x0, eps), and nothing else sees it.

With x_t = alpha x_0 + sigma eps, alpha^2 + sigma^2 = 1, knowing x_t and any one of these gives the others:

    eps:  x_0 = (x_t - sigma eps) / alpha                            Ho et al. 2020                    (1)
    x0:   eps = (x_t - alpha x_0) / sigma                                                              (2)
    v = alpha eps - sigma x_0:  x_0 = alpha x_t - sigma v,  eps = sigma x_t + alpha v   Salimans and Ho 2022         (3)
    u = eps - x_0:  x_0 = (x_t - sigma u) / (alpha + sigma),  eps = (x_t + alpha u) / (alpha + sigma)                (4)

An error in the output becomes an error in x_0 through |dx_0 / d output|: sigma / alpha, 1, sigma and, with (4),
tau = sigma / (alpha + sigma).

u is the velocity dz / dtau of the straight path of flow matching (Liu et al. 2022, Lipman et al. 2022)

    z = x_t / (alpha + sigma) = (1 - tau) x_0 + tau eps                                                              (5)

so a process of straight paths is this one rescaled, whatever its schedule. By (3) and (4) u = (sigma - alpha) x_t +
(alpha + sigma) v: errors of u and v differ by the factor alpha + sigma, their squares by 1 + 2 alpha sigma, 1 to 2.

Pixels are whole numbers, and a network can say how likely each level is (`categorical.py`). One with twice the channels
of its data says in the second half, the `variance_coeff`, how wide its reverse steps are.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from torch import Tensor

from ancestral.tensors import Data, Timesteps


class Prediction(NamedTuple):
    """What a denoiser says of x_t: t, and the pair with x_t = alpha_t x0 + sigma_t eps, each (B, ...).

    `variance_coeff`, (B, ...), about -1 to 1 and not clamped, is where between its extremes the log-variance of a
    reverse step lies; None where the network does not say. `levels`, (B, ..., 256), are the log-probabilities of the
    levels of every element up to a constant; None where the prediction is of numbers.
    """

    t: Timesteps
    x0: Data
    eps: Data
    variance_coeff: Data | None = None
    levels: Data | None = None


@dataclass(frozen=True)
class Parameterization(ABC):
    """Two-way map between a network's output and (x0, eps). `alpha`, `sigma` broadcast over the data."""

    channels: ClassVar[int] = 1  # of output for one channel of data

    @abstractmethod
    def target(self, x0: Data, eps: Data, alpha: Tensor, sigma: Tensor) -> Data:
        """The output that a perfect network would give, (B, ...)."""

    @abstractmethod
    def decode(self, output: Data, x_t: Data, alpha: Tensor, sigma: Tensor) -> tuple[Data, Data]:
        """(x0, eps), each (B, ...), such that x_t = alpha x0 + sigma eps."""

    @abstractmethod
    def x0_scale(self, alpha: Tensor, sigma: Tensor) -> Tensor:
        """|dx0 / d output|: turns an error of the output into one of x0."""

    def answer(self, output: Data, x_t: Data, alpha: Tensor, sigma: Tensor) -> Data:
        """What of the output compares with `target`, (B, ...): all of it."""
        return output

    def predict(self, output: Data, x_t: Data, alpha: Tensor, sigma: Tensor) -> tuple[Data, Data, Data | None]:
        """x0 and eps of `decode`, and `Prediction.levels` where the output says any."""
        return *self.decode(output, x_t, alpha, sigma), None


@dataclass(frozen=True)
class PredictsEps(Parameterization):
    """The output is the noise (1). Says nothing of x0 where no signal is left."""

    def target(self, x0: Data, eps: Data, alpha: Tensor, sigma: Tensor) -> Data:
        return eps

    def decode(self, output: Data, x_t: Data, alpha: Tensor, sigma: Tensor) -> tuple[Data, Data]:
        return (x_t - sigma * output) / alpha, output

    def x0_scale(self, alpha: Tensor, sigma: Tensor) -> Tensor:
        return sigma / alpha


@dataclass(frozen=True)
class PredictsX0(Parameterization):
    """The output is the clean data (2)."""

    def target(self, x0: Data, eps: Data, alpha: Tensor, sigma: Tensor) -> Data:
        return x0

    def decode(self, output: Data, x_t: Data, alpha: Tensor, sigma: Tensor) -> tuple[Data, Data]:
        return output, (x_t - alpha * output) / sigma

    def x0_scale(self, alpha: Tensor, sigma: Tensor) -> Tensor:
        return alpha * 0 + 1


@dataclass(frozen=True)
class PredictsV(Parameterization):
    """The output is the velocity (3): well-behaved at both ends."""

    def target(self, x0: Data, eps: Data, alpha: Tensor, sigma: Tensor) -> Data:
        return alpha * eps - sigma * x0

    def decode(self, output: Data, x_t: Data, alpha: Tensor, sigma: Tensor) -> tuple[Data, Data]:
        return alpha * x_t - sigma * output, sigma * x_t + alpha * output

    def x0_scale(self, alpha: Tensor, sigma: Tensor) -> Tensor:
        return sigma


@dataclass(frozen=True)
class PredictsFlow(Parameterization):
    """The output is the velocity (4) of the straight path (5)."""

    def target(self, x0: Data, eps: Data, alpha: Tensor, sigma: Tensor) -> Data:
        return eps - x0

    def decode(self, output: Data, x_t: Data, alpha: Tensor, sigma: Tensor) -> tuple[Data, Data]:
        return (x_t - sigma * output) / (alpha + sigma), (x_t + alpha * output) / (alpha + sigma)

    def x0_scale(self, alpha: Tensor, sigma: Tensor) -> Tensor:
        return sigma / (alpha + sigma)
