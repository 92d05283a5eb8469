"""DEIS (Zhang and Chen 2023): exponential integrator of eps, multistep.

(3) of `exponential` with a polynomial in log-SNR through the last predictions. The paper takes the polynomial in other
variables too; in log-SNR the integrals are closed, and no quadrature is needed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from ancestral.diffusion.process import Prediction
from ancestral.sampling.samplers.exponential import by_eps
from ancestral.sampling.samplers.multistep import Multistep
from ancestral.tensors import Data, Timesteps


@dataclass(frozen=True)
class _DEIS(Multistep):
    """The polynomial through `order` predictions of eps."""

    def follow(self, x_t: Data, t: Timesteps, s: Timesteps, known: Sequence[Prediction]) -> Data:
        """x_s by (3) of `exponential`."""
        return by_eps(self.schedule, x_t, t, s, known)


@dataclass(frozen=True)
class DEIS2(_DEIS):
    """Second order. Deterministic, one network call."""

    order: ClassVar[int] = 2


@dataclass(frozen=True)
class DEIS3(_DEIS):
    """Third order. Deterministic, one network call."""

    order: ClassVar[int] = 3


@dataclass(frozen=True)
class DEIS4(_DEIS):
    """Fourth order. Deterministic, one network call."""

    order: ClassVar[int] = 4
