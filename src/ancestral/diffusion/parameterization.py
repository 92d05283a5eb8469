"""What a network's output means. Every parameterisation decodes to the pair (x0, eps), and nothing else sees it.

With x_t = a x_0 + s eps, a^2 + s^2 = 1, knowing x_t and any one of these gives the others:

    eps:  x_0 = (x_t - s eps) / a                            Ho et al. 2020                    (1)
    x0:   eps = (x_t - a x_0) / s                                                              (2)
    v = a eps - s x_0:  x_0 = a x_t - s v,  eps = s x_t + a v   Salimans and Ho 2022           (3)

An error in the output becomes an error in x_0 through |dx_0 / d output|: s / a, 1 and s.

Pixels are whole numbers, and a network can say how likely each level is (`levels.py`).

A network with twice the channels of its data says in the second half, the `spread`, how wide its reverse steps are.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from torch import Tensor

from ancestral.tensors import Data, Timesteps


class Prediction(NamedTuple):
    """What a denoiser says of x_t: t, and the pair with x_t = a_t x0 + s_t eps, each (B, ...).

    `spread`, (B, ...), about -1 to 1 and not clamped, is where between its extremes the log-variance of a reverse
    step lies; None where the network does not say. `levels`, (B, ..., 256), are the log-probabilities of the levels
    of every element up to a constant; None where the prediction is of numbers.
    """

    t: Timesteps
    x0: Data
    eps: Data
    spread: Data | None = None
    levels: Data | None = None


@dataclass(frozen=True)
class Parameterization(ABC):
    """Two-way map between a network's output and (x0, eps). `a`, `s` broadcast over the data."""

    channels: ClassVar[int] = 1
    """Channels of output for one channel of data."""

    @abstractmethod
    def target(self, x0: Data, eps: Data, a: Tensor, s: Tensor) -> Data:
        """The output that a perfect network would give, (B, ...)."""

    @abstractmethod
    def decode(self, output: Data, x_t: Data, a: Tensor, s: Tensor) -> tuple[Data, Data]:
        """(x0, eps), each (B, ...), such that x_t = a x0 + s eps."""

    @abstractmethod
    def x0_scale(self, a: Tensor, s: Tensor) -> Tensor:
        """|dx0 / d output|: turns an error of the output into one of x0."""

    def answer(self, output: Data, x_t: Data, a: Tensor, s: Tensor) -> Data:
        """What of the output compares with `target`, (B, ...): all of it."""
        return output

    def predict(self, output: Data, x_t: Data, a: Tensor, s: Tensor) -> tuple[Data, Data, Data | None]:
        """x0 and eps of `decode`, and `Prediction.levels` where the output says any."""
        return *self.decode(output, x_t, a, s), None


@dataclass(frozen=True)
class PredictsEps(Parameterization):
    """The output is the noise (1). Says nothing of x0 where no signal is left."""

    def target(self, x0: Data, eps: Data, a: Tensor, s: Tensor) -> Data:
        """eps."""
        return eps

    def decode(self, output: Data, x_t: Data, a: Tensor, s: Tensor) -> tuple[Data, Data]:
        """By (1)."""
        return (x_t - s * output) / a, output

    def x0_scale(self, a: Tensor, s: Tensor) -> Tensor:
        """s / a."""
        return s / a


@dataclass(frozen=True)
class PredictsX0(Parameterization):
    """The output is the clean data (2)."""

    def target(self, x0: Data, eps: Data, a: Tensor, s: Tensor) -> Data:
        """x0."""
        return x0

    def decode(self, output: Data, x_t: Data, a: Tensor, s: Tensor) -> tuple[Data, Data]:
        """By (2)."""
        return output, (x_t - a * output) / s

    def x0_scale(self, a: Tensor, s: Tensor) -> Tensor:
        """1."""
        return a * 0 + 1


@dataclass(frozen=True)
class PredictsV(Parameterization):
    """The output is the velocity (3): well-behaved at both ends."""

    def target(self, x0: Data, eps: Data, a: Tensor, s: Tensor) -> Data:
        """v."""
        return a * eps - s * x0

    def decode(self, output: Data, x_t: Data, a: Tensor, s: Tensor) -> tuple[Data, Data]:
        """By (3)."""
        return a * x_t - s * output, s * x_t + a * output

    def x0_scale(self, a: Tensor, s: Tensor) -> Tensor:
        """s."""
        return s
