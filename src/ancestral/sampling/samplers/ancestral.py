"""Ancestral sampling (Ho et al. 2020, algorithm 2): x_s is drawn from p(x_s | x_t)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from ancestral.diffusion.process import GaussianDiffusion, Prediction
from ancestral.sampling.denoiser import Denoiser
from ancestral.sampling.samplers.base import Grid, Noise, Sampler
from ancestral.tensors import Data, Timesteps


@dataclass(frozen=True)
class Ancestral(Sampler):
    """Algorithm 2 at any stride: x_s ~ p(x_s | x_t). One network call a step."""

    order: ClassVar[int] = 1
    grid: ClassVar[Grid] = "trailing"
    diffusion: GaussianDiffusion

    @property
    def stochastic(self) -> bool:
        """True."""
        return True

    def step(
        self, denoise: Denoiser, x_t: Data, t: Timesteps, s: Timesteps, past: Sequence[Prediction], noise: Noise
    ) -> tuple[Data, Prediction]:
        """A draw from p(x_s | x_t); at s = 0 its mean."""
        prediction = denoise(x_t, t)
        posterior = self.diffusion.p_posterior(prediction, x_t, t, s)
        return posterior.mean if s == 0 else posterior.sample(noise()), prediction
