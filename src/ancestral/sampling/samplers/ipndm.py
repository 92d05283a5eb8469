"""iPNDM: Adams-Bashforth on eps, x / alpha against rho = sigma / alpha (Liu et al. 2022; Zhang and Chen 2023, appendix
H.2).

Published with Adams' weights for equal steps, such as (55, -59, 37, -9) / 24, whatever the steps are. On any grid that
is not even in rho that is of second order only. Here the weights are those of the steps that are taken, (4) and (5) of
`exponential`, which are Adams' where the steps are equal; the order is that of the polynomial on every grid.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from ancestral.diffusion.process import Prediction
from ancestral.sampling.samplers.base import Grid
from ancestral.sampling.samplers.exponential import by_rho
from ancestral.sampling.samplers.multistep import Multistep
from ancestral.tensors import Data, Timesteps


@dataclass(frozen=True)
class _IPNDM(Multistep):
    """Adams-Bashforth in rho by `order` predictions."""

    grid: ClassVar[Grid] = "karras"

    def follow(self, x_t: Data, t: Timesteps, s: Timesteps, known: Sequence[Prediction]) -> Data:
        """x_s by (4) of `exponential`."""
        return by_rho(self.schedule, x_t, t, s, known)


@dataclass(frozen=True)
class IPNDM2(_IPNDM):
    """Second order. Deterministic, one network call."""

    order: ClassVar[int] = 2


@dataclass(frozen=True)
class IPNDM3(_IPNDM):
    """Third order. Deterministic, one network call."""

    order: ClassVar[int] = 3


@dataclass(frozen=True)
class IPNDM4(_IPNDM):
    """Fourth order. Deterministic, one network call."""

    order: ClassVar[int] = 4
