"""Euler and Heun (Karras et al. 2022, algorithm 1, without churn): the probability flow as d(x / alpha) / d rho = eps.

Their sigma is rho = sigma / alpha and their x is x / alpha. Euler's step is DDIM's. Heun's calls the network again at
the end of Euler's and goes back to take the mean of both slopes:

    x_s / alpha_s = x_t / alpha_t + (rho_s - rho_t) (eps(x_t, t) + eps(x', s)) / 2                              (1)

Onto s = 0 Euler's step is exact for what is predicted, and is taken by both.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from ancestral.diffusion.process import Prediction
from ancestral.diffusion.schedules import Schedule
from ancestral.sampling.denoiser import Denoiser
from ancestral.sampling.samplers.base import Grid, Noise, Sampler
from ancestral.sampling.samplers.exponential import along_rho, first_order, is_finite
from ancestral.tensors import Data, Timesteps


@dataclass(frozen=True)
class Euler(Sampler):
    """Euler's method in rho: the same step as DDIM at eta = 0, on the grid of its paper. One network call."""

    order: ClassVar[int] = 1
    grid: ClassVar[Grid] = "karras"
    schedule: Schedule

    def step(
        self, denoise: Denoiser, x_t: Data, t: Timesteps, s: Timesteps, past: Sequence[Prediction], noise: Noise
    ) -> tuple[Data, Prediction]:
        """x_s along eps."""
        prediction = denoise(x_t, t)
        return first_order(self.schedule, prediction, s), prediction


@dataclass(frozen=True)
class Heun(Sampler):
    """The step (1). Deterministic, two network calls; on to s = 0 one."""

    order: ClassVar[int] = 2
    calls: ClassVar[int] = 2
    grid: ClassVar[Grid] = "karras"
    schedule: Schedule

    def step(
        self, denoise: Denoiser, x_t: Data, t: Timesteps, s: Timesteps, past: Sequence[Prediction], noise: Noise
    ) -> tuple[Data, Prediction]:
        """x_s by (1)."""
        prediction = denoise(x_t, t)
        x_s = first_order(self.schedule, prediction, s)
        if s == 0 or not is_finite(self.schedule, t):
            return x_s, prediction
        slope = 0.5 * (prediction.eps + denoise(x_s, s).eps)
        return along_rho(self.schedule, x_t, t, s, slope), prediction
