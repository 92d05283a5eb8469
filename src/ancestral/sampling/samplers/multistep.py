"""Multistep samplers: one network call a step, and a polynomial through it and the calls before.

DEIS and iPNDM are (3) and (4) of `exponential` with polynomials of eps; DPM-Solver++ has a file of its own.
"""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from ancestral.diffusion.process import Prediction
from ancestral.diffusion.schedules import Schedule
from ancestral.sampling.denoiser import Denoiser
from ancestral.sampling.samplers.base import Grid, Noise, Sampler
from ancestral.sampling.samplers.exponential import by_eps, by_rho, first_order, is_finite
from ancestral.tensors import Data, Timesteps


@dataclass(frozen=True)
class Multistep(Sampler):
    """Follows the probability flow by the last `order` predictions, or as many as there are."""

    schedule: Schedule

    def step(
        self, denoise: Denoiser, x_t: Data, t: Timesteps, s: Timesteps, past: Sequence[Prediction], noise: Noise
    ) -> tuple[Data, Prediction]:
        """x_s of the probability flow."""
        prediction = denoise(x_t, t)
        known = latest(self.schedule, prediction, past, self.order)
        if s == 0 or len(known) == 1:
            return first_order(self.schedule, prediction, s), prediction
        return self.follow(x_t, t, s, known), prediction

    @abstractmethod
    def follow(self, x_t: Data, t: Timesteps, s: Timesteps, known: Sequence[Prediction]) -> Data:
        """x_s from two predictions or more, the newest, at x_t, first; signal and noise are left at all, and at s."""


def latest(schedule: Schedule, prediction: Prediction, past: Sequence[Prediction], count: int) -> list[Prediction]:
    """Up to `count` predictions, newest first, that one polynomial in log-SNR can go through.

    Where no signal is left the log-SNR is infinite: a prediction made there stands alone, and is no past of others.
    """
    newest = [prediction, *reversed(past)][:count]
    return [each for each in newest if is_finite(schedule, each.t)] or [prediction]


@dataclass(frozen=True)
class _DEIS(Multistep):
    """Exponential integrator of eps, the polynomial in log-SNR (Zhang and Chen 2023).

    The paper takes the polynomial in other variables too; in log-SNR the integrals are closed, without quadrature.
    """

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


@dataclass(frozen=True)
class _IPNDM(Multistep):
    """Adams-Bashforth on eps, x / alpha against rho (Liu et al. 2022; Zhang and Chen 2023, appendix H.2).

    Published with Adams' weights for equal steps, such as (55, -59, 37, -9) / 24, whatever the steps are. On any grid
    that is not even in rho that is of second order only. Here the weights are those of the steps that are taken, by
    (5) of `exponential`, which are Adams' where the steps are equal: the order is that of the polynomial on every grid.
    """

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
