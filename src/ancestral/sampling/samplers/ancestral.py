"""Ancestral sampling draws x_s from p(x_s | x_t) (Ho et al. 2020, algorithm 2).

DDIM (Song et al. 2021, eq. 12) keeps the marginals q(x_s | x_0) and chooses how much of the noise is fresh:

    x_s = alpha_s x_0 + sqrt(1 - alpha_bar_s - fresh) eps + sqrt(fresh) z,   fresh = eta^2 beta_tilde(t, s)     (1)

eta = 1 is ancestral sampling with variance beta_tilde; eta = 0 is deterministic, the first-order exponential integrator
of the probability-flow equation. Onto s = 0 beta_tilde is 0, and (1) is x_0 as predicted.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from ancestral.diffusion.process import GaussianDiffusion, Prediction
from ancestral.diffusion.schedules import Schedule
from ancestral.sampling.denoiser import Denoiser
from ancestral.sampling.samplers.base import Noise, Sampler
from ancestral.tensors import Data, Timesteps, broadcast_like


@dataclass(frozen=True)
class Ancestral(Sampler):
    """Algorithm 2 at any stride: x_s ~ p(x_s | x_t), and its mean at s = 0."""

    diffusion: GaussianDiffusion
    order = 1
    grid = "trailing"
    eta = 1.0

    def step(
        self, denoise: Denoiser, x_t: Data, t: Timesteps, s: Timesteps, past: Sequence[Prediction], noise: Noise
    ) -> tuple[Data, Prediction]:
        prediction = denoise(x_t, t)
        posterior = self.diffusion.p_posterior(prediction, x_t, t, s)
        return posterior.mean if s == 0 else posterior.sample(noise()), prediction


@dataclass(frozen=True)
class DDIM(Sampler):
    """The step (1). Noise is drawn only where eta > 0."""

    schedule: Schedule
    eta: float = 0.0
    order = 1
    grid = "trailing"

    def step(
        self, denoise: Denoiser, x_t: Data, t: Timesteps, s: Timesteps, past: Sequence[Prediction], noise: Noise
    ) -> tuple[Data, Prediction]:
        prediction = denoise(x_t, t)
        return self.follow(prediction, x_t, t, s, noise), prediction

    def follow(self, prediction: Prediction, x_t: Data, t: Timesteps, s: Timesteps, noise: Noise) -> Data:
        """x_s by (1), from the prediction at x_t."""
        fresh = self.eta**2 * self.schedule.beta_tilde(t, s)
        kept = (1 - self.schedule.alpha_bar_at(s) - fresh).clamp(min=0)
        x_s = self.schedule.alpha(s, x_t) * prediction.x0 + broadcast_like(kept.sqrt(), x_t) * prediction.eps
        return x_s + broadcast_like(fresh.sqrt(), x_t) * noise() if fresh > 0 else x_s
